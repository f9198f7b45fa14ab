"""A vision-language model says what a person wears (PAPER: stage 1, step 2).

    describer = load_describer("models/mini/describer")         # or "llava-hf/llava-1.5-7b-hf@<commit>"
    describe(describer, images, "What clothes is the person wearing?")
    # ["Gray shirt| Blue jeans| Black shoes", ...]

Two kinds of models are known by their configuration: InstructBLIP, which is asked as it is
("Salesforce/instructblip-vicuna-7b@<commit>"), and every other image-text-to-text model, LLaVA above all, which is
asked through its chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from dlcr.prompts.generation import generate_texts, pad_on_the_left, require_chat_template
from dlcr.runtime.checkpoint import device, find_checkpoint


@dataclass(frozen=True)
class Describer:
    """A loaded vision-language model and its processor (tokenizers, image processor, chat template if any)."""

    model: torch.nn.Module
    processor: object


def load_describer(model: str) -> Describer:
    """Loads LLaVA, InstructBLIP or a chat model of their kind from a folder or `repo@revision`, in evaluation mode.

    Raises FileNotFoundError or OSError if it isn't there, ValueError if it can't be asked: a chat model without chat
    template, an InstructBLIP whose files don't say which token stands for the image.
    """
    checkpoint = find_checkpoint(model)
    config = AutoConfig.from_pretrained(checkpoint.location, **checkpoint.arguments())
    # The same image backend whether torchvision is installed or not, as in `dlcr.parsing.load_parser`.
    processor = AutoProcessor.from_pretrained(checkpoint.location, backend="pil", **checkpoint.arguments())
    if config.model_type == "instructblip":
        if config.image_token_index is None or processor.num_query_tokens is None:
            raise ValueError(
                f"{model}: config.json has no image_token_index or processor_config.json no num_query_tokens; "
                "choose a revision of the model that has them"
            )
    else:
        require_chat_template(processor, model)
    pad_on_the_left(processor.tokenizer)
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
    inputs = describer.processor(
        text=[_prompt(describer, question)] * len(images),
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


def _prompt(describer: Describer, question: str) -> str:
    """The question in the model's own form; InstructBLIP's processor puts the image's tokens before it."""
    if describer.model.config.model_type == "instructblip":
        return question
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return describer.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
