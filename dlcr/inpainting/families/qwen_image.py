"""Qwen-Image: the model is not shown the mask, latents outside it are kept.

After diffusers' `QwenImageInpaintPipeline`, which takes the weights of `QwenImagePipeline` as they are. Its guided
prediction has, for each token, the length of the one with text. Qwen-Image-Edit is no part of this family: its text
encoder sees the image too, so that an outfit's text could not be encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcr.inpainting.canvas import Canvas, to_images
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.family import Family, Loaded, bind

TEXT_LENGTH = 1024
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
"""What the text encoder was trained to be asked; the embeddings of its first tokens are left out."""
TEMPLATE_TOKENS = 34
KIND = flow.make_kind(
    "Qwen-Image",
    {
        "_class_name": ("QwenImagePipeline", "QwenImageInpaintPipeline"),
        "transformer": ("QwenImageTransformer2DModel",),
        "vae": ("AutoencoderKLQwenImage",),
        "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
        "tokenizer": ("Qwen2Tokenizer", "Qwen2TokenizerFast"),
    },
)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, multiple(parts), embed, prepare, sample, decode)


def multiple(parts: flow.Parts) -> int:
    """Pixels on each side of a token: 2x2 latent cells."""
    return 2 * 2 ** len(parts.vae.config.temperal_downsample)


@torch.no_grad()
def embed(parts: flow.Parts, prompt: str) -> tuple[Tensor, Tensor]:
    """The language model's last layer for the prompt's own tokens [L, D], and ones [L]; L is the text's own length."""
    ((tokenizer, network),) = parts.texts
    length = TEXT_LENGTH + TEMPLATE_TOKENS
    found = tokenizer(TEMPLATE.format(prompt), truncation=True, max_length=length, return_tensors="pt")
    found = found.to(parts.device)
    # The network's body: the words that its head would say next are not needed.
    output = network.model(input_ids=found.input_ids, attention_mask=found.attention_mask, output_hidden_states=True)
    words = output.hidden_states[-1][0, TEMPLATE_TOKENS:][:TEXT_LENGTH]
    return words, torch.ones(len(words), device=parts.device)


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
    """As `Loaded.sample`; texts: [N, L, D] and which of their tokens count [N, L], as `embed` makes them."""
    doubled = flow.double(texts, empty)
    channels, height, width = canvas.start.shape[1:]
    size = (1, height // 2, width // 2)

    def predict(latents: Tensor, time: Tensor, guided: bool) -> Tensor:
        words, there = doubled if guided else texts
        tokens = parts.transformer(
            hidden_states=flow.pack(latents).to(parts.dtype),
            timestep=(time / 1000).expand(len(latents)),
            encoder_hidden_states=words,
            encoder_hidden_states_mask=there.bool(),
            img_shapes=[[size]] * len(latents),
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


FAMILY = Family(kind=KIND, solvers=flow.SOLVERS, steps=50, guidance=4.0, knows=("guidance_share", "restyle"), load=load)
