"""Kind `standard`: diffusion repaints the whole image, image to image without a mask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dlcr.inpainting.kind import Kind
from dlcr.inpainting.kinds._diffusion import diffusion_painter, sampler_settings

if TYPE_CHECKING:
    from dlcr.inpainting.painters import Painter
    from dlcr.params import GeneratedSet, Params


def choose(params: Params, entry: GeneratedSet) -> tuple[Callable[[], Painter], dict]:
    """As `Kind.choose`."""
    settings, identity = sampler_settings(params, entry, strength=entry.strength)
    settings["family"].require(params.models.inpainter, "restyle")
    return partial(build, params.models.inpainter, settings), identity


def build(model: str, settings: dict) -> Painter:
    """settings: keyword arguments of `Expander`."""
    return diffusion_painter(model, settings, masked=False)


KIND = Kind(choose, guidable=True)
