"""FLUX.1 Fill: a transformer that is shown the masked image and every pixel of the mask. After `FluxFillPipeline`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting.canvas import Canvas, to_tensors
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.families import _flux as flux
from dlcr.inpainting.family import Family, Loaded, bind

KIND = flow.make_kind("FLUX.1 Fill", {"_class_name": ("FluxFillPipeline",)} | flux.PARTS)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, 2 * flow.cell(parts), flux.embed, prepare, sample, flux.decode)


@torch.no_grad()
def prepare(parts: flow.Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`; the mask [N, cell * cell, h, w] says it of every pixel of a latent cell."""
    cell = flow.cell(parts)
    pixels, mask = to_tensors(images, masks, 2 * cell, parts.device)
    return Canvas(
        mask=functional.pixel_unshuffle(mask, cell),
        masked_image=flow.encode(parts, pixels * (1 - mask)),
        start=flow.encode(parts, pixels) if masks is None else None,
    )


def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`; texts: as `flux.denoise` takes them; `empty` is not used."""
    known = torch.cat([flow.pack(canvas.masked_image), flow.pack(canvas.mask)], 2)
    return flux.denoise(parts, canvas, seeds, texts, canvas.masked_image.shape[1:], known=known, **settings)


FAMILY = Family(kind=KIND, solvers=flow.SOLVERS, steps=50, guidance=30.0, knows=("restyle",), load=load)
