"""FLUX.1 Fill: a transformer that is shown the masked image and every pixel of the mask, with distilled guidance.

After diffusers' `FluxFillPipeline`. The guidance scale is an input of the network: one pass a step at any scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting.canvas import Canvas, to_images, to_tensors
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.family import Family, Loaded, bind

T5_LENGTH = 512
KIND = flow.make_kind(
    "FLUX.1 Fill",
    {
        "_class_name": ("FluxFillPipeline",),
        "transformer": ("FluxTransformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("T5EncoderModel",),
        "tokenizer": flow.CLIP_TOKENIZERS,
        "tokenizer_2": flow.T5_TOKENIZERS,
    },
)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, 2 * flow.cell(parts), embed, prepare, sample, decode)


@torch.no_grad()
def embed(parts: flow.Parts, prompt: str) -> tuple[Tensor, Tensor]:
    """CLIP's pooled embedding [P] and T5's of every token [512, D]; too long texts are cut."""
    (clip_tokenizer, clip), (t5_tokenizer, t5) = parts.texts
    pooled = clip(flow.tokenize(clip_tokenizer, prompt, clip_tokenizer.model_max_length, parts.device)).pooler_output
    return pooled[0], t5(flow.tokenize(t5_tokenizer, prompt, T5_LENGTH, parts.device)).last_hidden_state[0]


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


@torch.no_grad()
def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    strength: float = 1.0,
) -> Tensor:
    """As `Loaded.sample`; texts: pooled [N, P] and of tokens [N, L, D], as `embed` makes them; `empty` is not used."""
    pooled, words = texts
    count, channels, height, width = canvas.masked_image.shape
    known = torch.cat([flow.pack(canvas.masked_image), flow.pack(canvas.mask)], 2)
    rows = torch.cartesian_prod(torch.arange(1), torch.arange(height // 2), torch.arange(width // 2)).to(parts.device)
    scale = torch.full([count], guidance, device=parts.device) if parts.transformer.config.guidance_embeds else None

    def predict(latents: Tensor, time: Tensor, guided: bool) -> Tensor:
        tokens = parts.transformer(
            hidden_states=torch.cat([flow.pack(latents), known], 2).to(parts.dtype),
            timestep=(time / 1000).expand(count),
            guidance=scale,
            pooled_projections=pooled,
            encoder_hidden_states=words,
            txt_ids=torch.zeros(words.shape[1], 3, device=parts.device),
            img_ids=rows,
            return_dict=False,
        )[0]
        return flow.unpack(tokens, height, width)

    return flow.denoise(
        parts,
        canvas,
        seeds,
        (channels, height, width),
        predict,
        steps=steps,
        strength=strength,
        sigmas=flow.rising_sigmas(steps),
        mu=flow.linear_shift(parts, known.shape[1]),
    )


@torch.no_grad()
def decode(parts: flow.Parts, latents: Tensor) -> np.ndarray:
    """As `Loaded.decode`."""
    return to_images(parts.vae.decode(flow.unscale(parts, latents), return_dict=False)[0])


FAMILY = Family(kind=KIND, solvers=flow.SOLVERS, steps=50, guidance=30.0, knows=("restyle",), load=load)
