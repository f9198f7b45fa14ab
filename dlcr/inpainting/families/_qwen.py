"""What Qwen-Image and Qwen-Image-Edit share: the autoencoder, and the transformer's loop.

The model is not shown the mask, latents outside it are kept. The guided prediction has, for each token, the length of
the one with text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcr.inpainting.canvas import Canvas, to_images
from dlcr.inpainting.families import _flow as flow

PARTS = {
    "transformer": ("QwenImageTransformer2DModel",),
    "vae": ("AutoencoderKLQwenImage",),
    "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
    "tokenizer": ("Qwen2Tokenizer", "Qwen2TokenizerFast"),
}


def multiple(parts: flow.Parts) -> int:
    """Pixels on each side of a token: 2x2 latent cells."""
    return 2 * 2 ** len(parts.vae.config.temperal_downsample)


def encode(parts: flow.Parts, pixels: Tensor) -> Tensor:
    """Pixels [N, 3, H, W] in [-1, 1] to latents float32 [N, C, h, w], normalised by channel."""
    mean, deviation = _statistics(parts)
    frames = pixels[:, :, None].to(parts.vae.dtype)
    return (parts.vae.encode(frames).latent_dist.mode()[:, :, 0].float() - mean) / deviation


def _statistics(parts: flow.Parts) -> tuple[Tensor, Tensor]:
    config = parts.vae.config
    return tuple(
        torch.tensor(values, device=parts.device)[:, None, None] for values in (config.latents_mean, config.latents_std)
    )


@torch.no_grad()
def prepare(parts: flow.Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`."""
    return flow.blended(parts, encode, images, masks, multiple(parts))


@torch.no_grad()
def denoise(
    parts: flow.Parts,
    canvas: Canvas,
    seeds: Sequence[int],
    texts: tuple[Tensor, Tensor],
    doubled: tuple[Tensor, Tensor],
    *,
    steps: int,
    reference: bool = False,
    **settings: Any,
) -> Tensor:
    """Latents float32 [N, C, h, w].

    texts: [N, L, D] and which of their tokens count [N, L]; doubled: those of a guided step, [2N, L, D] and [2N, L],
    first without the prompt. reference: the canvas's whole images are shown beside the latents, in a frame of their
    own. settings: of `flow.denoise`.
    """
    channels, height, width = canvas.start.shape[1:]
    size = (1, height // 2, width // 2)
    shown = [flow.pack(canvas.start)] if reference else []

    def predict(latents: Tensor, time: Tensor, guided: bool) -> Tensor:
        words, there = doubled if guided else texts
        beside = [torch.cat([tokens, tokens]) if guided else tokens for tokens in shown]
        tokens = parts.transformer(
            hidden_states=torch.cat([flow.pack(latents), *beside], 1).to(parts.dtype),
            timestep=(time / 1000).expand(len(latents)),
            encoder_hidden_states=words,
            encoder_hidden_states_mask=there.bool(),
            img_shapes=[[size] * (1 + len(shown))] * len(latents),
            return_dict=False,
        )[0]
        return flow.unpack(tokens[:, : size[1] * size[2]], height, width)

    return flow.denoise(
        parts,
        canvas,
        seeds,
        (channels, height, width),
        predict,
        steps=steps,
        sigmas=flow.rising_sigmas(steps),
        mu=flow.linear_shift(parts, size[1] * size[2]),
        keep=True,
        combine=combine,
        **settings,
    )


def combine(without: Tensor, within: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance in which every token keeps the length of its prediction with text; all [N, C, h, w]."""
    guided, plain = flow.pack(without + scale * (within - without)), flow.pack(within)
    tokens = guided * (plain.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))
    return flow.unpack(tokens, *within.shape[2:])


@torch.no_grad()
def decode(parts: flow.Parts, latents: Tensor) -> np.ndarray:
    """As `Loaded.decode`."""
    mean, deviation = _statistics(parts)
    frames = (latents * deviation + mean)[:, :, None].to(parts.vae.dtype)
    return to_images(parts.vae.decode(frames, return_dict=False)[0][:, :, 0])
