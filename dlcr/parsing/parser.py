"""Human parsing: images to masks of upper clothes, lower clothes and footwear (PAPER: stage 1, step 1).

    parser = load_parser("models/mini/parser")          # or "mattmdjaga/segformer_b2_clothes@<commit>"
    masks = parse_clothes(parser, images, batch=64)     # True = clothes = to be inpainted

Any Hugging Face semantic segmentation model whose labels name body parts and garments will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from dlcr.runtime.checkpoint import device, find_checkpoint


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLOTHES_WORDS = _words(
    "upper lower clothes top tops shirt shirts blouse sweater hoodie jacket coat coats vest cardigan suit "
    "dress dresses jumpsuit jumpsuits skirt skirts pants trousers jeans shorts leggings belt socks "
    "shoe shoes boot boots footwear"
)
OTHER_WORDS = _words(
    "skin body hair face head hat cap helmet sunglasses glasses eyewear bag bags backpack scarf glove gloves "
    "arm arms leg legs hand hands foot feet torso neck background"
)
"""A label with one of these words is not clothes whatever else it says ("lower body skin", "upper arm")."""


@dataclass(frozen=True)
class Parser:
    """A loaded parser; `clothes` are the label numbers that belong in the mask."""

    model: torch.nn.Module
    processor: object
    clothes: tuple[int, ...]


def load_parser(model: str) -> Parser:
    """Loads a segmentation model from a folder or `repo@revision`, in evaluation mode.

    Raises FileNotFoundError or OSError if it isn't there, ValueError if none of its labels is a garment.
    """
    checkpoint = find_checkpoint(model)
    # One backend everywhere: torchvision resizes a little differently, and masks must not depend on what is
    # installed.
    processor = AutoImageProcessor.from_pretrained(checkpoint.location, backend="pil", **checkpoint.arguments())
    network = AutoModelForSemanticSegmentation.from_pretrained(checkpoint.location, **checkpoint.weights())
    clothes = clothes_labels(network.config.id2label)
    if not clothes:
        labels = ", ".join(str(label) for label in network.config.id2label.values())
        raise ValueError(f"{model}: none of its labels is upper clothes, lower clothes or footwear: {labels}")
    return Parser(network.to(device()).eval(), processor, clothes)


def clothes_labels(id2label: dict[int, str]) -> tuple[int, ...]:
    """The numbers of the labels that name upper clothes, lower clothes or footwear, sorted.

    Whole words count, so "Left-shoe", "Upper-clothes" and "pants" are found and "Left-leg", "Hat" or "Bag"
    are not.
    """
    chosen = []
    for number, label in id2label.items():
        words = set(re.findall(r"[a-z]+", str(label).casefold()))
        if words & CLOTHES_WORDS and not words & OTHER_WORDS:
            chosen.append(int(number))
    return tuple(sorted(chosen))


def label_maps(parser: Parser, images: Sequence[np.ndarray], batch: int) -> list[np.ndarray]:
    """Label numbers of every pixel, uint8 [H, W] at each image's own size, for uint8 RGB images [H, W, 3].

    The logits are enlarged bilinearly to the image's size before the best label is taken: a label map resized
    afterwards would have blocky borders, and a resized binary mask would grow or shrink. Raises ValueError
    for anything but RGB.
    """
    for index, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image {index}: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
    maps = []
    for first in range(0, len(images), batch):
        part = images[first : first + batch]
        pixels = parser.processor(list(part), return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        with torch.inference_mode():
            logits = parser.model(pixel_values=pixels.to(parser.model.device, parser.model.dtype)).logits.float()
            maps += [
                _enlarge(row, image.shape[:2]).argmax(0).to(torch.uint8).cpu().numpy()
                for row, image in zip(logits, part, strict=True)
            ]
    return maps


def parse_clothes(parser: Parser, images: Sequence[np.ndarray], batch: int, dilation: int = 0) -> list[np.ndarray]:
    """Masks of the clothes, bool [H, W] at each image's own size (PAPER: stage 1, step 1).

    `dilation` grows a mask by that many pixels in all eight directions.
    """
    masks = [np.isin(labels, parser.clothes) for labels in label_maps(parser, images, batch)]
    if dilation:
        masks = [binary_dilation(mask, np.ones((3, 3), bool), iterations=dilation) for mask in masks]
    return masks


def _enlarge(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Logits [C, h, w] at another size, bilinear."""
    return torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
