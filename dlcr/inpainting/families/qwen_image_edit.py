"""Qwen-Image-Edit: the transformer is shown the whole image as a reference, and so is the text encoder.

After diffusers' `QwenImageEditInpaintPipeline`, which takes the weights of `QwenImageEditPipeline` as they are.

What the encoder says of a prompt depends on the image. So `embed` only cuts an outfit into tokens; the encoder's vision
tower sees each image once (`prepare`, `Canvas.seen`), and its language model reads each pair of image and prompt when
the pair is sampled, one at a time, so that an embedding does not depend on its batch.

The image's tokens have places in rows and columns, as the model was trained. diffusers 0.42.1 with transformers 5 gives
them a place in the text alone (https://github.com/huggingface/diffusers/issues/14194).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcr.inpainting.canvas import Canvas, join_texts
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.families import _qwen as qwen
from dlcr.inpainting.family import Family, Loaded, bind

TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
"""What the text encoder was trained to be asked; the embeddings of its first tokens are left out."""
TEMPLATE_TOKENS = 64
KIND = flow.make_kind(
    "Qwen-Image-Edit",
    {"_class_name": ("QwenImageEditPipeline", "QwenImageEditInpaintPipeline")}
    | qwen.PARTS
    | {"processor": ("Qwen2VLProcessor", "Qwen2_5_VLProcessor")},
)


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, qwen.multiple(parts), embed, prepare, sample, qwen.decode)


def embed(parts: flow.Parts, prompt: str) -> tuple[Tensor, Tensor]:
    """A prompt's tokens within the template, int [L], one of which stands for the image, and ones [L]."""
    ((tokenizer, _),) = parts.texts
    tokens = tokenizer(TEMPLATE.format(prompt), return_tensors="pt").input_ids[0].to(parts.device)
    return tokens, torch.ones_like(tokens)


@torch.no_grad()
def prepare(parts: flow.Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`, with what the vision tower sees."""
    return replace(qwen.prepare(parts, images, masks), seen=torch.stack([see(parts, image) for image in images]))


def see(parts: flow.Parts, image: np.ndarray) -> Tensor:
    """An image uint8 [H, W, 3] as the language model is shown it, [rows, columns, D]."""
    ((_, network),) = parts.texts
    found = parts.processor(images=[image], input_data_format="channels_last", return_tensors="pt").to(parts.device)
    (tokens,) = network.model.get_image_features(found.pixel_values, found.image_grid_thw).pooler_output
    _, height, width = (found.image_grid_thw[0] // parts.processor.merge_size).tolist()
    return tokens.unflatten(0, (height, width))


@torch.no_grad()
def read(parts: flow.Parts, tokens: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The language model's last layer for an image and a prompt [L, D], and ones [L].

    tokens: int [T], as `embed` makes them; seen: [rows, columns, D], as `see` does.
    """
    ((_, network),) = parts.texts
    place = (tokens == network.config.image_token_id).nonzero()[0].item()
    before, after = network.get_input_embeddings()(tokens).tensor_split([place])
    words = torch.cat([before, seen.flatten(0, 1), after[1:]])
    places = locate(place, *seen.shape[:2], len(after) - 1).to(parts.device)
    # The network's body: the words that its head would say next are not needed.
    output = network.model(
        inputs_embeds=words[None],
        position_ids=places[:, None],
        attention_mask=places.new_ones(1, len(words)),
        output_hidden_states=True,
        use_cache=False,
    )
    found = output.hidden_states[-1][0, TEMPLATE_TOKENS:]
    return found, torch.ones(len(found), device=parts.device)


def locate(before: int, height: int, width: int, after: int) -> Tensor:
    """Time, row and column of tokens, int [3, before + height * width + after]: text, an image, and text again.

    The three are one number in text. An image stands at one time, its rows and columns are counted from there, and text
    goes on behind the larger of them (Wang et al., Qwen2-VL, 2024, Sec. 2.1).
    """
    rows, columns = torch.arange(height), torch.arange(width)
    image = before + torch.cartesian_prod(torch.zeros(1, dtype=torch.long), rows, columns).T
    text = torch.arange(after) + before + max(height, width)
    return torch.cat([torch.arange(before).expand(3, -1), image, text.expand(3, -1)], 1)


def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor, Tensor],
    empty: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    *,
    guidance: float,
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`; texts: [N, T] and which of their tokens count [N, T], as `embed` makes them."""
    words = [read(parts, row[there.bool()], seen) for row, there, seen in zip(*texts, canvas.seen, strict=True)]
    without = [read(parts, empty[0], seen) for seen in canvas.seen] if guidance > 1 else []
    texts, doubled = join_texts(words), join_texts([*without, *words])
    return qwen.denoise(parts, canvas, seeds, texts, doubled, reference=True, guidance=guidance, **settings)


FAMILY = Family(kind=KIND, solvers=flow.SOLVERS, steps=50, guidance=4.0, knows=("guidance_share", "restyle"), load=load)
