"""Stable Diffusion 3 and 3.5 (Esser et al., ICML 2024): the model is not shown the mask, latents outside it are kept.

After diffusers' `StableDiffusion3InpaintPipeline`, which takes the weights of `StableDiffusion3Pipeline` as they are.
Other than there, the autoencoder's shift, which encoding takes away, is added again before decoding, as in the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting.canvas import Canvas, to_images
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.family import Family, Loaded, bind

T5_LENGTH = 256
KIND = flow.make_kind(
    "Stable Diffusion 3 and 3.5",
    {
        "_class_name": ("StableDiffusion3Pipeline", "StableDiffusion3InpaintPipeline"),
        "transformer": ("SD3Transformer2DModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModelWithProjection",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "text_encoder_3": ("T5EncoderModel",),
        "tokenizer": flow.CLIP_TOKENIZERS,
        "tokenizer_2": flow.CLIP_TOKENIZERS,
        "tokenizer_3": flow.T5_TOKENIZERS,
    },
)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`, and ValueError for a transformer that is shown the mask."""
    parts = flow.load_parts(model, dtype, KIND)
    found, expected = parts.transformer.config.in_channels, parts.vae.config.latent_channels
    if found != expected:
        raise ValueError(f"{model}: its transformer takes {found} channels, expected the latents' {expected} alone")
    return bind(parts, multiple(parts), embed, prepare, sample, decode)


def multiple(parts: flow.Parts) -> int:
    """Pixels on each side of a token."""
    return parts.transformer.config.patch_size * flow.cell(parts)


@torch.no_grad()
def embed(parts: flow.Parts, prompt: str) -> tuple[Tensor, Tensor]:
    """Both CLIPs' tokens beside each other, then T5's [L, D], and both pooled [P1 + P2]; too long texts are cut."""
    *clips, (t5_tokenizer, t5) = parts.texts
    length = clips[0][0].model_max_length
    outputs = [
        clip(flow.tokenize(tokenizer, prompt, length, parts.device), output_hidden_states=True)
        for tokenizer, clip in clips
    ]
    short = torch.cat([output.hidden_states[-2][0] for output in outputs], -1)
    long = t5(flow.tokenize(t5_tokenizer, prompt, T5_LENGTH, parts.device)).last_hidden_state[0]
    words = torch.cat([functional.pad(short, (0, long.shape[-1] - short.shape[-1])), long])
    return words, torch.cat([output.text_embeds[0] for output in outputs])


@torch.no_grad()
def prepare(parts: flow.Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`."""
    return flow.blended(parts, flow.encode, images, masks, multiple(parts))


@torch.no_grad()
def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    *,
    steps: int,
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`; texts: of tokens [N, L, D] and pooled [N, P], as `embed` makes them."""
    doubled = flow.double(texts, empty)

    def predict(latents: Tensor, time: Tensor, guided: bool) -> Tensor:
        words, pooled = doubled if guided else texts
        return parts.transformer(
            hidden_states=latents.to(parts.dtype),
            timestep=time.expand(len(latents)),
            encoder_hidden_states=words,
            pooled_projections=pooled,
            return_dict=False,
        )[0]

    shape = canvas.start.shape[1:]
    mu = None
    if parts.scheduler.config.use_dynamic_shifting:
        patch = parts.transformer.config.patch_size
        mu = flow.linear_shift(parts, shape[1] // patch * (shape[2] // patch), highest=1.16)
    return flow.denoise(parts, canvas, seeds, shape, predict, steps=steps, mu=mu, keep=True, **settings)


@torch.no_grad()
def decode(parts: flow.Parts, latents: Tensor) -> np.ndarray:
    """As `Loaded.decode`."""
    return to_images(parts.vae.decode(flow.unscale(parts, latents), return_dict=False)[0])


FAMILY = Family(kind=KIND, solvers=flow.SOLVERS, steps=50, guidance=7.0, knows=("guidance_share", "restyle"), load=load)
