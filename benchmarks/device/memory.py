"""Out of memory for real: a batch that is too large is halved until it fits, and finds what a batch that fits finds.

The small models that come with the repository, as their results mean something. What PyTorch may take of the GPU is
limited to less than the whole batch takes, which is measured first. Without a GPU, running out is pretended.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from benchmarks.common import ROOT
from benchmarks.device.results import Results, forget_peaks
from benchmarks.generation.work import minicc_work
from dlcr.inpainting import Expander
from dlcr.params import load_params
from dlcr.parsing import load_parser, parse_clothes
from dlcr.prompts import describe, load_describer
from dlcr.runtime.memory import Batch

IMAGES, COPIES = 64, 8  # so that a batch of all is large
FITS = 16  # a batch that always does
PIXELS, TEXTS, LEVELS = 0.999, 0.95, 1.0  # equal pixels of masks and equal answers, at least; mean difference, at most

Run = Callable[[int], list]
"""The results of all items, begun with this batch size."""


def run(results: Results, tiny: bool) -> None:
    """A case each for the parser, the describer and the inpainter."""
    params = load_params(ROOT / "profiles/smoke.yaml")
    images, copies, fits = (2, 2, 1) if tiny else (IMAGES, COPIES, FITS)
    work = minicc_work(params.minicc.model_dump(), images)
    pictures, masks = work.images[:images] * copies, work.masks[:images] * copies
    prompts = (work.prompts * copies * images)[: len(pictures)]

    def parser() -> Run:
        loaded = load_parser(str(ROOT / params.models.parser))
        return lambda batch: parse_clothes(loaded, pictures, batch)

    def describer() -> Run:
        loaded = load_describer(str(ROOT / params.models.describers["llava"]))
        ask = partial(describe, loaded, question=params.describe.question, max_new_tokens=16)
        return lambda batch: Batch(batch).run(ask, pictures)

    def inpainter() -> Run:
        settings = params.inpaint.model_dump(include={"steps", "guidance", "size", "dtype", "solver"})

        def paint(batch: int) -> list[np.ndarray]:
            expander = Expander(str(ROOT / params.models.inpainter), batch=batch, **settings)
            return expander.expand(pictures, masks, prompts, list(range(len(pictures))))

        return paint

    results.case("parser", lambda: halved(parser(), len(pictures), fits, same_masks))
    results.case("describer", lambda: halved(describer(), len(pictures), fits, same_texts))
    results.case("inpainter", lambda: halved(inpainter(), len(pictures), fits, partial(same_pictures, masks)))


def halved(work: Run, count: int, fits: int, compare: Callable[[list, list], dict]) -> dict:
    """Peaks of a batch that fits and of one of all `count` items; that one again where it has no room."""
    forget_peaks()
    expected, least = work(fits), reserved()
    forget_peaks()
    whole, most = work(count), reserved()
    forget_peaks()
    with limited((least + most) / 2, count // 2), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = work(count)
    halvings = [str(warning.message) for warning in caught if "out of GPU memory" in str(warning.message)]
    compared = compare(expected, found)
    return {
        "items": count,
        "pretended": not torch.cuda.is_available(),
        f"GPU memory reserved, batch of {fits} (GB)": least / 1e9,
        f"GPU memory reserved, batch of {count} (GB)": most / 1e9,
        "limit (GB)": (least + most) / 2e9,
        "halvings": halvings,
        f"batch of {fits} and halved": compared,
        f"batch of {fits} and of {count}": compare(expected, whole),
        "within": bool(halvings) and len(found) == count and compared["within"],
    }


def reserved() -> int:
    """Bytes of the GPU that PyTorch held at most; 0 without a GPU."""
    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0


@contextmanager
def limited(size: float, items: int) -> Iterator[None]:
    """PyTorch gets no more than `size` bytes of the GPU; without one, no more than `items` through a convolution."""
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(0).total_memory)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return

    def refuse(module: torch.nn.Module, inputs: tuple) -> None:
        if isinstance(module, torch.nn.Conv2d) and len(inputs[0]) > items:
            raise torch.OutOfMemoryError(f"pretended: {len(inputs[0])} images, there is room for {items}")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        hook.remove()


def same_masks(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> dict:
    """The share of equal pixels."""
    equal = float(np.mean([np.mean(a == b) for a, b in zip(one, other, strict=True)]))
    return {"equal pixels": equal, "tolerance": f"at least {PIXELS}", "within": equal >= PIXELS}


def same_texts(one: Sequence[str], other: Sequence[str]) -> dict:
    """The share of equal answers."""
    equal = float(np.mean([a == b for a, b in zip(one, other, strict=True)]))
    return {"equal answers": equal, "tolerance": f"at least {TEXTS}", "within": equal >= TEXTS}


def same_pictures(masks: Sequence[np.ndarray], one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> dict:
    """The mean difference inside the masks, in levels."""
    pairs = zip(one, other, masks, strict=True)
    mean = float(np.mean([np.abs(a.astype(int) - b)[mask].mean() for a, b, mask in pairs]))
    return {
        "mean difference inside the masks (levels)": mean,
        "tolerance": f"at most {LEVELS}",
        "within": mean <= LEVELS,
    }
