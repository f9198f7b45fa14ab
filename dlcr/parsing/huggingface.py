"""Hugging Face's semantic segmentation models as parsers; see `dlcr.parsing.load_parser`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from dlcr.parsing.batches import check_logits, in_parts
from dlcr.runtime.networks import find_pretrained, load_network, loading


def load(model: str) -> tuple[dict[int, str], Callable[[Sequence[np.ndarray]], list[np.ndarray]]]:
    """The label names of a model, and the function from one batch of RGB images to their label maps.

    The network sees a few pictures of a batch at a time (`in_parts`). On a CPU it computes in float32. On a GPU it
    computes in half precision: in that of the saved weights, or in float16 where they were saved in float32; labels can
    differ from the CPU's where two are nearly as good.

    model: a folder or `repo@revision`. Raises FileNotFoundError if it isn't there, ValueError if its weights are not
    all there and finite (`check_network`), or if its image processor cuts images, as the masks could not cover them.
    The function raises ValueError for logits that are not finite.
    """
    pretrained = find_pretrained(model)
    with loading(model):
        # One backend everywhere: torchvision resizes a little differently, and masks must not depend on what is
        # installed.
        processor = AutoImageProcessor.from_pretrained(pretrained.location, backend="pil", **pretrained.arguments())
    if getattr(processor, "do_center_crop", False):
        raise ValueError(f"{model}: its processor cuts images (do_center_crop); expected one that only resizes them")
    network = load_network(AutoModelForSemanticSegmentation, model, pretrained)
    if network.device.type == "cuda" and network.dtype == torch.float32:
        network.half()

    def work(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        pixels = processor(list(images), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            parts = in_parts(pixels.to(network.dtype))
            logits = [check_logits(model, network(pixel_values=part.to(network.device)).logits) for part in parts]
            rows = [row.float() for part in logits for row in part]
            return [best_labels(row, image.shape[:2]) for row, image in zip(rows, images, strict=True)]

    return network.config.id2label, work


def best_labels(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """The best label of every pixel, uint8 [H, W], of logits [C, h, w] enlarged bilinearly to `size` = (H, W)."""
    enlarged = torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    return enlarged.argmax(0).to(torch.uint8).cpu().numpy()
