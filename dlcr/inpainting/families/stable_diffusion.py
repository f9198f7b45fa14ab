"""Stable Diffusion 1.x and 2.x with nine input channels: the family of the paper, and of the mini inpainter."""

from functools import partial

from dlcr.inpainting import adapter, diffusion
from dlcr.inpainting.family import Family, Loaded, bind
from dlcr.runtime.weights import PIPELINE

ADAPTER = "models/ip-adapter_sd15.safetensors"


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`. Raises as `diffusion.load_inpainter`."""
    parts = diffusion.load_inpainter(model, dtype)
    cell = diffusion.factor(parts)
    return bind(parts, cell, diffusion.embed, diffusion.prepare, diffusion.sample, diffusion.decode)


FAMILY = Family(
    kind=PIPELINE,
    solvers=diffusion.SOLVERS,
    steps=50,
    guidance=7.5,
    knows=("guidance_share", "reuse_every", "restyle", "discriminator", "lora", "adapter"),
    load=load,
    refuse=diffusion.refuse,
    show=partial(adapter.show, file=ADAPTER),
    adapter=ADAPTER,
)
