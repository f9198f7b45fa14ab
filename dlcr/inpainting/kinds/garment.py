"""Kind `garment`: the outfit is shown, by a picture of its clothes, and told too where the set says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dlcr.inpainting.adapter_files import adapter_fingerprint
from dlcr.inpainting.families import find_family, require_show
from dlcr.inpainting.kind import Kind
from dlcr.inpainting.kinds._diffusion import diffusion_painter, sampler_settings

if TYPE_CHECKING:
    from dlcr.inpainting.painters import Painter
    from dlcr.params import GeneratedSet, Params


def choose(params: Params, entry: GeneratedSet) -> tuple[Callable[[], Painter], dict]:
    """As `Kind.choose`. Raises ValueError too for a family that can't be shown clothes or lacks its adapter."""
    model, adapter = params.models.inpainter, entry.garment.adapter
    family = find_family(model)
    require_show(model, family, adapter)
    own = {"adapter_scale": entry.garment.scale} | ({"adapter": adapter} if adapter else {})
    settings, identity = sampler_settings(params, entry, **own)
    identity |= {"text": entry.garment.text}
    if adapter:
        identity["adapter"] = adapter_fingerprint(adapter, family.adapter)
    return partial(build, model, settings, entry.garment.text), identity


def build(model: str, settings: dict, told: bool) -> Painter:
    """settings: keyword arguments of `Expander`; told: by the outfits' texts too."""
    return diffusion_painter(model, settings, masked=True, told=told)


KIND = Kind(choose, within_masks=True, guidable=True, shows=True)
