"""Training of a run of params.yaml: its recipes and seeds, the same for every model and every mode (Sec. 3.2.1).

    run, recipe = params.runs["mine"], params.recipes["cal-mini"]
    train_run("mine", run, recipe.each("cal-mini"), Path("data/minicc"), Path("generated/inpainting"), [0, 1],
              Path("runs/mine"))
    model = load_model(Path("runs/mine/seed-0"))

The result is the last epoch, or the best on the validation identities: no test image takes part in choosing it. A run
can be stopped at any moment; started again it goes on from its last checkpoint, within an epoch too, and ends with the
same bytes. A seed that was trained before, alone or with others, is not trained again: it comes from the store, or from
what DVC kept of the run.
"""

import json
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
from dlcr.runtime.code import code_of
from dlcr.runtime.determinism import core_count, worker_count
from dlcr.runtime.earlier import EarlierFile, adopt, earlier_files
from dlcr.runtime.jobs import run_jobs
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.progress import progress
from dlcr.runtime.store import Store, key_of, work_folder


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
    earlier = earlier_files(output)
    for ablation, recipe in recipes.items():
        one = f"{name}.{ablation}" if ablation else name
        before = f"{ablation}/" if ablation else ""
        kept = {path.removeprefix(before): file for path, file in earlier.items() if path.startswith(before)}
        took, checkpoints = _train_recipe(
            one, run, recipe, dataset, generated, seeds, output / ablation, kept, minimum, validate
        )
        seconds += took
        finished.append(checkpoints)
    for checkpoints in set(finished):
        rmtree(checkpoints, ignore_errors=True)
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
    earlier: Mapping[str, EarlierFile],
    minimum: Mapping[str, float] | None,
    validate: Validate | None,
) -> tuple[float, Path]:
    """The seconds that it took, NaN where some of it was there, and the folder of the checkpoints, which stay.

    earlier: what DVC kept of the output, by the path within it.
    """
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
    inputs = key_of(_inputs(recipe, run, samples, dataset, generated, validate))
    key = key_of(
        [inputs, code_of(train_seed, model_factory(recipe.model)[0], *filter(None, [validate])), torch.__version__]
    )
    missing = [seed for seed in seeds if not _take(key, inputs, seed, output / f"seed-{seed}", earlier)]
    checkpoints = work_folder(key)
    if not missing:
        print(f"{name}: no seed to train, {len(seeds)} taken from the store")
        return np.nan, checkpoints
    continued = checkpoints.is_dir() or missing != seeds
    threads = torch.get_num_threads()
    pixels = Pixels(samples, dataset, generated, recipe.size, bicubic=model.bicubic)
    if fits(samples, recipe.size, checkpoints):
        cache = checkpoints / "pixels.npy"
        if not cache.exists():
            write_pixels(cache, pixels, core_count())
        pixels = replace(pixels, cache=cache)
    workers = 1 if torch.cuda.is_available() or processes > 1 else worker_count(len(missing))
    jobs = [Job(recipe, run, pixels, seed, inputs, checkpoints, output, threads, validate) for seed in missing]
    facts = []
    with progress(len(missing) * recipe.epochs * plan.rows.size, f"train {name}") as bar:
        if processes == 1:
            facts = run_jobs(train_seed, [(job,) for job in jobs], workers, bar.update)
        for job in jobs if processes > 1 else ():
            facts.append(run_jobs(train_seed, _spread(job, processes), processes, bar.update)[0])
    (checkpoints / "pixels.npy").unlink(missing_ok=True)  # gigabytes, for real datasets
    for seed in missing:
        Store().put_folder(key_of([key, seed]), output / f"seed-{seed}")
    means = {key: float(np.nanmean([fact[key] for fact in facts])) for key in facts[0]} if all(facts) else {}
    if means:
        if not continued:
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


def _inputs(
    recipe: Recipe, run: Run, samples: Samples, dataset: Path, generated: Path, validate: Validate | None
) -> dict[str, object]:
    """All that the results follow from but seeds, code and libraries: settings and data."""
    return {
        "recipe": recipe.model_dump(),
        "run": run.model_dump(include={"code", "mode", "k"}),
        "weights": model_fingerprint(str(recipe.settings.get("weights"))),
        "dataset": folder_fingerprint(dataset),
        "generated": folder_fingerprint(generated) if len(samples.made) else "",
        "made": np.packbits(samples.made).tobytes().hex(),
        "validated": validate is not None,
        "processes": process_count(),
    }


def _take(key: str, inputs: str, seed: int, folder: Path, earlier: Mapping[str, EarlierFile]) -> bool:
    """Put a trained seed in its folder, from the store or from what DVC kept; False where it has to be trained."""
    store = Store()
    if store.take_folder(key_of([key, seed]), folder):
        return True
    before = f"seed-{seed}/"
    kept = {path.removeprefix(before): file for path, file in earlier.items() if path.startswith(before)}
    config = folder / "config.json"
    # Adopting verifies a file: only then what it says of itself is worth reading.
    if config.name in kept and adopt(kept[config.name], config):
        made = json.loads(config.read_text(encoding="utf-8")).get("inputs") == inputs
        if made and all(adopt(file, folder / name) for name, file in kept.items()):
            store.put_folder(key_of([key, seed]), folder)
            return True
    rmtree(folder, ignore_errors=True)
    return False
