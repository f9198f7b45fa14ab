"""Human parsing: images to masks of upper clothes, lower clothes and footwear (Sec. 3.1).

    parser = load_parser("models/mini/parser")          # or "mattmdjaga/segformer_b2_clothes@<commit>"
    masks = parse_clothes(parser, images, batch=64)     # True = clothes = to be inpainted
    load_parser("yisol/IDM-VTON@<commit>:humanparsing/parsing_lip.onnx")   # SCHP, the paper's parser
    load_parser("fashn-ai/fashn-human-parser@<commit>", {"feet": "shoes"})   # whose word for shoes is another

Any Hugging Face model for semantic segmentation whose labels name body parts and garments will do (`huggingface.py`),
so will universal ones such as Mask2Former (`universal.py`), and so will SCHP's ONNX exports (`schp.py`). All enlarge
the labels' scores bilinearly to each image's own size and take the best label there: a label map resized afterwards has
blocky borders, and a mask resized and thresholded grows or shrinks. Where a mask has to be resized all the same, it is
resized by nearest neighbour. docs/parsers.md says which models are tested.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dlcr.runtime.memory import Batch


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FOOTWEAR_WORDS = _words("shoe shoes boot boots sandal sandals footwear")
CLOTHES_WORDS = FOOTWEAR_WORDS | _words(
    "upper lower clothes clothing top tops shirt shirts blouse sweater sweatshirt hoodie jacket coat coats vest "
    "cardigan suit dress dresses jumpsuit jumpsuits skirt skirts pants trousers jeans shorts leggings tights "
    "stockings belt sock socks collar lapel epaulette sleeve neckline pocket zipper"
)
OTHER_WORDS = _words(
    "skin body hair face lip lips teeth head hat cap helmet sunglasses glasses eyewear bag bags backpack scarf glove "
    "gloves arm arms leg legs hand hands foot feet torso neck background"
)
"""A label with one of these words is not clothes whatever else it says ("lower body skin", "upper arm")."""


@dataclass(frozen=True)
class Parser:
    """A loaded parser.

    clothes: the label numbers that belong in the mask. work: one batch of uint8 RGB images [H, W, 3] of any sizes to
    their label maps, uint8 [H, W]; it holds all that depends on the model, so whoever has to cut a batch that does
    not fit into memory calls it again on the halves.
    """

    clothes: tuple[int, ...]
    work: Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def load_parser(model: str, labels: Mapping[str, str] | None = None) -> Parser:
    """Loads a segmentation model from a folder or `repo@revision`, or SCHP from an ONNX file.

    An ONNX file is a local path or `repo@revision:path/in/the/repo.onnx`. labels: of some of the model's labels, the
    word that each is to be read as (`parse.labels` of params.yaml). Warns if no label is footwear, which the paper
    masks too (Sec. 3.1). Raises FileNotFoundError if the model isn't there, ValueError if it is not of a kind that can
    be used, if none of its labels is a garment, and for `labels` that name none of its labels or say nothing.
    """
    from dlcr.parsing import huggingface, schp  # with transformers: seconds

    names, work = (schp if model.endswith(".onnx") else huggingface).load(model)
    names = {number: str(name) for number, name in names.items()}
    read_as = _read_as(model, names, labels or {})
    clothes, all_names = clothes_labels(read_as), ", ".join(names.values())
    if not clothes:
        raise ValueError(f"{model}: none of its labels is upper clothes, lower clothes or footwear: {all_names}")
    if not any(_words_of(read_as[number]) & FOOTWEAR_WORDS for number in clothes):
        warnings.warn(
            f"{model}: no label of this parser is footwear, so shoes are not masked; parse.labels can name one, as in "
            f"`labels: {{feet: shoes}}`; its labels: {all_names}",
            stacklevel=2,
        )
    return Parser(clothes, work)


def _read_as(model: str, names: Mapping[int, str], labels: Mapping[str, str]) -> dict[int, str]:
    """The names of the labels, by number, with those of `labels` replaced. Raises ValueError as `load_parser` does."""
    for label, word in labels.items():
        if label not in names.values():
            raise ValueError(f"parse.labels: {model} has no label {label!r}; its labels: {', '.join(names.values())}")
        if not _words_of(word) & (CLOTHES_WORDS | OTHER_WORDS):
            raise ValueError(
                f"parse.labels.{label}: {word!r} means nothing; expected a word for clothes, such as 'upper', 'lower' "
                "or 'shoes', or for something else, such as 'background'"
            )
    return {number: labels.get(name, name) for number, name in names.items()}


def clothes_labels(id2label: Mapping[int, str]) -> tuple[int, ...]:
    """The numbers of the labels that name upper clothes, lower clothes or footwear, sorted.

    Whole words count, so "Left-shoe", "UpperClothes" and "pants" are found and "Left-leg", "Hat" or "Bag" are not.
    """
    words = {int(number): _words_of(str(label)) for number, label in id2label.items()}
    return tuple(sorted(number for number, found in words.items() if found & CLOTHES_WORDS and not found & OTHER_WORDS))


def _words_of(label: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", label)}


def label_maps(parser: Parser, images: Sequence[np.ndarray], batch: int) -> list[np.ndarray]:
    """Label numbers of every pixel, uint8 [H, W] at each image's own size, for uint8 RGB images [H, W, 3].

    `batch` images are given to the parser at once, fewer where a GPU's memory is too small; how many of them its
    network sees at a time depends on the size that it resizes them to (`dlcr.parsing.batches`). Raises ValueError for
    anything but RGB, for an image without pixels, and for a network whose results are not numbers.
    """
    for index, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"image {index}: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
    return Batch(batch).run(parser.work, images)


def parse_clothes(parser: Parser, images: Sequence[np.ndarray], batch: int, dilation: int = 0) -> list[np.ndarray]:
    """Masks of the clothes, bool [H, W] at each image's own size (Sec. 3.1).

    `dilation` grows a mask by that many pixels in all eight directions. Raises what `label_maps` raises.
    """
    masks = [np.isin(labels, parser.clothes) for labels in label_maps(parser, images, batch)]
    if dilation:
        from scipy.ndimage import binary_dilation

        masks = [binary_dilation(mask, np.ones((3, 3), bool), iterations=dilation) for mask in masks]
    return masks


def mask_status(area: float, min_area: float, max_area: float) -> str:
    """What a mask covering the share `area` of its image is good for: "ok", "empty" or "implausible".

    Empty: less than `min_area`, there is nothing to inpaint. Implausible: more than `max_area`, the parser took the
    background or the whole person for clothes. Masks of either kind are kept and recorded, and not inpainted. All
    three are shares between 0 and 1.
    """
    if area < min_area:
        return "empty"
    return "implausible" if area > max_area else "ok"
