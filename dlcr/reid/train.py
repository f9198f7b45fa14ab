"""Training of Re-ID models: epochs and batches, the same for every model and every mode (Sec. 3.2.1).

    train_run("mine", recipe, Path("data/minicc"), Path("generated/inpainting"), [0, 1], Path("runs/mine"))
    model = load_model(Path("runs/mine/seed-0"))

The last epoch is the result: no test image takes part in choosing it. A run can be stopped at any moment;
started again it goes on after its last whole epoch and ends with the same bytes.
"""

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.optim import Adam, Optimizer

from dlcr.data import folder_fingerprint
from dlcr.reid.augment import augment
from dlcr.reid.batches import Epoch, plan_epoch
from dlcr.reid.checkpoints import load_checkpoint, save_checkpoint, write_outputs
from dlcr.reid.models import Batch, ReidModel, build_model, model_factory
from dlcr.reid.samples import Samples, load_samples, write_pixels
from dlcr.runtime import determinism, timing
from dlcr.runtime.jobs import Send, run_jobs
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import checkpoint_dir, key_of

DROP = 0.1


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a run besides its data and seed.

    model: registered name; settings: its further arguments. size: height, width of the images. learning_rate
    of Adam falls to a tenth from each epoch of `milestones` (0-based) on. identities x images: a batch. mode
    and k: which variants take part (`dlcr.reid.batches`), k None for all; progressive_every: N. precision:
    "float32" or "bfloat16" convolutions.
    """

    model: str
    size: tuple[int, int]
    epochs: int
    learning_rate: float
    weight_decay: float
    milestones: tuple[int, ...]
    identities: int
    images: int
    mode: str
    k: int | None = None
    progressive_every: int = 5
    precision: str = "float32"
    settings: dict[str, object] = field(default_factory=dict)


def train_run(
    name: str,
    recipe: Recipe,
    dataset: Path,
    generated: Path,
    seeds: list[int],
    output: Path,
    minimum: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Train one model a seed and write <output>/seed-<s>/{model.safetensors, config.json, history.csv}.

    dataset: folder data/<dataset>; generated: folder generated/<set>, not opened in mode "none"; minimum: what the
    quality gate asks of its variants (`open_generated`). Call `determinism.set_up` first: its number of threads is
    shared by the seeds, which train in processes of their own (one after the other on a GPU). Returns the mean
    epoch_seconds, images_per_second and peak_memory_mb, and the seconds that all of it took where it did not continue
    a stopped run; they are recorded as the timing of `name`. Raises ValueError for data that cannot give the batches,
    or a loss that is no number.
    """
    start = time.monotonic()
    samples = load_samples(dataset, generated, recipe.mode, recipe.k, minimum)
    plan = _plan(recipe, samples, seed=0, epoch=0)
    if len(plan.rows) == 0:
        raise ValueError(f"{dataset}: too few images for one batch of {recipe.identities} x {recipe.images}")
    model_factory(recipe.model)
    checkpoints = checkpoint_dir(key_of(_fingerprint(recipe, samples, dataset, generated)))
    resumed = checkpoints.is_dir()
    threads = torch.get_num_threads()
    pixels = checkpoints / "pixels.npy"
    if not pixels.exists():
        write_pixels(pixels, samples, dataset, generated, recipe.size, threads)
    workers = 1 if torch.cuda.is_available() else min(len(seeds), threads)
    jobs = [(recipe, samples, pixels, seed, checkpoints, output, threads // workers) for seed in seeds]
    with progress(len(seeds) * recipe.epochs * plan.rows.size, f"train {name}") as bar:
        facts = run_jobs(train_seed, jobs, workers, bar.update)
    rmtree(checkpoints)
    means = {key: float(np.nanmean([fact[key] for fact in facts])) for key in facts[0]} if all(facts) else {}
    if means:
        if not resumed:
            means["seconds"] = time.monotonic() - start
        timing.record("train", name, **means)
    return means


def train_seed(
    recipe: Recipe,
    samples: Samples,
    pixels: Path,
    seed: int,
    checkpoints: Path,
    output: Path,
    threads: int,
    send: Send,
) -> dict[str, float]:
    """Train one seed from its last checkpoint on and write its outputs; `send(n)` after every batch of n
    images.

    Returns epoch_seconds (mean wall time), images_per_second and peak_memory_mb of the epochs trained in this
    call; {} when there were none left.
    """
    determinism.set_up(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = np.load(pixels, mmap_mode="r")
    torch.manual_seed(seed_of("reid", "weights", seed))
    model = build_model(recipe.model, int(samples.subjects.max()) + 1, samples.owners, **recipe.settings)
    model = model.to(device, memory_format=torch.channels_last)
    model.precision = getattr(torch, recipe.precision)
    optimizers = {
        group: Adam(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        for group, parameters in model.parameter_groups().items()
    }
    checkpoint = checkpoints / f"seed-{seed}.pt"
    history = load_checkpoint(checkpoint, model, optimizers)
    seconds, count = [], 0
    for epoch in range(recipe.epochs):
        plan = _plan(recipe, samples, seed, epoch)
        if epoch < len(history):
            send(plan.rows.size)
            continue
        start = time.perf_counter()
        history.append(_train_epoch(recipe, samples, images, plan, model, optimizers, seed, epoch, send))
        seconds.append(time.perf_counter() - start)
        count += plan.rows.size
        save_checkpoint(checkpoint, model, optimizers, history)
    write_outputs(output / f"seed-{seed}", model, samples, recipe, seed, pd.DataFrame(history))
    if not seconds:
        return {}
    return {
        "epoch_seconds": float(np.mean(seconds)),
        "images_per_second": count / sum(seconds),
        "peak_memory_mb": timing.peak_memory_mb(),
    }


def _train_epoch(
    recipe: Recipe,
    samples: Samples,
    images: NDArray[np.uint8],
    plan: Epoch,
    model: ReidModel,
    optimizers: dict[str, Optimizer],
    seed: int,
    epoch: int,
    send: Send,
) -> dict[str, float]:
    """One epoch; returns its row of the history: rate, variants in use, replaced pairs, mean losses."""
    rate = recipe.learning_rate * DROP ** sum(epoch >= milestone for milestone in recipe.milestones)
    for group, optimizer in optimizers.items():
        optimizer.param_groups[0]["lr"] = recipe.learning_rate if group in model.unscheduled else rate
    # an epoch's random numbers depend on nothing before it, so a resumed run draws the same
    torch.manual_seed(seed_of("reid", "model", seed, epoch))
    generator = torch.Generator().manual_seed(seed_of("reid", "augment", seed, epoch))
    model.train()
    losses = []
    for layers, rows, real in zip(plan.layers, plan.rows, plan.real, strict=True):
        batch = _batch(images[layers, rows], samples, rows, real, generator, next(model.parameters()).device)

        def where(layers: NDArray = layers, rows: NDArray = rows) -> str:
            names = [samples.name(layer, row) for layer, row in zip(layers, rows, strict=True)]
            return f"seed {seed}, epoch {epoch}, batch of {', '.join(names)}"

        losses.append(model.train_step(batch, epoch, _stepper(optimizers, where)))
        send(len(rows))
    means = pd.DataFrame(losses).mean().to_dict()
    return {"epoch": epoch, "learning_rate": rate, "variants": plan.limit, "replaced": plan.replaced, **means}


def _batch(
    pixels: NDArray[np.uint8],
    samples: Samples,
    rows: NDArray,
    real: NDArray,
    generator: torch.Generator,
    device: torch.device,
) -> Batch:
    return Batch(
        images=augment(torch.from_numpy(pixels).to(device), generator),
        subjects=torch.from_numpy(samples.subjects[rows]).to(device),
        clothes=torch.from_numpy(samples.clothes[rows]).to(device),
        real=torch.from_numpy(real).to(device),
    )


def _stepper(optimizers: dict[str, Optimizer], where: Callable[[], str]) -> Callable[[str, torch.Tensor], None]:
    """The `step` of a batch; a loss that is no finite number is a ValueError, before any weight changes."""

    def step(group: str, loss: torch.Tensor) -> None:
        if not torch.isfinite(loss):
            raise ValueError(f"the loss of {group!r} is {loss.item()} ({where()})")
        optimizers[group].zero_grad()
        loss.backward()
        optimizers[group].step()

    return step


def _plan(recipe: Recipe, samples: Samples, seed: int, epoch: int) -> Epoch:
    rng = np.random.default_rng(seed_of("reid", "batches", seed, epoch))
    return plan_epoch(
        recipe.mode,
        samples.subjects,
        samples.present,
        epoch,
        recipe.progressive_every,
        recipe.identities,
        recipe.images,
        rng,
    )


def _fingerprint(recipe: Recipe, samples: Samples, dataset: Path, generated: Path) -> dict[str, object]:
    """All that the results follow from, seeds aside: settings, data, code and library."""
    sources = sorted({*Path(__file__).parent.rglob("*.py"), Path(inspect.getfile(model_factory(recipe.model)))})
    weights = Path(str(recipe.settings.get("weights")))
    return {
        "recipe": asdict(recipe),
        "weights": folder_fingerprint(weights) if weights.is_dir() else "",
        "dataset": folder_fingerprint(dataset),
        "generated": folder_fingerprint(generated) if len(samples.present) else "",
        "present": np.packbits(samples.present).tobytes().hex(),
        "code": [source.read_text(encoding="utf-8") for source in sources],
        "torch": torch.__version__,
    }
