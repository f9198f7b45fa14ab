"""`torch.compile` on the U-Net of Stable Diffusion 1.5: off, its repeated blocks alone, and as a whole.

The last part: compiling takes longest. Compilers are not there on a CPU without one, so tiny sizes are traced only.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from benchmarks.device.inpaint import TRAIN, inputs, sizes
from benchmarks.device.results import Results, median_seconds, synchronize
from benchmarks.generation import models
from dlcr.inpainting.diffusion import load_inpainter, prepare, sample

BATCH, STEPS = 8, 10
WAYS: dict[str, Callable[..., None]] = {
    "off": lambda unet, **_: None,
    "repeated blocks": UNet2DConditionModel.compile_repeated_blocks,
    "whole": UNet2DConditionModel.compile,
}


def run(results: Results, tiny: bool) -> None:
    """One case per way, each on a pipeline loaded anew."""
    batch, steps = (2, 2) if tiny else (BATCH, STEPS)
    size, _ = sizes(TRAIN, tiny)
    backend = "eager" if tiny else "inductor"
    expected: list[torch.Tensor] = []
    with tempfile.TemporaryDirectory() as name:
        models.save_stable_diffusion(Path(name), tiny)
        for way in WAYS:
            results.case(
                f"compiled: {way}, {size[0]}x{size[1]}, {steps} steps, batch {batch}",
                lambda way=way: compiled(name, way, backend, batch, size, steps, expected),
            )


def compiled(
    folder: str, way: str, backend: str, batch: int, size: tuple[int, int], steps: int, expected: list[torch.Tensor]
) -> dict:
    """Seconds per step, and of the first ones, which compile; `expected` is given the latents of the first way."""
    pipeline = load_inpainter(folder, "bfloat16")
    images, masks, texts, empty, seeds = inputs(pipeline, batch, size)
    canvas = prepare(pipeline, images, masks)
    denoise = partial(sample, pipeline, canvas, texts, empty, seeds, steps=steps, guidance=7.5, solver="ddim")
    torch._dynamo.reset()
    WAYS[way](pipeline.unet, backend=backend)
    synchronize()
    start = time.perf_counter()
    denoise(steps=1)
    synchronize()
    first = time.perf_counter() - start
    latents = denoise()
    expected.append(latents.cpu())
    found = median_seconds(denoise)
    return {
        "first step, compilation included (s)": first,
        "a step (s)": found["seconds"] / steps,
        "rounds": found["rounds"],
        "mean difference of the latents to those without": float((expected[0] - expected[-1]).abs().mean()),
        "mean size of the latents": float(expected[0].abs().mean()),
    }
