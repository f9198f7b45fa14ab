"""Training of Re-ID models: epochs and batches, the same for every model and every mode (Sec. 3.2.1).

    train_run("mine", recipe, Path("data/minicc"), Path("generated/inpainting"), [0, 1], Path("runs/mine"))
    model = load_model(Path("runs/mine/seed-0"))

The result is the last epoch, or the best on the validation identities: no test image takes part in choosing it. A run
can be stopped at any moment; started again it goes on from its last checkpoint, within an epoch too, and ends with the
same bytes.
"""

import inspect
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd
import torch
from dvclive import Live
from numpy.typing import NDArray

from dlcr.data import folder_fingerprint
from dlcr.reid.augment import Drawn, augment, draw
from dlcr.reid.batches import Epoch, plan_epoch
from dlcr.reid.checkpoints import Progress, load_checkpoint, save_checkpoint, write_outputs
from dlcr.reid.clips import pick_clip
from dlcr.reid.engine import Engine, process_count
from dlcr.reid.models import Batch, ReidModel, build_model, load_code, model_factory
from dlcr.reid.pixels import Pixels, fits, write_pixels
from dlcr.reid.samples import Samples, load_labels, load_samples
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import model_fingerprint
from dlcr.runtime.jobs import Send, run_jobs
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import checkpoint_dir, key_of

DROP = 0.1
SAVE_SECONDS = 30.0  # at most so much work is lost when a run is stopped
Validate = Callable[[ReidModel], float]


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a run besides its data and seed.

    model: registered name; settings: its further arguments; code: a Python file of one's own that registers it, or
    None. size: height, width of the images. learning_rate of Adam rises linearly over `warmup` epochs and falls to a
    tenth from each epoch of `milestones` (0-based) on. identities x images: a batch; `accumulate` batches make one step
    of the optimizers, with gradients cut to the norm `clip` (0: never). mode and k: which variants take part
    (`dlcr.reid.batches`), k None for all; progressive_every: N. precision: "float32" or "bfloat16" maps.
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
    warmup: int = 0
    accumulate: int = 1
    clip: float = 0.0
    k: int | None = None
    progressive_every: int = 5
    precision: str = "float32"
    settings: dict[str, object] = field(default_factory=dict)
    code: str | None = None


@dataclass(frozen=True)
class Job:
    """One training process: a seed, and which of `processes` this is; they meet at `port`."""

    recipe: Recipe
    pixels: Pixels
    seed: int
    checkpoints: Path
    output: Path
    threads: int
    validate: Validate | None
    processes: int = 1
    rank: int = 0
    port: int = 0


def train_run(
    name: str,
    recipe: Recipe,
    dataset: Path,
    generated: Path,
    seeds: list[int],
    output: Path,
    minimum: Mapping[str, float] | None = None,
    validate: Validate | None = None,
) -> dict[str, float]:
    """Train one model a seed and write <output>/seed-<s>/{model.safetensors, config.json, history.csv, live/}.

    dataset: folder data/<dataset>; generated: folder generated/<set>, not opened in mode "none"; minimum: what the
    quality gate asks of its variants (`open_generated`). validate: a score of a model, the higher the better, by which
    the epoch is chosen; without it the last one is. Call `determinism.set_up` first: its number of threads is shared by
    the seeds, which train in processes of their own (one after the other on GPUs). The environment's DLCR_PROCESSES
    spreads each seed over so many processes (`dlcr.reid.engine`), a GPU each where there are GPUs.

    Returns the mean epoch_seconds, images_per_second, waiting (the share of the time in which the model waited for
    images) and peak_memory_mb, and the seconds that all of it took where it did not continue a stopped run; they are
    recorded as the timing of `name`. Raises ValueError, before anything is trained, for data, weights or settings that
    cannot work, and for a loss that is no number.
    """
    means, checkpoints = _train(name, recipe, dataset, generated, seeds, output, minimum, validate)
    rmtree(checkpoints)
    return means


def train_ablations(
    name: str,
    recipes: Mapping[str, Recipe],
    dataset: Path,
    generated: Path,
    seeds: list[int],
    output: Path,
    minimum: Mapping[str, float] | None = None,
    validate: Validate | None = None,
) -> None:
    """`train_run` for each of the recipes, by the name of its folder in `output`.

    Checkpoints stay until all are trained, so that a stopped run goes on with the ablation that it was at. The timing
    of each is recorded as that of `<name>.<ablation>`, the seconds of all as those of `name`.
    """
    seconds, finished = 0.0, []
    for ablation, recipe in recipes.items():
        one = f"{name}.{ablation}"
        means, checkpoints = _train(one, recipe, dataset, generated, seeds, output / ablation, minimum, validate)
        seconds += means.get("seconds", np.nan)
        finished.append(checkpoints)
    for checkpoints in set(finished):
        rmtree(checkpoints)
    if np.isfinite(seconds):
        timing.record("train", name, seconds=seconds)


def _train(
    name: str,
    recipe: Recipe,
    dataset: Path,
    generated: Path,
    seeds: list[int],
    output: Path,
    minimum: Mapping[str, float] | None,
    validate: Validate | None,
) -> tuple[dict[str, float], Path]:
    """What `train_run` does and returns, and the folder of the checkpoints, which stay."""
    start = time.monotonic()
    load_code(recipe.code)
    model = _try_model(recipe, dataset)
    samples = load_samples(dataset, generated, recipe.mode, recipe.k, minimum, model.frames)
    processes = process_count()
    plan = _plan(recipe, samples, seed=0, epoch=0)
    if len(plan.rows) == 0:
        raise ValueError(f"{dataset}: too few images for one batch of {recipe.identities} x {recipe.images}")
    if plan.rows.shape[1] % processes:
        raise ValueError(f"a batch of {plan.rows.shape[1]} cannot be split over {processes} processes (DLCR_PROCESSES)")
    checkpoints = checkpoint_dir(key_of(_fingerprint(recipe, samples, dataset, generated, validate)))
    resumed = checkpoints.is_dir()
    threads = torch.get_num_threads()
    pixels = Pixels(samples, dataset, generated, recipe.size, bicubic=model.bicubic)
    if fits(samples, recipe.size, checkpoints):
        cache = checkpoints / "pixels.npy"
        if not cache.exists():
            write_pixels(cache, pixels, threads)
        pixels = replace(pixels, cache=cache)
    workers = 1 if torch.cuda.is_available() or processes > 1 else min(len(seeds), threads)
    jobs = [Job(recipe, pixels, seed, checkpoints, output, threads // workers, validate) for seed in seeds]
    facts = []
    with progress(len(seeds) * recipe.epochs * plan.rows.size, f"train {name}") as bar:
        if processes == 1:
            facts = run_jobs(train_seed, [(job,) for job in jobs], workers, bar.update)
        for job in jobs if processes > 1 else ():
            facts.append(run_jobs(train_seed, _spread(job, processes), processes, bar.update)[0])
    (checkpoints / "pixels.npy").unlink(missing_ok=True)  # gigabytes, for real datasets
    means = {key: float(np.nanmean([fact[key] for fact in facts])) for key in facts[0]} if all(facts) else {}
    if means:
        if not resumed:
            means["seconds"] = time.monotonic() - start
        timing.record("train", name, **means)
    return means, checkpoints


def train_seed(job: Job, send: Send) -> dict[str, float]:
    """Train one seed from its last checkpoint on and write its outputs; `send(n)` after every batch of n images.

    Returns the facts of `train_run`, of the whole epochs trained in this call; {} when there were none.
    """
    recipe, samples = job.recipe, job.pixels.samples
    engine = _start(job)
    path = job.checkpoints / f"seed-{job.seed}.pt"
    state = load_checkpoint(path, engine.model, engine.optimizers)
    if engine.rank > 0:  # the first process speaks and writes for all

        def send(_: int) -> None: ...

    save = _saver(path, engine, state)
    live = _open_live(job, state) if engine.rank == 0 else None
    measured = []
    for epoch in range(recipe.epochs):
        plan = _plan(recipe, samples, job.seed, epoch)
        if epoch < len(state.history):
            send(plan.rows.size)
            continue
        seconds, waited = _train_epoch(job, engine, plan, epoch, state, save, send)
        if seconds:
            measured.append((seconds, plan.rows.size, waited))
        if live is not None:
            _log(live, state.history[-1])
        save(epoch + 1 == recipe.epochs)
    if live is not None:
        write_outputs(_folder(job), engine.model, samples, recipe, job.seed, state)
    if not measured:
        return {}
    seconds, images, waited = np.array(measured).T
    return {
        "epoch_seconds": float(seconds.mean()),
        "images_per_second": float(images.sum() / seconds.sum()),
        "waiting": float(waited.sum() / seconds.sum()),
        "peak_memory_mb": timing.peak_memory_mb(),
    }


def _start(job: Job) -> Engine:
    """The job's process, its model with the seed's first weights, and the engine around it."""
    recipe, samples = job.recipe, job.pixels.samples
    if job.processes > 1:
        join(job.rank, job.processes, job.port, job.threads)
    determinism.set_up(job.threads)
    load_code(recipe.code)
    torch.manual_seed(seed_of("reid", "weights", job.seed))
    model = build_model(recipe.model, int(samples.subjects.max()) + 1, samples.owners, **recipe.settings)
    model.size = recipe.size
    return Engine(model, recipe.learning_rate, recipe.weight_decay, recipe.precision, recipe.clip)


def _saver(path: Path, engine: Engine, state: Progress) -> Callable[[bool], None]:
    """`save(now)`: writes the checkpoint if it is due or `now`; called after steps of the optimizers alone."""
    saved = time.monotonic()

    def save(now: bool = False) -> None:
        nonlocal saved
        if engine.rank == 0 and (now or time.monotonic() - saved >= SAVE_SECONDS):
            save_checkpoint(path, engine.model, engine.optimizers, state)
            saved = time.monotonic()

    return save


def _train_epoch(
    job: Job, engine: Engine, plan: Epoch, epoch: int, state: Progress, save: Callable[[bool], None], send: Send
) -> tuple[float, float]:
    """Train what is left of an epoch and add its row to the history.

    Returns the seconds that all of it took, 0 where only the rest of it was left, and those waited for images.
    """
    recipe, first, batch = job.recipe, state.steps, plan.rows.shape[1]
    start, waited = time.perf_counter(), job.pixels.seconds_waited
    rate = _set_rates(recipe, engine, epoch)
    engine.model.start_epoch(epoch)
    send(first * batch)
    for i, losses in epoch_steps(recipe, job, engine, plan, epoch, first):
        state.losses.append(losses)
        state.steps = i + 1
        send(batch)
        if state.steps % recipe.accumulate == 0 and state.steps < len(plan.rows):
            save()
    seconds = time.perf_counter() - start
    row = {"epoch": epoch, "learning_rate": rate, "variants": plan.limit, "replaced": plan.replaced}
    row |= pd.DataFrame(state.losses).mean().to_dict()
    if job.validate is not None and engine.rank == 0:
        row["validation"] = job.validate(engine.model)
        state.keep_best(row["validation"], epoch, engine.model)
    state.end_epoch(row)
    return (0.0 if first else seconds), job.pixels.seconds_waited - waited


def epoch_steps(
    recipe: Recipe, job: Job, engine: Engine, plan: Epoch, epoch: int, first: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train the batches of an epoch from number `first` on; gives each one's number and losses."""
    samples, seed, share = job.pixels.samples, job.seed, engine.share(plan.rows.shape[1])
    frames = [
        _clips(
            samples, layers, rows, engine.model.frames, np.random.default_rng(seed_of("reid", "clips", seed, epoch, i))
        )
        for i, (layers, rows) in enumerate(zip(plan.layers, plan.rows, strict=True))
    ]
    cells = [
        (np.broadcast_to(layers[share, None], images[share].shape), images[share])
        for layers, images in zip(plan.layers, frames, strict=True)
    ]
    for i, pixels in enumerate(job.pixels.batches(cells[first:], max(1, job.threads)), start=first):
        layers, rows = plan.layers[i], plan.rows[i]
        window = min(recipe.accumulate, len(plan.rows) - i // recipe.accumulate * recipe.accumulate)
        last = (i + 1) % recipe.accumulate == 0 or i + 1 == len(plan.rows)
        # a batch's random numbers depend on nothing before it, so a resumed run draws the same
        torch.manual_seed(seed_of("reid", "augment", seed, epoch, i))
        drawn = draw(len(rows), recipe.size, engine.model.augmented_by)
        images = _augmented(pixels, drawn, share, engine)
        torch.manual_seed(seed_of("reid", "model", seed, epoch, i))

        def where(layers: NDArray = layers, rows: NDArray = rows) -> str:
            names = [samples.name(layer, row) for layer, row in zip(layers, rows, strict=True)]
            return f"seed {seed}, epoch {epoch}, batch of {', '.join(names)}"

        batch = _batch(samples, rows, plan.real[i], plan.position[i], engine.device)
        step = engine.stepper(window, last, where)
        yield i, engine.model.train_step(engine.maps(images, last), batch, epoch, step)


def _augmented(pixels: NDArray[np.uint8], drawn: Drawn, share: slice, engine: Engine) -> torch.Tensor:
    """float32 [B, 3, H, W] of uint8 [B, 1, H, W, 3]; clips stay [B, frames, 3, H, W], augmented as one."""
    count, frames = pixels.shape[:2]
    of = torch.arange(share.start, share.stop).repeat_interleave(frames)
    pictures = torch.from_numpy(pixels).to(engine.device).flatten(0, 1)
    images = augment(pictures, drawn, of, engine.model.augmented_by)
    return images if frames == 1 else images.unflatten(0, (count, frames))


def _clips(
    samples: Samples, layers: NDArray, rows: NDArray, frames: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The images of a batch's samples, int64 [B, frames]: the image itself, or a random clip of the chunk.

    A variant's clip is made of the frames that have the variant. Both of a pair, which stand half a batch apart, show
    the same frames.
    """
    if frames == 1:
        return np.array([samples.images[row] for row in rows])
    half = len(rows) // 2
    paired = np.array_equal(rows[:half], rows[half:])

    def pick(layer: int, row: int) -> NDArray[np.int64]:
        own = samples.images[row]
        return pick_clip(own[samples.made[layer - 1, own]] if layer else own, rng, frames)

    if not paired:
        return np.stack([pick(layer, row) for layer, row in zip(layers, rows, strict=True)])
    picked = np.stack([pick(layer, row) for layer, row in zip(layers[half:], rows[half:], strict=True)])
    return np.concatenate([picked, picked])


def _batch(samples: Samples, rows: NDArray, real: NDArray, position: NDArray, device: torch.device) -> Batch:
    labels = (samples.subjects[rows], samples.clothes[rows], real, position)
    return Batch(*(torch.tensor(values, device=device) for values in labels))


def _set_rates(recipe: Recipe, engine: Engine, epoch: int) -> float:
    """Set the learning rate of every group for the epoch; returns that of the scheduled ones."""
    rate = recipe.learning_rate * DROP ** sum(epoch >= milestone for milestone in recipe.milestones)
    rate *= min(1.0, (epoch + 1) / (recipe.warmup + 1))
    for group, optimizer in engine.optimizers.items():
        unscheduled = group in engine.model.unscheduled
        optimizer.param_groups[0]["lr"] = recipe.learning_rate if unscheduled else rate
    return rate


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


def _try_model(recipe: Recipe, dataset: Path) -> ReidModel:
    """Build the run's model once, so that what is wrong with it is said before any work."""
    train, owners = load_labels(dataset)
    model = build_model(recipe.model, int(train["subject"].max()) + 1, owners, **recipe.settings)
    draw(1, recipe.size, model.augmented_by)
    return model


def _spread(job: Job, processes: int) -> list[tuple[Job]]:
    """The job's processes, at an address that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    threads = max(1, job.threads // processes)
    return [(replace(job, processes=processes, rank=rank, port=port, threads=threads),) for rank in range(processes)]


def join(rank: int, processes: int, port: int, threads: int) -> None:
    """Say to accelerate, by the variables that it reads, which of several processes on this machine this is."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "OMP_NUM_THREADS": str(threads),  # without this accelerate sets a number of its own
    }


def _folder(job: Job) -> Path:
    return job.output / f"seed-{job.seed}"


class Curves(Live):
    """DVCLive's files of curves, and nothing but them.

    Left to itself it looks for the repository's last commit, which a fresh one lacks, and signals every step by a file
    that all runs of a repository share: neither may stop a training.
    """

    def _init_dvc(self) -> None: ...


def _open_live(job: Job, state: Progress) -> Curves:
    """The curves of the seed, with what a stopped run had logged."""
    live = Curves(str(_folder(job) / "live"), dvcyaml=False, save_dvc_exp=False, report=None, monitor_system=False)
    for row in state.history:
        _log(live, row)
    return live


def _log(live: Curves, row: dict[str, float]) -> None:
    """An epoch's row of the history as a step of the curves."""
    live.step = row["epoch"]
    for name, value in row.items():
        if name != "epoch" and np.isfinite(value):
            live.log_metric(name, value)
    live.make_summary()


def _fingerprint(
    recipe: Recipe, samples: Samples, dataset: Path, generated: Path, validate: Validate | None
) -> dict[str, object]:
    """All that the results follow from, seeds aside: settings, data, code and libraries."""
    sources = sorted({*Path(__file__).parent.rglob("*.py"), Path(inspect.getfile(model_factory(recipe.model)[0]))})
    return {
        "recipe": asdict(recipe),
        "weights": model_fingerprint(str(recipe.settings.get("weights"))),
        "dataset": folder_fingerprint(dataset),
        "generated": folder_fingerprint(generated) if len(samples.made) else "",
        "made": np.packbits(samples.made).tobytes().hex(),
        "validated": validate is not None,
        "processes": process_count(),
        "code": [source.read_text(encoding="utf-8") for source in sources],
        "torch": torch.__version__,
    }
