"""Training of one seed of a model, in one process or as one of several: its epochs and batches (Sec. 3.2.1)."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dlcr.params import Recipe, Run
from dlcr.reid.augment import Drawn, augment, draw
from dlcr.reid.batches import Epoch, plan_epoch
from dlcr.reid.checkpoints import Progress, load_checkpoint, save_checkpoint, write_outputs
from dlcr.reid.clips import pick_clip
from dlcr.reid.engine import Engine
from dlcr.reid.models import Batch, ReidModel, build_model, load_code
from dlcr.reid.pixels import Pixels
from dlcr.reid.samples import Samples
from dlcr.runtime import determinism, timing
from dlcr.runtime.jobs import Send
from dlcr.runtime.seeds import seed_of

DROP = 0.1
SAVE_SECONDS = 30.0  # at most so much work is lost when a run is stopped
Validate = Callable[[ReidModel], float]


@dataclass(frozen=True)
class Job:
    """One training process: a seed, and which of `processes` this is; they meet at `port`. inputs: what settings and
    data of the run are known by."""

    recipe: Recipe
    run: Run
    pixels: Pixels
    seed: int
    inputs: str
    checkpoints: Path
    output: Path
    threads: int
    validate: Validate | None
    processes: int = 1
    rank: int = 0
    port: int = 0


def train_seed(job: Job, send: Send) -> dict[str, float]:
    """Train one seed from its last checkpoint on and write its outputs; `send(n)` after every batch of n images.

    Returns the mean epoch_seconds, images_per_second, waiting (the share of the time in which the model waited for
    images) and peak_memory_mb of the whole epochs trained in this call; {} when there were none.
    """
    from dlcr.reid.curves import open_curves

    recipe, samples = job.recipe, job.pixels.samples
    engine = _start(job)
    path = job.checkpoints / f"seed-{job.seed}.pt"
    state = load_checkpoint(path, engine.model, engine.optimizers)
    if engine.rank > 0:  # the first process speaks and writes for all

        def send(_: int) -> None: ...

    save = _saver(path, engine, state)
    live = open_curves(_folder(job) / "live", state.history) if engine.rank == 0 else None
    measured = []
    for epoch in range(recipe.epochs):
        plan = plan_batches(recipe, job.run, samples, job.seed, epoch)
        if epoch < len(state.history):
            send(plan.rows.size)
            continue
        seconds, waited = _train_epoch(job, engine, plan, epoch, state, save, send)
        if seconds:
            measured.append((seconds, plan.rows.size, waited))
        if live is not None:
            live.log(state.history[-1])
        save(epoch + 1 == recipe.epochs)
    if live is not None:
        write_outputs(_folder(job), engine.model, samples, recipe, job.run, job.seed, job.inputs, state)
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
    load_code(job.run.own_code)
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
    for i, losses in epoch_steps(job, engine, plan, epoch, first):
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
    job: Job, engine: Engine, plan: Epoch, epoch: int, first: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train the batches of an epoch from number `first` on; gives each one's number and losses."""
    recipe, samples, seed = job.recipe, job.pixels.samples, job.seed
    share = engine.share(plan.rows.shape[1])
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


def plan_batches(recipe: Recipe, run: Run, samples: Samples, seed: int, epoch: int) -> Epoch:
    """The batches of an epoch of a seed (`plan_epoch`)."""
    rng = np.random.default_rng(seed_of("reid", "batches", seed, epoch))
    every, groups = recipe.progressive_every, (recipe.identities, recipe.images)
    return plan_epoch(run.mode, samples.subjects, samples.present, epoch, every, *groups, rng)


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
