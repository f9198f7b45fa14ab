"""The small parser and describers on MiniCC's images, on the CPU: one image at a time and in batches.

    python -m benchmarks.generation --case parse
    python -m benchmarks.generation --case describe

Last: batches of 64 parse 1.7 times faster, and describe 6 to 8 times faster, with the same results.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.common import ROOT, best_of
from benchmarks.generation.work import shipped
from dlcr.parsing import load_parser, parse_clothes
from dlcr.prompts import describe, load_describer

IMAGES = 256  # of MiniCC


def parse(scale: float) -> dict:
    """The small parser, one image at a time and in batches."""
    params, work = shipped(scale, IMAGES)
    parser = load_parser(str(ROOT / params.models.parser))
    return one_or_many(work.images, lambda part: parse_clothes(parser, part, batch=len(part)))


def describe_mini(scale: float) -> dict:
    """The small describers that come with the repository, one image at a time and in batches."""
    params, work = shipped(scale, IMAGES)
    found = {}
    for name, model in params.models.describers.items():
        if (ROOT / model).is_dir():
            describer = load_describer(str(ROOT / model))
            ask = partial(describe, describer, question=params.describe.question, max_new_tokens=16)
            found |= {f"{name}, {key}": value for key, value in one_or_many(work.images, ask).items()}
    return found


def one_or_many(images: list[np.ndarray], work: Callable[[list[np.ndarray]], list]) -> dict:
    """Images/s of `work` in batches of 1 and 64, and whether it finds the same."""
    runs = [partial(in_batches, images, work, batch) for batch in (1, 64)]
    one, many = (run() for run in runs)
    alone, together = best_of(*runs)
    return {
        "images": len(images),
        "batch 1 (images/s)": len(images) / alone,
        "batch 64 (images/s)": len(images) / together,
        "times faster": alone / together,
        "share of images with the same result": float(np.mean(list(map(np.array_equal, one, many)))),
    }


def in_batches(images: list[np.ndarray], work: Callable[[list[np.ndarray]], list], batch: int) -> list:
    return [found for first in range(0, len(images), batch) for found in work(images[first : first + batch])]
