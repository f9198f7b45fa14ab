"""A vision-language model says what a person wears (Sec. 3.1).

    describer = load_describer("models/mini/describer")         # or "llava-hf/llava-1.5-7b-hf@<commit>"
    describe(describer, images, "What clothes is the person wearing?")
    # ["Gray shirt| Blue jeans| Black shoes", ...]

Every image-text-to-text model of transformers can be one whose processor works with pictures alone. It is asked through
its chat template; without one the question is asked as it is, if the processor puts the picture before it itself, as
those of InstructBLIP ("Salesforce/instructblip-vicuna-7b@<commit>") and Florence-2 do. `dlcr.prompts.processor` says
what they see of a picture, docs/describers.md which families were tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dlcr.prompts.generation import asking, generate_texts, pad_on_the_left, require_chat_template
from dlcr.runtime.networks import find_pretrained, load_network, loading

if TYPE_CHECKING:
    import torch
    from transformers import BatchFeature, PretrainedConfig, ProcessorMixin


@dataclass(frozen=True)
class Describer:
    """A loaded vision-language model: its name, network, processor (tokenizers, image processor, chat template if any).

    margin: the colour that makes pictures square before the processor crops them, None where it doesn't.
    """

    name: str
    model: torch.nn.Module
    processor: ProcessorMixin
    margin: tuple[int, int, int] | None


def load_describer(model: str) -> Describer:
    """Loads LLaVA, InstructBLIP or a chat model of their kind from a folder or `repo@revision`, in evaluation mode.

    Raises FileNotFoundError if it isn't there, ValueError if it can't be loaded whole or can't be asked: a model of
    another kind or that needs a package, a chat model without chat template, an InstructBLIP whose files don't say
    which token stands for the image.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoModelForImageTextToText

    from dlcr.prompts.processor import load_processor, margin_colour, naming_packages

    pretrained = find_pretrained(model)
    with loading(model):
        config = AutoConfig.from_pretrained(pretrained.location, **pretrained.arguments())
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ValueError(
            f"{model}: models of type {config.model_type!r} do not answer questions about pictures; "
            "expected a vision-language model such as LLaVA"
        )
    with naming_packages(model, config):
        processor = load_processor(model, pretrained, config)
        _check_prompts(model, config, processor)
        pad_on_the_left(processor.tokenizer)
        with loading(model):
            margin = margin_colour(processor)
        return Describer(model, load_network(AutoModelForImageTextToText, model, pretrained), processor, margin)


def _check_prompts(model: str, config: PretrainedConfig, processor: ProcessorMixin) -> None:
    """Raises ValueError where there is no chat template, and the processor puts no picture before a question itself.

    Whether it does (InstructBLIP, Florence-2, PaliGemma) is tried out.
    """
    if processor.chat_template:
        return
    if hasattr(processor, "num_query_tokens") and None in (config.image_token_index, processor.num_query_tokens):
        raise ValueError(
            f"{model}: config.json has no image_token_index or processor_config.json no num_query_tokens; "
            "choose a revision of the model that has them"
        )
    try:
        picture = Image.new("RGB", (32, 32))
        tokens = processor(text=["?"], images=[[picture]], return_tensors="pt")["input_ids"].flatten().tolist()
    except Exception:  # as processors do that find no place for the picture in the text
        tokens = []
    if getattr(config, "image_token_id", None) not in tokens:
        require_chat_template(processor, model)


def describe(
    describer: Describer,
    images: Sequence[np.ndarray],
    question: str,
    temperature: float = 0.0,
    max_new_tokens: int = 32,
    seeds: Sequence[int] | None = None,
) -> list[str]:
    """The raw answers for one batch of uint8 RGB images [H, W, 3] (of any sizes), one for each.

    Temperature 0 is greedy; above it every image is sampled from its own seed. Raises ValueError if seeds are
    missing then, or are not as many as images, and if the model can't answer (an error that names it).
    """
    if temperature > 0 and seeds is None:
        raise ValueError("sampling at a temperature above 0 needs one seed an image")
    if not images:
        return []
    with asking(describer.name):
        return generate_texts(
            describer.model,
            describer.processor.tokenizer,
            dict(model_inputs(describer, images, question)),
            temperature=temperature,
            top_p=1.0,
            max_new_tokens=max_new_tokens,
            seeds=seeds if seeds is not None else [0] * len(images),
        )


def model_inputs(describer: Describer, images: Sequence[np.ndarray], question: str) -> BatchFeature:
    """What the model is given: its tokens [N, T], padded on the left, the pictures as it sees them, and masks."""
    from dlcr.prompts.processor import pad_to_square

    prompt = _prompt(describer, question)
    bos = describer.processor.tokenizer.bos_token
    if describer.margin is not None:
        images = [pad_to_square(image, describer.margin) for image in images]
    inputs = describer.processor(
        text=[prompt] * len(images),
        images=[[Image.fromarray(image)] for image in images],  # so each prompt has its own
        padding=True,
        **({"add_special_tokens": False} if bos and prompt.startswith(bos) else {}),  # some templates say it themselves
        return_tensors="pt",
    )
    return inputs.to(describer.model.device, describer.model.dtype)


def _prompt(describer: Describer, question: str) -> str:
    """The question in the model's own form; without a chat template the processor puts the picture before it."""
    if not describer.processor.chat_template:
        return question
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return describer.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
