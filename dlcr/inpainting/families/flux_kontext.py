"""FLUX.1 Kontext: the model sees the whole image as a reference, latents outside the mask are kept.

A picture of clothes is the reference instead of the image: the model knows one.

After diffusers' `FluxKontextInpaintPipeline`, which takes the weights of `FluxKontextPipeline` as they are; the size is
the canvas's own, none of those that diffusers chooses from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcr.inpainting.canvas import Canvas
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.families import _flux as flux
from dlcr.inpainting.family import Family, Loaded, bind

KIND = flow.make_kind(
    "FLUX.1 Kontext", {"_class_name": ("FluxKontextPipeline", "FluxKontextInpaintPipeline")} | flux.PARTS
)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, 2 * flow.cell(parts), flux.embed, prepare, sample, flux.decode)


@torch.no_grad()
def prepare(parts: flow.Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`."""
    return flow.blended(parts, flow.encode, images, masks, 2 * flow.cell(parts))


def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    *,
    shown: tuple[Tensor] | None = None,
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`; texts: as `flux.denoise` takes them; `empty` is not used; shown: latents, as `flow.look`
    makes them."""
    reference = canvas.start if shown is None else shown[0]
    return flux.denoise(parts, canvas, seeds, texts, canvas.start.shape[1:], reference=reference, keep=True, **settings)


FAMILY = Family(
    kind=KIND, solvers=flow.SOLVERS, steps=28, guidance=2.5, knows=("restyle",), load=load, show=flow.show_reference
)
