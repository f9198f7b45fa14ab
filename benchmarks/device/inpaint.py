"""Stable Diffusion 1.5 for inpainting, random weights in bfloat16: images/s by batch at the paper's sizes and steps."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from benchmarks.device.results import Results, median_seconds
from benchmarks.generation import models
from benchmarks.generation.work import made_up
from dlcr.inpainting.diffusion import decode, embed, load_inpainter, prepare, sample

BATCHES, QUERY_BATCHES, TINY = (1, 4, 8, 16, 32), (1, 8, 32, 64), (2,)
COMPARED = 8  # the batch at which memory formats are compared
TRAIN, QUERIES = ((768, 256), 50), ((384, 128), 10)  # (height, width) and steps


def run(results: Results, tiny: bool) -> None:
    """The sweep over batches at the size of training images, memory formats, and the sweep at the queries' size."""
    with tempfile.TemporaryDirectory() as name:
        models.save_stable_diffusion(Path(name), tiny)
        pipeline = load_inpainter(name, "bfloat16")
    size, steps = sizes(TRAIN, tiny)
    for batch in TINY if tiny else BATCHES:
        label = f"{size[0]}x{size[1]}, {steps} steps, batch {batch}"
        results.case(label, partial(paint, pipeline, batch, size, steps))
    batch = TINY[-1] if tiny else COMPARED
    results.case(
        f"{label.rsplit(',', 1)[0]}, batch {batch}, not channels-last",
        partial(contiguous, pipeline, batch, size, steps),
    )
    size, steps = sizes(QUERIES, tiny)
    for batch in TINY if tiny else QUERY_BATCHES:
        label = f"queries, {size[0]}x{size[1]}, {steps} steps, batch {batch}"
        results.case(label, partial(paint, pipeline, batch, size, steps))


def sizes(full: tuple[tuple[int, int], int], tiny: bool) -> tuple[tuple[int, int], int]:
    """Size and steps."""
    return ((64, 64), 2) if tiny else full


def paint(pipeline: StableDiffusionInpaintPipeline, batch: int, size: tuple[int, int], steps: int) -> dict:
    """Seconds of a batch by what they are spent on.

    Images/s are of denoising and decoding: an image and its mask are encoded once for all of its variants.
    """
    images, masks, texts, empty, seeds = inputs(pipeline, batch, size)
    canvas = prepare(pipeline, images, masks)
    denoise = partial(sample, pipeline, canvas, texts, empty, seeds, steps=steps, guidance=7.5, solver="ddim")
    latents = denoise(steps=2)
    decode(pipeline, latents)  # all of it once, to warm up
    denoising = median_seconds(denoise)
    encoding, decoding = (
        median_seconds(work)["seconds"]
        for work in (partial(prepare, pipeline, images, masks), partial(decode, pipeline, latents))
    )
    return {
        "batch": batch,
        "images/s": batch / (denoising["seconds"] + decoding),
        "encoding (s)": encoding,
        "denoising (s)": denoising["seconds"],
        "decoding (s)": decoding,
        "rounds": denoising["rounds"],
    }


def inputs(
    pipeline: StableDiffusionInpaintPipeline, batch: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, torch.Tensor, torch.Tensor, list[int]]:
    """So many made-up images and masks, embedded texts, the empty text, and seeds."""
    images = [Image.fromarray(image).resize((size[1], size[0])) for image in made_up(batch)]
    masks = np.zeros((batch, *size), bool)
    masks[:, size[0] // 4 : -8, size[1] // 4 : -size[1] // 4] = True
    texts = torch.stack([embed(pipeline, f"Outfit {number}") for number in range(batch)])
    return np.stack([np.asarray(image) for image in images]), masks, texts, embed(pipeline, ""), list(range(batch))


def contiguous(pipeline: StableDiffusionInpaintPipeline, batch: int, size: tuple[int, int], steps: int) -> dict:
    """As `paint`, without channels-last in the U-Net, whose inputs the sampler lays out that way."""
    unet = pipeline.unet.to(memory_format=torch.contiguous_format)
    hook = unet.register_forward_pre_hook(lambda _, arguments: (arguments[0].contiguous(), *arguments[1:]))
    try:
        return paint(pipeline, batch, size, steps)
    finally:
        hook.remove()
        unet.to(memory_format=torch.channels_last)
