"""The small inpainting model on the CPU: ours beside the plain loop, and what each lever is worth.

    python -m benchmarks.generation --case mini

The plain loop paints one image at a time through the pipeline of diffusers, with the same steps, solver, types and
noise. Last: 25.1 images/s beside 6.5, 3.9 times faster.
"""

import io

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from benchmarks.common import ROOT, best_of
from benchmarks.generation.work import Work, expand, few_variants, paint, shipped
from dlcr.data import encode_png
from dlcr.inpainting import Expander
from dlcr.inpainting.canvas import draw_noise
from dlcr.inpainting.diffusion import embed, factor, make_scheduler
from dlcr.runtime.networks import device

IMAGES = 64  # of MiniCC that are inpainted, K times each
BATCHES = 1, 4, 32  # between which results are compared


def mini(scale: float) -> dict:
    """The small inpainting model under the settings of the profile as shipped: ours, the plain loop, and each lever."""
    params, work = shipped(scale, IMAGES)
    model = str(ROOT / params.models.inpainter)
    # What a plain loop has as well: no fewer passes of the U-Net than steps.
    settings = params.inpaint.model_dump(include={"steps", "guidance", "size", "solver", "batch", "dtype"})
    few = work.first(max(2, round(scale * 24)))
    expander, single = Expander(model, **settings), Expander(model, **settings | {"batch": 1})
    plain = plain_pipeline(model, settings)
    expand(single, few.first(2)), plain_loop(plain, few.first(2), settings)  # to warm up
    usual, ours, alone, texts, latents, encoding = best_of(
        lambda: plain_loop(plain, few, settings),
        lambda: expand(expander, work),
        lambda: expand(single, few),
        lambda: [embed(expander.pipeline, text) for prompt in work.prompts for text in (prompt, "")],
        lambda: [expander.prepare(work.images, work.masks) for _ in range(len(work.rows) // len(work.images) - 1)],
        lambda: [encode_png(image) for image in paint(expander, work, lambda _, image: image)],
    )
    usual, ours, alone = usual / len(few.rows), ours / len(work.rows), alone / len(few.rows)
    texts, latents, encoding = (seconds / len(work.rows) for seconds in (texts, latents, encoding))
    return {
        "device": str(expander.pipeline.device),
        "variants": len(work.rows),
        "Expander (images/s)": 1 / ours,
        "plain loop (images/s)": 1 / usual,
        "times faster": usual / ours,
        "target: times faster, at least": 3,
        "lever, batch of 64 instead of 1 (times faster)": alone / ours,
        "lever, texts encoded once (times faster)": (ours + texts) / ours,
        "lever, latents of an image once for its variants (times faster)": (ours + latents) / ours,
        "lever, PNGs encoded beside the sampler (times faster)": encoding / ours,
        **plain_difference(plain, few, settings, expander),
        **batch_differences(model, settings, few_variants(work, max(BATCHES))),
    }


def plain_pipeline(model: str, settings: dict) -> StableDiffusionInpaintPipeline:
    """The pipeline as its documentation loads it, with the solver of the settings."""
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(model, dtype=getattr(torch, settings["dtype"]))
    pipeline.scheduler = make_scheduler(pipeline, settings["solver"])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device())


def plain_loop(pipeline: StableDiffusionInpaintPipeline, work: Work, settings: dict) -> list[bytes]:
    """One call of the pipeline a variant, put into its image and encoded; with the same noise as ours."""
    height, width = settings["size"]
    cell = factor(pipeline)
    shape = pipeline.vae.config.latent_channels, height // cell, width // cell
    encoded = []
    for row, prompt, seed in zip(work.rows, work.prompts, work.seeds, strict=True):
        image, mask = Image.fromarray(work.images[row]), Image.fromarray(work.masks[row].astype(np.uint8) * 255)
        new = pipeline(
            prompt=prompt,
            image=image,
            mask_image=mask,
            height=height,
            width=width,
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance"],
            latents=draw_noise([seed], shape).to(pipeline.device, pipeline.dtype),
        ).images[0]
        file = io.BytesIO()
        Image.composite(new.resize(image.size, Image.Resampling.LANCZOS), image, mask).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded


def plain_difference(
    pipeline: StableDiffusionInpaintPipeline, work: Work, settings: dict, expander: Expander
) -> dict[str, float]:
    """How far our pictures are from the plain loop's, whose state is in bfloat16 and whose latents are drawn."""
    theirs, ours = (
        np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in pictures]).astype(int)
        for pictures in (plain_loop(pipeline, work, settings), expand(expander, work))
    )
    masks = np.stack([work.masks[row] for row in work.rows])
    return {"mean difference to the plain loop inside the masks (levels)": float(np.abs(theirs - ours)[masks].mean())}


def batch_differences(model: str, settings: dict, work: Work) -> dict[str, float]:
    """The differences between the same variants painted in batches of BATCHES, in levels of 0 to 255."""
    found = {}
    masks = np.stack(work.masks)
    for dtype in ("float32", "bfloat16"):
        painted = []
        for batch in BATCHES:
            expander = Expander(model, **settings | {"batch": batch, "dtype": dtype})
            painted.append(np.stack(expander.expand(work.images, work.masks, work.prompts, work.seeds)))
        spread = np.ptp(np.stack(painted), axis=0).max(axis=-1)  # [N, H, W], over batches and channels
        name = f"batches of {', '.join(map(str, BATCHES))}, {dtype}:"
        found[f"{name} largest difference (levels)"] = int(spread.max())
        found[f"{name} share of pixels inside the masks that differ"] = float((spread[masks] > 0).mean())
        found[f"{name} share of pixels inside the masks that differ by more than 1"] = float((spread[masks] > 1).mean())
        found[f"{name} share of images that differ"] = float((spread > 0).any(axis=(1, 2)).mean())
    return found
