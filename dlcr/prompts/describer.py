"""A vision-language model says what a person wears (PAPER: stage 1, step 2).

describer = load_describer("models/mini/describer")         # or "llava-hf/llava-1.5-7b-hf@<commit>"
describe(describer, images, "What clothes is the person wearing?")   # ["Gray shirt| Blue jeans| Black shoes",
...]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from dlcr.prompts.generation import generate_texts, prepare_tokenizer
from dlcr.runtime.checkpoint import device, find_checkpoint


@dataclass(frozen=True)
class Describer:
    """A loaded vision-language model and its processor (chat template, tokenizer, image processor)."""

    model: torch.nn.Module
    processor: object


def load_describer(model: str) -> Describer:
    """Loads LLaVA or a model of its kind from a folder or `repo@revision`, in evaluation mode.

    Raises FileNotFoundError or OSError if it isn't there, ValueError if it has no chat template.
    """
    checkpoint = find_checkpoint(model)
    # The same image backend whether torchvision is installed or not, as in `dlcr.parsing.load_parser`.
    processor = AutoProcessor.from_pretrained(checkpoint.location, backend="pil", **checkpoint.arguments())
    if processor.chat_template is None:
        raise ValueError(f"{model}: the processor has no chat template; choose a chat version of the model")
    processor.tokenizer.chat_template = processor.tokenizer.chat_template or processor.chat_template
    prepare_tokenizer(processor.tokenizer, model)
    network = AutoModelForImageTextToText.from_pretrained(checkpoint.location, **checkpoint.weights())
    return Describer(network.to(device()).eval(), processor)


def describe(
    describer: Describer,
    images: Sequence[np.ndarray],
    question: str,
    temperature: float = 0.0,
    max_new_tokens: int = 32,
    seeds: Sequence[int] | None = None,
) -> list[str]:
    """The raw answers for one batch of uint8 RGB images [H, W, 3] (of any sizes), one a row.

    Temperature 0 is greedy; above it every image is sampled from its own seed. Raises ValueError if seeds are
    missing then, or are not as many as images.
    """
    if temperature > 0 and seeds is None:
        raise ValueError("sampling at a temperature above 0 needs one seed an image")
    if not images:
        return []
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = describer.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = describer.processor(
        text=[prompt] * len(images),
        images=[Image.fromarray(image) for image in images],
        padding=True,
        return_tensors="pt",
    ).to(describer.model.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(describer.model.dtype)
    return generate_texts(
        describer.model,
        describer.processor.tokenizer,
        dict(inputs),
        temperature=temperature,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
        seeds=seeds if seeds is not None else [0] * len(images),
    )
