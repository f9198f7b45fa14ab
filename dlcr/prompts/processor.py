"""What a vision-language model sees of a picture: its processor, and the margins that a cropping one needs."""

from __future__ import annotations

import numpy as np
from PIL import Image
from transformers import PROCESSOR_MAPPING, AutoImageProcessor, AutoTokenizer, PretrainedConfig, ProcessorMixin

from dlcr.runtime.networks import Pretrained, loading

TALL = (250, 100)
"""Height and width of a pedestrian's picture, as processors are tried on."""


def load_processor(model: str, pretrained: Pretrained, config: PretrainedConfig) -> ProcessorMixin:
    """The processor that belongs to a model's configuration, made of image processor and tokenizers alone.

    Parts for videos and sound are left out (None): many need packages that pictures don't. Images are resized with PIL
    whether torchvision is installed or not, as torchvision resizes a little differently. Raises ValueError if
    transformers has no processor for such a model or lacks a package for it, FileNotFoundError if files are missing.
    """
    if type(config) not in PROCESSOR_MAPPING:
        raise ValueError(f"{model}: transformers has no processor for models of type {config.model_type!r}")
    kind = PROCESSOR_MAPPING[type(config)]
    with loading(model):
        settings, _ = kind.get_processor_dict(pretrained.location, **pretrained.arguments())
        parts = [_part(name, pretrained, config) for name in kind.get_attributes()]
        return _for_pictures(kind).from_args_and_dict(parts, settings)


def _part(name: str, pretrained: Pretrained, config: PretrainedConfig) -> object | None:
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
    return None


def _for_pictures(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The class of processors `kind`, whose parts may be None."""

    def check(self: ProcessorMixin, name: str, part: object) -> object:
        return None if part is None else kind.check_argument_for_proper_class(self, name, part)

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
