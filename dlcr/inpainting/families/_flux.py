"""What FLUX.1 Fill and FLUX.1 Kontext share: text encoders, the autoencoder, and the transformer's loop.

The guidance is distilled: its scale is an input of the network, one pass a step at any scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcr.inpainting.canvas import Canvas, to_images
from dlcr.inpainting.families import _flow as flow

T5_LENGTH = 512
PARTS = {
    "transformer": ("FluxTransformer2DModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("T5EncoderModel",),
    "tokenizer": flow.CLIP_TOKENIZERS,
    "tokenizer_2": flow.T5_TOKENIZERS,
}


@torch.no_grad()
def embed(parts: flow.Parts, prompt: str) -> tuple[Tensor, Tensor]:
    """CLIP's pooled embedding [P] and T5's of every token [512, D]; too long texts are cut."""
    (clip_tokenizer, clip), (t5_tokenizer, t5) = parts.texts
    pooled = clip(flow.tokenize(clip_tokenizer, prompt, clip_tokenizer.model_max_length, parts.device)).pooler_output
    return pooled[0], t5(flow.tokenize(t5_tokenizer, prompt, T5_LENGTH, parts.device)).last_hidden_state[0]


@torch.no_grad()
def denoise(
    parts: flow.Parts,
    canvas: Canvas,
    seeds: Sequence[int],
    texts: tuple[Tensor, Tensor],
    shape: Sequence[int],
    *,
    steps: int,
    guidance: float,
    known: Tensor | None = None,
    reference: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """Latents float32 [N, *shape], shape (C, h, w).

    texts: pooled [N, P] and of tokens [N, L, D], as `embed` makes them. known: [N, T, K], what is shown of each token
    besides. reference: latents [N, C, h', w'] that are shown beside these, in a frame of their own and of any size.
    settings: of `flow.denoise`.
    """
    pooled, words = texts
    _, height, width = shape
    count, tokens = len(words), (height // 2) * (width // 2)
    frames = [(height, width)] + ([] if reference is None else [reference.shape[2:]])
    places = torch.cat([_places(number, *size) for number, size in enumerate(frames)]).to(parts.device)
    seen = None if reference is None else flow.pack(reference)
    scale = torch.full([count], guidance, device=parts.device) if parts.transformer.config.guidance_embeds else None

    def predict(latents: Tensor, time: Tensor, guided: bool) -> Tensor:
        shown = flow.pack(latents)
        shown = shown if known is None else torch.cat([shown, known], 2)
        shown = shown if seen is None else torch.cat([shown, seen], 1)
        predicted = parts.transformer(
            hidden_states=shown.to(parts.dtype),
            timestep=(time / 1000).expand(count),
            guidance=scale,
            pooled_projections=pooled,
            encoder_hidden_states=words,
            txt_ids=torch.zeros(words.shape[1], 3, device=parts.device),
            img_ids=places,
            return_dict=False,
        )[0]
        return flow.unpack(predicted[:, :tokens], height, width)

    return flow.denoise(
        parts,
        canvas,
        seeds,
        shape,
        predict,
        steps=steps,
        sigmas=flow.rising_sigmas(steps),
        mu=flow.linear_shift(parts, tokens),
        **settings,
    )


def _places(frame: int, height: int, width: int) -> Tensor:
    """Frame, row and column of each token of latents of this height and width, int [height/2 * width/2, 3]."""
    return torch.cartesian_prod(torch.tensor([frame]), torch.arange(height // 2), torch.arange(width // 2))


@torch.no_grad()
def decode(parts: flow.Parts, latents: Tensor) -> np.ndarray:
    """As `Loaded.decode`."""
    return to_images(parts.vae.decode(flow.unscale(parts, latents), return_dict=False)[0])
