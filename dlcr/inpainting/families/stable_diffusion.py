"""Stable Diffusion 1.x and 2.x with nine input channels: the family of the paper, and of the mini inpainter."""

from functools import partial

from dlcr.inpainting import diffusion
from dlcr.inpainting.family import Family, Loaded
from dlcr.runtime.weights import PIPELINE


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`. Raises as `diffusion.load_inpainter`."""
    parts = diffusion.load_inpainter(model, dtype)
    functions = (diffusion.embed, diffusion.prepare, diffusion.sample, diffusion.decode)
    return Loaded(parts, diffusion.factor(parts), *(partial(function, parts) for function in functions))


FAMILY = Family(
    kind=PIPELINE,
    solvers=diffusion.SOLVERS,
    steps=50,
    guidance=7.5,
    knows=("guidance_share", "reuse_every", "restyle", "discriminator", "lora"),
    load=load,
    refuse=diffusion.refuse,
)
