"""A tiny FLUX.1 Kontext, and what diffusers' own pipeline makes of the same noise."""

from pathlib import Path

import torch
from diffusers import FluxKontextInpaintPipeline
from tiny_families import open_pipeline, save_flux, unpack


def save_flux_kontext(folder: Path) -> None:
    """The class that the published repository's index names takes the same parts."""
    save_flux(folder, "FluxKontextPipeline", 4 * 4)


def flux_kontext(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    """diffusers blends with noise that it drew itself, so the generator that the noise came from draws it again.
    With `image_reference` it is shown that instead of the image."""
    tokens = open_pipeline(FluxKontextInpaintPipeline, folder)(
        prompt=prompt,
        image=pixels,
        mask_image=mask,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
        strength=1.0,
        _auto_resize=False,
        **settings,
    ).images
    return unpack(tokens, *noise.shape[2:])
