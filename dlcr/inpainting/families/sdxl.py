"""Stable Diffusion XL with nine input channels (Podell et al., 2023): two text encoders, and sizes as conditions.

After diffusers' `StableDiffusionXLInpaintPipeline`. The loop, the canvas and the autoencoder are Stable Diffusion's
(`dlcr.inpainting.diffusion`). The sizes that the U-Net is told are the canvas's own, not cropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dlcr.inpainting import adapter, diffusion
from dlcr.inpainting.family import Family, Loaded, bind
from dlcr.runtime.weights import PIPELINE, UNUSED, Kind, read_index

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    from dlcr.inpainting.canvas import Canvas

ADAPTER = "sdxl_models/ip-adapter_sdxl.safetensors"
TOKENIZERS = PIPELINE.classes["tokenizer"]
KIND = Kind(
    PIPELINE.index,
    (*PIPELINE.parts, "text_encoder_2/model"),
    variants=PIPELINE.variants,
    others=(*PIPELINE.others, "text_encoder_2/config.json", "tokenizer_2/tokenizer_config.json"),
    classes=PIPELINE.classes
    | {
        "_class_name": ("StableDiffusionXLInpaintPipeline",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "tokenizer_2": TOKENIZERS,
    },
    unused=UNUSED,
    title="Stable Diffusion XL for inpainting",
)


@dataclass
class Parts(diffusion.Inpainter):
    """`zero_empty`: the embedding of "" is zero, as the model was trained with."""

    text_encoder_2: CLIPTextModelWithProjection
    tokenizer_2: CLIPTokenizer
    zero_empty: bool = True


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `diffusion.load_inpainter`."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    texts = {
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": CLIPTokenizer,
    }
    parts = diffusion.load_unet_pipeline(Parts, model, dtype, KIND, texts)
    parts.zero_empty = read_index(model, KIND).get("force_zeros_for_empty_prompt", True)
    if parts.vae.dtype == torch.float16 and parts.vae.config.force_upcast:
        parts.vae.float()  # its activations leave the range of half precision
    return bind(parts, diffusion.factor(parts), embed, diffusion.prepare, sample, diffusion.decode)


def refuse(model: str, settings: Mapping[str, Any]) -> None:
    """As `diffusion.refuse`; raises ValueError for a refiner too."""
    diffusion.refuse(model, settings)
    if read_index(model, KIND).get("requires_aesthetics_score"):
        raise ValueError(f"{model}: a refiner, which needs aesthetic scores: use an inpainting model")


@torch.no_grad()
def embed(parts: Parts, prompt: str) -> tuple[Tensor, Tensor]:
    """A prompt's embeddings by both encoders [L, D1 + D2], and the second's pooled one [P]; too long texts are cut."""
    layers = []
    for encoder, tokenizer in ((parts.text_encoder, parts.tokenizer), (parts.text_encoder_2, parts.tokenizer_2)):
        output = encoder(diffusion.tokens(tokenizer, prompt).to(parts.device), output_hidden_states=True)
        layers.append(output.hidden_states[-2][0])
    text, pooled = torch.cat(layers, -1), output.text_embeds[0]
    if prompt == "" and parts.zero_empty:
        return torch.zeros_like(text), torch.zeros_like(pooled)
    return text, pooled


@torch.no_grad()
def sample(
    parts: Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    **settings: Any,
) -> Tensor:
    """As `diffusion.sample`, with texts and `empty` as `embed` makes them."""
    cell = diffusion.factor(parts)
    size = [cell * side for side in canvas.mask.shape[-2:]]
    sizes = torch.tensor([*size, 0, 0, *size], dtype=parts.dtype, device=parts.device)  # original, crop, target
    doubled = [torch.cat([none.expand_as(some), some]) for none, some in zip(empty, texts, strict=True)]

    def predict(inputs: Tensor, time: Tensor, guided: bool) -> Tensor:
        text, pooled = doubled if guided else texts
        more = {"text_embeds": pooled, "time_ids": sizes.expand(len(inputs), -1)}
        return parts.unet(inputs, time, text, added_cond_kwargs=more, return_dict=False)[0]

    return diffusion.denoise(parts, canvas, seeds, predict, **settings)


FAMILY = Family(
    kind=KIND,
    solvers=diffusion.SOLVERS,
    steps=50,
    guidance=7.5,
    knows=("guidance_share", "reuse_every", "restyle", "discriminator", "lora", "adapter"),
    load=load,
    refuse=refuse,
    show=partial(adapter.show, file=ADAPTER),
    adapter=ADAPTER,
)
