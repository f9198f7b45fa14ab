"""The paper's architectures with random weights on a GPU, beside the paper's figures on an A100 (Table A6).

    python -m benchmarks.generation --case inpaint      # or inpaint-queries, segformer-b2, llava-7b

The share of what the chip does in matrix products is measured too. Weights are saved to the temporary folder (llava-7b:
14 GB) and loaded as any model. Without a GPU a case says so; none was at hand for
benchmarks/generation.json.
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import VARIANTS, best_of, peak_memory, timed
from benchmarks.generation.models import QUESTION, save_llava, save_segformer, save_stable_diffusion
from benchmarks.generation.work import expand, made_up, made_up_work
from dlcr.inpainting import Expander
from dlcr.parsing import load_parser, parse_clothes
from dlcr.prompts import describe, load_describer
from dlcr.runtime.networks import device


class Goal(NamedTuple):
    """Images/s: the paper's on an A100 (Table A6), and what we ask of one, at least and at best."""

    paper: float
    least: float
    aim: float


def large(scale: float, run: Callable[[float], dict], goal: Goal) -> dict:
    """A case with one of the paper's architectures: `run`, if this machine can, beside the goal."""
    asked = {
        "paper, A100 (images/s)": goal.paper,
        "target, at least (images/s)": goal.least,
        "target, aim (images/s)": goal.aim,
    }
    if scale >= 1 and not torch.cuda.is_available():
        return {"images/s": None, "reason": "no CUDA device", **asked}
    return run(scale) | asked


def inpaint(scale: float, size: tuple[int, int], steps: int) -> dict:
    """Stable Diffusion 1.5 for inpainting in bfloat16: VARIANTS variants of pictures, to PNGs."""
    tiny = scale < 1
    size, steps = ((64, 64), 2) if tiny else (size, steps)
    with tempfile.TemporaryDirectory() as folder:
        save_stable_diffusion(Path(folder), tiny)
        open_expander = partial(Expander, folder, steps=steps, guidance=7.5, size=size, solver="ddim", dtype="bfloat16")

        def open_batch(batch: int) -> Callable[[], int]:
            expander, work = open_expander(batch=batch), made_up_work(2 * batch)
            return lambda: len(expand(expander, work))

        expander, one = open_expander(batch=1), made_up_work(1)
        expand(expander, one)  # so that its texts are known
        whole = flops(partial(expand, expander, one))
        encoding = flops(partial(expander.prepare, one.images, one.masks))
        del expander
        counted = whole - encoding * (1 - 1 / VARIANTS)  # an image is encoded once for its variants
        return throughput((2,) if tiny else (8, 32, 64), open_batch, counted)


def segformer(scale: float) -> dict:
    """SegFormer-b2 at 512x512, from pictures to masks."""
    tiny = scale < 1
    with tempfile.TemporaryDirectory() as folder:
        save_segformer(Path(folder), tiny)
        parser = load_parser(folder)
        batches = (2,) if tiny else (16, 64, 128)
        images = made_up(2 * max(batches))
        counted = flops(lambda: parse_clothes(parser, images[:1], 1))
        return throughput(
            batches, lambda batch: lambda: len(parse_clothes(parser, images[: 2 * batch], batch)), counted
        )


def llava(scale: float) -> dict:
    """A model of LLaVA-1.5-7B's shape that answers with 32 tokens."""
    tiny = scale < 1
    with tempfile.TemporaryDirectory() as folder:
        save_llava(Path(folder), tiny)
        describer = load_describer(folder)
        batches = (2,) if tiny else (8, 32, 64)
        images = made_up(max(batches))
        counted = flops(lambda: describe(describer, images[:1], QUESTION, max_new_tokens=32))
        return throughput(
            batches,
            lambda batch: lambda: len(describe(describer, images[:batch], QUESTION, max_new_tokens=32)),
            counted,
        )


def throughput(batches: Sequence[int], open_batch: Callable[[int], Callable[[], int]], counted: float) -> dict:
    """Images/s of the best batch, its peak memory and share of the measured matrix rate; images/s of every batch.

    open_batch(batch) returns what is timed, after one run to warm up; it returns how many images it did, as arrays or
    texts on the CPU. Batches that do not fit into memory are None. counted: floating point operations per image.
    """
    rates, memory = {}, {}
    for batch in batches:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "out of GPU memory")  # where a batch is halved, it is another one
            try:
                work = open_batch(batch)
                count = work()
                rates[batch] = count / best_of(work, rounds=2)[0]
            except (MemoryError, torch.OutOfMemoryError, UserWarning):
                rates[batch] = None
        memory[batch] = peak_memory()
    best = max(batches, key=lambda batch: rates[batch] or 0)
    peak = matrix_rate()
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "images/s": rates[best],
        "batch": best,
        "peak memory (GB)": memory[best],
        "TFLOP an image": counted / 1e12,
        "matrix products in bfloat16 (TFLOP/s)": peak / 1e12,
        "share of the matrix rate": None if rates[best] is None else rates[best] * counted / peak,
        **{f"batch {batch} (images/s)": rate for batch, rate in rates.items()},
    }


def matrix_rate() -> float:
    """Operations per second of the best of many bfloat16 matrix products."""
    side = 8192 if torch.cuda.is_available() else 512
    one, other = torch.ones((2, side, side), dtype=torch.bfloat16, device=device())

    def product() -> None:
        torch.mm(one, other)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return 2 * side**3 / min(timed(product)[0] for _ in range(50))


def flops(work: Callable[[], object]) -> float:
    """Floating point operations of `work`: two for each multiplication of matrix products and convolutions.

    Attention is made of plain matrix products here, as the fused ones of CPUs are not counted.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()
