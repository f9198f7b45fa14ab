"""Training of a run of params.yaml: its recipes and seeds, the same for every model and every mode (Sec. 3.2.1).

    run, recipe = params.runs["mine"], params.recipes["cal-mini"]
    train_run("mine", run, recipe.each("cal-mini"), Path("data/minicc"), Path("generated/inpainting"), [0, 1],
              Path("runs/mine"))
    model = load_model(Path("runs/mine/seed-0"))

The result is the last epoch, or the best on the validation identities: no test image takes part in choosing it. A run
can be stopped at any moment; started again it goes on from its last checkpoint, within an epoch too, and ends with the
same bytes.
"""

import inspect
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch

from dlcr.data import folder_fingerprint
from dlcr.params import Recipe, Run
from dlcr.reid.augment import draw
from dlcr.reid.engine import process_count
from dlcr.reid.models import ReidModel, build_model, load_code, model_factory
from dlcr.reid.pixels import Pixels, fits, write_pixels
from dlcr.reid.samples import Samples, load_labels, load_samples
from dlcr.reid.seed import Job, Validate, plan_batches, train_seed
from dlcr.runtime import timing
from dlcr.runtime.determinism import core_count, worker_count
from dlcr.runtime.jobs import run_jobs
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.progress import progress
from dlcr.runtime.store import key_of, work_folder


def train_run(
    name: str,
    run: Run,
    recipes: Mapping[str, Recipe],
    dataset: Path,
    generated: Path,
    seeds: list[int],
    output: Path,
    minimum: Mapping[str, float] | None = None,
    validate: Validate | None = None,
) -> None:
    """Train the recipes, a model for each seed, and write <output>/<ablation>/seed-<s>/{model.safetensors, config.json,
    history.csv, live/}.

    recipes: by ablation, each with its `model`, as `Recipe.each` gives them; of the one named "" the folders are
    <output>/seed-<s>. dataset: folder data/<dataset>; generated: folder generated/<set>, not opened in mode "none";
    minimum: what the quality gate asks of its variants (`open_generated`). validate: a score of a model, the higher the
    better, by which the epoch is chosen; without it the last one is. Call `determinism.set_up` first: each seed has
    that number of threads, in a process of its own (on GPUs one seed after the other). The environment's
    DLCR_PROCESSES spreads each seed over so many processes (`dlcr.reid.engine`), one GPU each where there are GPUs.

    Checkpoints stay until all recipes are trained, so that a stopped run goes on with the one that it was at. The means
    over the seeds of what `train_seed` returns are recorded as the timing of `name`, or of `<name>.<ablation>`, and the
    seconds that all of it took as that of `name`, where it did not continue a stopped run.

    Raises ValueError, before anything is trained, for data, weights or settings that cannot work, and for a loss that
    is no number.
    """
    seconds, finished = 0.0, []
    for ablation, recipe in recipes.items():
        one = f"{name}.{ablation}" if ablation else name
        took, checkpoints = _train_recipe(
            one, run, recipe, dataset, generated, seeds, output / ablation, minimum, validate
        )
        seconds += took
        finished.append(checkpoints)
    for checkpoints in set(finished):
        rmtree(checkpoints)
    if "" not in recipes and np.isfinite(seconds):
        timing.record("train", name, seconds=seconds)


def _train_recipe(
    name: str,
    run: Run,
    recipe: Recipe,
    dataset: Path,
    generated: Path,
    seeds: list[int],
    output: Path,
    minimum: Mapping[str, float] | None,
    validate: Validate | None,
) -> tuple[float, Path]:
    """The seconds that it took, NaN for a continued one, and the folder of the checkpoints, which stay."""
    start = time.monotonic()
    load_code(run.own_code)
    model = _try_model(recipe, dataset)
    samples = load_samples(dataset, generated, run.mode, run.k, minimum, model.frames)
    processes = process_count()
    plan = plan_batches(recipe, run, samples, seed=0, epoch=0)
    if len(plan.rows) == 0:
        raise ValueError(f"{dataset}: too few images for one batch of {recipe.identities} x {recipe.images}")
    if plan.rows.shape[1] % processes:
        raise ValueError(f"a batch of {plan.rows.shape[1]} cannot be split over {processes} processes (DLCR_PROCESSES)")
    checkpoints = work_folder(key_of(_fingerprint(recipe, run, samples, dataset, generated, validate)))
    resumed = checkpoints.is_dir()
    threads = torch.get_num_threads()
    pixels = Pixels(samples, dataset, generated, recipe.size, bicubic=model.bicubic)
    if fits(samples, recipe.size, checkpoints):
        cache = checkpoints / "pixels.npy"
        if not cache.exists():
            write_pixels(cache, pixels, core_count())
        pixels = replace(pixels, cache=cache)
    workers = 1 if torch.cuda.is_available() or processes > 1 else worker_count(len(seeds))
    jobs = [Job(recipe, run, pixels, seed, checkpoints, output, threads, validate) for seed in seeds]
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
    return means.get("seconds", np.nan), checkpoints


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


def _fingerprint(
    recipe: Recipe, run: Run, samples: Samples, dataset: Path, generated: Path, validate: Validate | None
) -> dict[str, object]:
    """All that the results follow from, seeds aside: settings, data, code and libraries."""
    sources = sorted({*Path(__file__).parent.rglob("*.py"), Path(inspect.getfile(model_factory(recipe.model)[0]))})
    return {
        "recipe": recipe.model_dump(),
        "run": run.model_dump(include={"code", "mode", "k"}),
        "weights": model_fingerprint(str(recipe.settings.get("weights"))),
        "dataset": folder_fingerprint(dataset),
        "generated": folder_fingerprint(generated) if len(samples.made) else "",
        "made": np.packbits(samples.made).tobytes().hex(),
        "validated": validate is not None,
        "processes": process_count(),
        "code": [source.read_text(encoding="utf-8") for source in sources],
        "torch": torch.__version__,
    }
