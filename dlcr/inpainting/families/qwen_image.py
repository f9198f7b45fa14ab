"""Qwen-Image: latents outside the mask are kept.

After diffusers' `QwenImageInpaintPipeline`, which takes the weights of `QwenImagePipeline` as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dlcr.inpainting.canvas import Canvas
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.families import _qwen as qwen
from dlcr.inpainting.family import Family, Loaded, bind

TEXT_LENGTH = 1024
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
"""What the text encoder was trained to be asked; the embeddings of its first tokens are left out."""
TEMPLATE_TOKENS = 34
KIND = flow.make_kind("Qwen-Image", {"_class_name": ("QwenImagePipeline", "QwenImageInpaintPipeline")} | qwen.PARTS)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, qwen.multiple(parts), embed, qwen.prepare, sample, qwen.decode)


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


def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`; texts: [N, L, D] and which of their tokens count [N, L], as `embed` makes them."""
    return qwen.denoise(parts, canvas, seeds, texts, flow.double(texts, empty), **settings)


FAMILY = Family(kind=KIND, solvers=flow.SOLVERS, steps=50, guidance=4.0, knows=("guidance_share", "restyle"), load=load)
