"""Speed and memory of training: a step of every model, CAL at the paper's size, waiting for images, and concatenation.

    python -m benchmarks.training                       # all that this machine can -> benchmarks/training.json
    python -m benchmarks.training --scale 0.1 --out /tmp/training.json          # to try it: see below
    python -m benchmarks.training --case steps          # one case, printed as JSON

Every case is a process of its own and a table of rows; `asked` is what is asked of a row, where something is.

- `steps`: a step of every small model on pairs, on the CPU: pixels, augmentation, body, losses and optimizers, as
  training takes it. A machine that others use as well changes its speed while it is measured: all models take their
  first step, then all their second, and each is compared to cal-mini within such a round.
- `cal-cpu`: CAL with ResNet-50 at 384x192 on the CPU, in both precisions, in smaller batches than the paper's.
- `cal-gpu`: the same on a GPU, where there is one, at the paper's batch, beside the nominal peak of the chip.
- `waiting`: the share of its time that a run of cal-mini on MiniCC waits for images.
- `concat`: an epoch of concatenated data beside one of the progressive mode (Table A5: 691 s and 65 s).

Pixels are random but in `waiting` and `concat`, which read data/minicc and generated/inpainting. Weights are random
everywhere. With a SCALE below 1 all is tiny, the paper's model a small one; such numbers say nothing about speed.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import ROOT, VARIANTS, command, peak_memory
from dlcr.params import Recipe, Run
from dlcr.reid.batches import plan_epoch
from dlcr.reid.clips import FRAMES, STRIDE
from dlcr.reid.engine import Engine
from dlcr.reid.models import build_model
from dlcr.reid.pixels import Pixels, write_pixels
from dlcr.reid.samples import Samples, load_samples
from dlcr.reid.seed import Job, epoch_steps, train_seed

DATASET, GENERATED = ROOT / "data/minicc", ROOT / "generated/inpainting"
SUBJECTS, CLOTHES = 48, 2  # of made-up samples: as many subjects as MiniCC's, so many clothes of each
WARM_UP = 2  # steps of a small model that are not counted
PHASES = {"phase_2_from": 1, "phase_3_from": 2}  # an epoch each
# Name, model, settings, epoch: all losses of a model are in use.
STEPS = (
    ("cal-mini", "cal-mini", {"clothes_from_epoch": 0}, 0),
    ("pcb-mini", "pcb-mini", {"triplet_weight": 1.0}, 0),
    ("hpm-mini", "hpm-mini", {"triplet_weight": 1.0}, 0),
    ("mgn-mini", "mgn-mini", {}, 0),
    ("aim-mini", "aim-mini", {"clothes_from_epoch": 0}, 0),
    ("ccfa-mini, phase I", "ccfa-mini", PHASES, 0),
    ("ccfa-mini, phase II", "ccfa-mini", PHASES, 1),
    ("ccfa-mini, phase III", "ccfa-mini", PHASES, 2),
    (f"c2d-mini, clips of {FRAMES}", "c2d-mini", {"clothes_from_epoch": 0}, 0),
)
# TFLOP/s of dense bfloat16 matrix products by a part of the device's name, from NVIDIA's data sheets.
PEAKS = {"A100": 312, "H100 80GB HBM3": 989, "H200": 989}


class Sizes(NamedTuple):
    """What a step works on: images of `size`, identities x images pairs per batch; and how many steps are counted."""

    size: tuple[int, int]
    identities: int
    images: int
    steps: int


TINY = Sizes((48, 24), 2, 4, 1)


def steps(scale: float) -> list[dict]:
    """Images/s of a step of every small model at 96x48, 32 + 32 images or clips, bfloat16."""
    sizes = TINY if scale < 1 else Sizes((96, 48), 8, 4, 9)
    running = {
        name: train_steps(_recipe(model, sizes, settings), sizes, epoch) for name, model, settings, epoch in STEPS
    }
    rounds = [{name: _seconds(taken) for name, taken in running.items()} for _ in range(WARM_UP + sizes.steps)]
    seconds = pd.DataFrame(rounds[WARM_UP:])
    rows = []
    for name, model, _, _ in STEPS:
        images = _images(sizes) * (FRAMES if model == "c2d-mini" else 1)
        median = float(seconds[name].median())
        rows.append(
            {
                "name": name,
                "images a step": images,
                "seconds a step": median,
                "images/s": images / median,
                "images/s over cal-mini's": images
                / _images(sizes)
                * float((seconds["cal-mini"] / seconds[name]).median()),
            }
        )
    return rows


def cal_cpu(scale: float) -> list[dict]:
    """Seconds of a step of CAL at the paper's size on the CPU, in batches that take seconds and little memory."""
    sizes = TINY if scale < 1 else Sizes((384, 192), 4, 2, 3)
    note = {"note": f"a batch of {_images(sizes)} images, the paper's has 64"}
    # a process' peak of memory never falls: the smaller one first
    return [
        {"name": f"CAL, {precision}"} | note | cal(sizes, precision, scale < 1) for precision in ("bfloat16", "float32")
    ]


def cal_gpu(scale: float) -> list[dict]:
    """Images/s of CAL at the paper's size and batch in bfloat16, share of the peak, and memory."""
    sizes = TINY if scale < 1 else Sizes((384, 192), 8, 4, 10)
    row = {"name": "CAL, bfloat16", "asked": "peak memory (GB): at most 12"}
    empty = {"images/s": None, "share of the peak": None, "peak memory (GB)": None}
    if not (scale < 1 or torch.cuda.is_available()):
        return [row | empty | {"reason": "no CUDA device"}]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    found = cal(sizes, "bfloat16", scale < 1)
    return [row | {"device": device} | found | share_of_peak(found["TFLOP/s"], device)]


def share_of_peak(rate: float, device: str) -> dict:
    """The nominal peak of a device by its name, TFLOP/s, and the share of it that `rate` is."""
    peak = next((peak for part, peak in PEAKS.items() if part in device), None)
    if peak is None:
        return {"nominal peak (TFLOP/s)": None, "share of the peak": None, "reason": f"no peak known of {device}"}
    return {"nominal peak (TFLOP/s)": peak, "share of the peak": rate / peak}


def cal(sizes: Sizes, precision: str, tiny: bool) -> dict:
    """Time and memory of CAL's steps with all losses; of the first, which warms up, the operations are counted."""
    model = "cal-mini" if tiny else "cal"
    recipe = _recipe(model, sizes, {"clothes_from_epoch": 0}, precision=precision)
    running = train_steps(recipe, sizes)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with FlopCounterMode(display=False) as counter:
        next(running)
    seconds = float(np.median([_seconds(running) for _ in range(sizes.steps)]))
    return {
        "model": model,
        "height, width": sizes.size,
        "images a step": _images(sizes),
        "steps counted": sizes.steps,
        "seconds a step": seconds,
        "images/s": _images(sizes) / seconds,
        "TFLOP a step": counter.get_total_flops() / 1e12,
        "TFLOP/s": counter.get_total_flops() / 1e12 / seconds,
        "peak memory (GB)": peak_memory(),
    }


def waiting(scale: float, dataset: Path = DATASET, generated: Path = GENERATED) -> list[dict]:
    """The share of the time that progressive runs wait for images: from the cache, and decoding from the shards."""
    asked = {"asked": "waiting: at most 0.05"}
    names = {"from the cache": True, "decoding from the shards": False}
    if reason := _missing(dataset, generated):
        return [{"name": name, "waiting": None, "reason": reason} | asked for name in names]
    recipe, run = _run_recipe(scale, epochs=1 if scale < 1 else 3), _run("progressive")
    return [
        {"name": name} | train_once(recipe, run, dataset, generated, cached) | asked for name, cached in names.items()
    ]


def concat(scale: float, dataset: Path = DATASET, generated: Path = GENERATED) -> list[dict]:
    """Epoch seconds of concatenated data over those of the progressive mode, and what explains them."""
    asked = {"name": "concat over progressive", "asked": "seconds: at least 10", "paper, seconds": 691 / 65}
    if reason := _missing(dataset, generated):
        return [asked | {"seconds": None, "reason": reason}]
    rows = []
    for mode in ("progressive", "progressive", "concat"):  # the first to warm up
        recipe, run = _run_recipe(scale, epochs=1), _run(mode)
        images, count = epoch_size(recipe, run, load_samples(dataset, generated, mode, run.k))
        seconds = train_once(recipe, run, dataset, generated, cached=True)["epoch_seconds"]
        rows.append({"name": mode, "seconds": seconds, "images": images, "optimizer steps": count})
    _, progressive, concatenated = rows
    ratios = {key: concatenated[key] / progressive[key] for key in ("seconds", "images", "optimizer steps")}
    return [progressive, concatenated, asked | ratios]


CASES: dict[str, Callable[[float], list[dict]]] = {
    "steps": steps,
    "cal-cpu": cal_cpu,
    "cal-gpu": cal_gpu,
    "waiting": waiting,
    "concat": concat,
}
app = command("training", CASES, "accelerate", "kornia", on_gpu=["cal-gpu"])


class RandomPixels(Pixels):
    """Random pixels in memory, of made-up samples."""

    def __post_init__(self) -> None:
        shape = 1 + len(self.samples.made), len(self.samples.image_ids), *self.size, 3
        self.stored = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def train_steps(recipe: Recipe, sizes: Sizes, epoch: int = 0) -> Iterator[tuple[int, dict[str, float]]]:
    """Takes a training step on made-up samples each time that it is asked for one: its number and its losses.

    There are steps for the warm-up and for what is counted. `epoch` is what the model is told: it decides on losses.
    """
    torch.manual_seed(0)
    count = WARM_UP + sizes.steps
    owners = np.repeat(np.arange(SUBJECTS), CLOTHES).tolist()
    model = build_model(recipe.model, SUBJECTS, owners, **recipe.settings)
    model.size = recipe.size
    engine = Engine(model, recipe.learning_rate, recipe.weight_decay, recipe.precision)
    model.start_epoch(epoch)
    samples = made_up_samples(recipe, count, owners, model.frames)
    rng = np.random.default_rng(0)
    plan = plan_epoch("paired", samples.subjects, samples.present, epoch, 1, recipe.identities, recipe.images, rng)
    pixels = RandomPixels(samples, Path(), Path(), recipe.size)
    job = Job(recipe, _run("paired"), pixels, 0, "", Path(), Path(), torch.get_num_threads(), None)
    return epoch_steps(job, engine, plan, epoch, 0)


def made_up_samples(recipe: Recipe, batches: int, owners: list[int], frames: int) -> Samples:
    """As many samples, with a variant each, as so many batches need; of clips, they share their images."""
    groups = -(-batches * recipe.identities // SUBJECTS)  # of a subject
    each = groups * recipe.images
    subjects = np.repeat(np.arange(SUBJECTS), each)
    clothes = CLOTHES * subjects + np.arange(len(subjects)) % CLOTHES
    long = 1 if frames == 1 else frames * STRIDE
    images = (np.arange(len(subjects))[:, None] + np.arange(long)) % len(subjects)
    return Samples(
        image_ids=[f"made up {number}" for number in range(len(subjects))],
        images=list(images),
        subjects=subjects,
        clothes=clothes,
        owners=owners,
        made=np.ones((1, len(subjects)), bool),
        present=np.ones((1, len(subjects)), bool),
    )


def train_once(recipe: Recipe, run: Run, dataset: Path, generated: Path, cached: bool) -> dict[str, float]:
    """Train one seed as `train_run` does, in a temporary folder; its facts."""
    samples = load_samples(dataset, generated, run.mode, run.k)
    pixels = Pixels(samples, dataset, generated, recipe.size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if cached:
            write_pixels(folder / "pixels.npy", pixels, torch.get_num_threads())
            pixels = replace(pixels, cache=folder / "pixels.npy")
        job = Job(recipe, run, pixels, 0, "", folder, folder / "run", torch.get_num_threads(), None)
        return train_seed(job, lambda _: None)


def epoch_size(recipe: Recipe, run: Run, samples: Samples) -> tuple[int, int]:
    """Images and optimizer steps of a run's first epoch."""
    rng = np.random.default_rng(0)
    every, groups = recipe.progressive_every, (recipe.identities, recipe.images)
    rows = plan_epoch(run.mode, samples.subjects, samples.present, 0, every, *groups, rng).rows
    return rows.size, len(rows)


def _recipe(model: str, sizes: Sizes, settings: dict[str, object], **others: object) -> Recipe:
    """A recipe in bfloat16."""
    usual = {"epochs": 1, "learning_rate": 1e-3, "weight_decay": 5e-4, "milestones": [], "progressive_every": 1}
    groups = {"size": sizes.size, "identities": sizes.identities, "images": sizes.images}
    return Recipe(model=model, settings=settings, **(usual | groups | {"precision": "bfloat16"} | others))


def _run_recipe(scale: float, epochs: int) -> Recipe:
    """cal-mini's in bfloat16, with all losses from the first epoch on and a part of the variants more in each."""
    sizes = Sizes(TINY.size if scale < 1 else (96, 48), 8, 4, 0)
    return _recipe("cal-mini", sizes, {"clothes_from_epoch": 0}, epochs=epochs)


def _run(mode: str) -> Run:
    return Run(
        dataset="minicc", recipe="cal-mini", code="dlcr/reid/models", generated="inpainting", mode=mode, k=VARIANTS
    )


def _missing(*folders: Path) -> str:
    """Why nothing can be trained: the first folder that is not there; "" where all are."""
    return next(
        (
            f"no folder {folder.parent.name}/{folder.name}, which `dvc repro` makes"
            for folder in folders
            if not folder.is_dir()
        ),
        "",
    )


def _images(sizes: Sizes) -> int:
    """Of a batch, variants included."""
    return 2 * sizes.identities * sizes.images


def _seconds(running: Iterator) -> float:
    """Seconds of the next step. It ends with its losses as numbers, for which a GPU has to be done."""
    start = time.perf_counter()
    next(running)
    return time.perf_counter() - start


if __name__ == "__main__":
    app()
