"""Hugging Face's segmentation models as parsers; see `dlcr.parsing.load_parser`.

A model's configuration decides which AutoModel it is loaded with. Semantic heads give a score for each label and pixel;
universal models (`universal.py`) give queries, each with a class and a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    BeitImageProcessorPil,
    PreTrainedConfig,
)
from transformers.image_processing_base import ImageProcessingMixin

from dlcr.parsing import universal
from dlcr.parsing.batches import check_logits, in_parts_by_size
from dlcr.runtime.networks import Pretrained, find_pretrained, load_network, loading

Work = Callable[[Sequence[np.ndarray]], list[np.ndarray]]

SAPIENS2 = {
    "size": {"height": 1024, "width": 768},
    "resample": 2,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
"""What Sapiens2's image processor does where its file is silent (transformers' `Sapiens2ImageProcessor`)."""

UNFIT = {
    "do_center_crop": "cuts images",
    "do_pad": "pads images",
    "keep_aspect_ratio": "keeps proportions, and DPT's network takes squares alone",
}
"""Settings of image processors with which masks would not cover the images, or the network fail."""


def load(model: str) -> tuple[dict[int, str], Work]:
    """The label names of a model, and the function from one batch of RGB images to their label maps.

    The network sees a few pictures of a batch at a time (`in_parts`). On a CPU it computes in float32. On a GPU it
    computes in half precision (but for some universal models, `universal.HALF`): in that of the saved weights, or in
    float16 where they were saved in float32; labels can differ from the CPU's where two are nearly as good.

    model: a folder or `repo@revision`. Raises FileNotFoundError if it isn't there, ValueError if it is of another type,
    if it has more labels than fit into a label map, if its weights are not all there and finite (`check_network`), or
    if its image processor does more than resize images (`UNFIT`). The function raises ValueError for logits that are
    not finite.
    """
    pretrained = find_pretrained(model)
    with loading(model):
        config = AutoConfig.from_pretrained(pretrained.location, **pretrained.arguments())
    if config.model_type in universal.TYPES:
        load_work = universal.load
    elif type(config) in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING:
        load_work = load_semantic
    else:
        semantic = ", ".join(sorted(kind.model_type for kind in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING))
        raise ValueError(
            f"{model}: of type {config.model_type!r}, which is no parser; expected a semantic segmentation model "
            f"({semantic}) or a universal one ({', '.join(universal.TYPES)})"
        )
    if len(config.id2label) > 256:
        raise ValueError(f"{model}: it has {len(config.id2label)} labels; expected at most 256")
    return config.id2label, load_work(model, config, pretrained)


def load_semantic(model: str, config: PreTrainedConfig, pretrained: Pretrained) -> Work:
    """The work of a semantic head; raises as `load` does."""
    with loading(model):
        processor = image_processor(config, pretrained)
    for key, does in UNFIT.items():
        if getattr(processor, key, False):
            raise ValueError(f"{model}: its processor {does} ({key}); expected one that only resizes images")
    network = load_network(AutoModelForSemanticSegmentation, model, pretrained)
    if network.device.type == "cuda" and network.dtype == torch.float32:
        network.half()

    def logits_of(part: torch.Tensor) -> tuple[torch.Tensor]:
        return (check_logits(model, network(pixel_values=part.to(network.device)).logits),)

    def work(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        pixels = processor(list(images), input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            rows = in_parts_by_size([torch.as_tensor(one).to(network.dtype) for one in pixels], logits_of)
            return [best_labels(row.float(), image.shape[:2]) for (row,), image in zip(rows, images, strict=True)]

    return work


def image_processor(config: PreTrainedConfig, pretrained: Pretrained) -> Callable:
    """A model's image processor, with PIL.

    One backend everywhere: torchvision resizes a little differently, and masks must not depend on what is installed.
    Sapiens2's processor is written for torchvision alone; BEiT's does the same to whole images.
    """
    if config.model_type == "sapiens2":
        settings, _ = ImageProcessingMixin.get_image_processor_dict(pretrained.location)
        return BeitImageProcessorPil(**{**SAPIENS2, **settings})
    return AutoImageProcessor.from_pretrained(pretrained.location, backend="pil", **pretrained.arguments())


def best_labels(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """The best label of every pixel, uint8 [H, W], of logits [C, h, w] enlarged bilinearly to `size` = (H, W)."""
    enlarged = torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    return enlarged.argmax(0).to(torch.uint8).cpu().numpy()
