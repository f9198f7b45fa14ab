"""What a vision-language model sees of a picture: its processor, and the margins that a cropping one needs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from PIL import Image
from transformers import (
    PROCESSOR_MAPPING,
    AutoImageProcessor,
    AutoTokenizer,
    Idefics3Processor,
    LlavaProcessor,
    PretrainedConfig,
    ProcessorMixin,
    SmolVLMConfig,
)
from transformers.utils import is_torchvision_available

from dlcr.runtime.networks import Pretrained, loading

TALL = (250, 100)
"""Height and width of a pedestrian's picture, as processors are tried on."""

PACKAGES = ("timm", "torchvision")
"""What parts of some families need: a vision tower that is timm's, an image processor that torchvision alone has."""


def load_processor(model: str, pretrained: Pretrained, config: PretrainedConfig) -> ProcessorMixin:
    """The processor that belongs to a model's configuration, made of image processor and tokenizers alone.

    Parts for videos and sound are left out (`LeftOut`): many need packages that pictures don't. Images are resized with
    PIL whether torchvision is installed or not, as torchvision resizes a little differently; where transformers has no
    image processor for PIL, with torchvision. Raises ValueError if transformers has no processor for such a model, or
    one for videos alone, or lacks a package for it, FileNotFoundError if files are missing.
    """
    if type(config) not in PROCESSOR_MAPPING:
        raise ValueError(f"{model}: transformers has no processor for models of type {config.model_type!r}")
    with loading(model):
        kind = _kind(config)
    if {"image_processor", "video_processor"}.intersection(kind.get_attributes()) == {"video_processor"}:
        raise ValueError(f"{model}: the {kind.__name__} of models of type {config.model_type!r} takes videos alone")
    with loading(model):
        settings, _ = kind.get_processor_dict(pretrained.location, **pretrained.arguments())
        parts = [_part(name, pretrained, config) for name in kind.get_attributes()]
        return _for_pictures(kind).from_args_and_dict(parts, settings)


@contextmanager
def naming_packages(model: str, config: PretrainedConfig) -> Iterator[None]:
    """Around the loading of a model: a ValueError for want of one of PACKAGES says in one line what to install."""
    try:
        yield
    except ValueError as error:
        said = str(error).replace(model, "").lower()
        wanted = [name for name in PACKAGES if re.search(rf"\b{name}\b", said) and find_spec(name) is None]
        if not wanted:
            raise
        kind = f"models of type {config.model_type!r}"
        raise ValueError(f"{model}: {kind} need the package {wanted[0]}: pip install 'dlcr[vlm]'") from error


def _kind(config: PretrainedConfig) -> type[ProcessorMixin]:
    """transformers' class of processors for models of this configuration, one that pictures alone suffice for.

    SmolVLM's own adds videos to that of Idefics3, and cannot be made without a package for their captions.
    """
    if isinstance(config, SmolVLMConfig):
        return Idefics3Processor
    kind = PROCESSOR_MAPPING[type(config)]
    tower = getattr(getattr(config, "vision_config", None), "model_type", None)
    if kind.__name__ == "PixtralProcessor" or (kind is LlavaProcessor and tower == "pixtral"):
        return _pixtral()
    return kind


def _pixtral() -> type[ProcessorMixin]:
    """Pixtral's class of processors.

    Its module imports one function, which counts the tokens of sizes, from the image processor that is made for
    torchvision; that for PIL beside it has the same function, and is given in its place.
    """
    package = "transformers.models.pixtral"
    wanted, given = f"{package}.image_processing_pixtral", f"{package}.image_processing_pil_pixtral"
    if is_torchvision_available():
        return import_module(f"{package}.processing_pixtral").PixtralProcessor
    sys.modules[wanted] = import_module(given)
    try:
        return import_module(f"{package}.processing_pixtral").PixtralProcessor
    finally:
        del sys.modules[wanted]


def _part(name: str, pretrained: Pretrained, config: PretrainedConfig) -> object:
    """The part `name` of a processor; further tokenizers, as InstructBLIP's, lie in folders of their names.

    Their folders hold no config.json. Without a configuration transformers would look for one, and offline take the
    model's own tokenizer in their place.
    """
    where, arguments = pretrained.location, pretrained.arguments()
    if name == "image_processor":
        return AutoImageProcessor.from_pretrained(where, config=config, backend="pil", **arguments)
    if name == "tokenizer":
        return AutoTokenizer.from_pretrained(where, config=config, **arguments)
    if name.endswith("tokenizer"):
        return AutoTokenizer.from_pretrained(where, config=PretrainedConfig(), subfolder=name, **arguments)
    return LeftOut()


class LeftOut(dict):
    """In place of a part for videos or sound: empty, so that a processor can be printed; asked, it says None."""

    def __getattr__(self, name: str) -> None:
        return None


def _for_pictures(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The class of processors `kind`, whose parts may be left out."""

    def check(self: ProcessorMixin, name: str, part: object) -> object:
        return None if isinstance(part, LeftOut) else kind.check_argument_for_proper_class(self, name, part)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check, "__module__": kind.__module__})


def margin_colour(processor: ProcessorMixin) -> tuple[int, int, int] | None:
    """The colour that pictures must be padded with to squares, or None where the processor sees a tall one whole.

    LLaVA's CLIP processor crops the middle square of a picture, so that of a tall one neither head nor shoes are seen;
    its authors pad with the image mean (`expand2square` of haotian-liu/LLaVA). Whether a processor crops is tried out:
    some that say so do it to tiles, which lose nothing (LLaVA-NeXT).
    """
    plain = np.full((*TALL, 3), 255, np.uint8)
    ends = plain.copy()
    ends[: TALL[0] // 8] = ends[-TALL[0] // 8 :] = 0
    one, other = (
        processor.image_processor([Image.fromarray(picture)], return_tensors="np") for picture in (plain, ends)
    )
    if any(not np.array_equal(one[key], other[key]) for key in one):
        return None
    mean = getattr(processor.image_processor, "image_mean", None) or (0.5, 0.5, 0.5)
    return tuple(int(255 * value) for value in mean)


def pad_to_square(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A uint8 image [H, W, 3] in the middle of a square of this colour."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), colour, np.uint8)
    square[top : top + height, left : left + width] = image
    return square
