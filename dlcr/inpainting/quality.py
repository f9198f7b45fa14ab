"""The quality gate: measures of a re-clothed image by which failed variants are dropped; not part of the paper.

    measures = measure(image, variant, mask)                      # change, seam, spread, smoothness
    measures["alignment"] = word_alignment(prompt, answer)        # where a describer has looked at the variant
    open_generated(folder, {"change": 0.14, "spread": 0.03})      # drops what falls short

They are kept with every variant, and thresholds are applied where a set is opened. Of every measure more is better.
They find what is broken (nothing repainted, a blank or noisy fill, clothes pasted with a visible outline), not what is
merely unlike the prompt: that is `alignment`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlcr.inpainting.recolour import to_lab
from dlcr.prompts.items import PARTS, normalise, offered_items


def measure(image: np.ndarray, variant: np.ndarray, mask: np.ndarray | None) -> dict[str, float]:
    """How a variant compares with its original.

    image, variant: uint8 [H, W, 3] RGB; mask: bool [H, W], True = repainted, not empty, or None where the whole image
    was. Returns

    - `change`, from 0: mean colour difference inside the mask (CIE 1976, in Lab), as a share of the one between black
      and white; differences between saturated colours reach 2.6. Exactly 0 for the original.
    - `seam`, in (0, 1]: over the pairs of neighbours of which one lies inside the mask, the mean of min(1, s / v),
      where s and v are the pair's absolute difference in the image and in the variant, averaged over RGB, plus one
      level of 255. So an edge that was there before costs nothing, and a new one much, whether a leftover of the old
      clothes beside the mask or a patch on the background makes it. New clothes that stand out from the background
      more than the old ones cost something too. 1 without such pairs, as in a whole image.
    - `spread`, in [0, 0.5]: standard deviation inside the mask, each channel around its own mean, in units of 255 (root
      of the channels' mean variance). Exactly 0 for a fill of one colour, such as the black that NaN decodes to.
    - `smoothness`, in [0, 1]: 1 minus the mean absolute difference of neighbours inside the mask, averaged over RGB, in
      units of 255. About 2/3 for uniform noise; 1 where no two masked pixels touch.

    Raises ValueError for other types, different shapes and an empty mask.
    """
    inside = np.ones(image.shape[:2], bool) if mask is None else mask
    _check(image, variant, inside)
    before, after = image[inside], variant[inside]
    old, new = _steps(image), _steps(variant)
    border, within = _pairs(inside, np.not_equal), _pairs(inside, np.logical_and)
    # one pixel's own colour subtracted first, so that a fill of one colour gives 0 without rounding
    colours = (after - after[0].astype(np.float64)).T.copy()
    return {
        "change": float(np.linalg.norm(to_lab(after) - to_lab(before), axis=1).mean() / 100),
        "seam": float(np.minimum(1, (old[border] + 1) / (new[border] + 1)).mean()) if border.any() else 1.0,
        "spread": float(np.sqrt(colours.var(axis=1).mean()) / 255),
        "smoothness": float(1 - new[within].mean() / 255) if within.any() else 1.0,
    }


def word_hits(prompt: str, answer: str) -> np.ndarray:
    """Which words of a prompt an answer names: bool [3, 3], body parts (PARTS) by colour, pattern and garment.

    prompt: like "Gray shirt| Blue striped skirt| Black shoes". answer: a describer's, in any form; of several items
    for one body part the one that agrees best counts. An unsaid pattern is a word: "red shirt" for "red striped shirt"
    misses the pattern, and the other way round. A body part that the prompt lacks has no hits.
    """
    offered = offered_items(answer)
    hits = np.zeros((len(PARTS), 3), bool)
    for row, part, item in zip(hits, PARTS, _prompted_items(prompt), strict=True):
        if item:
            agree = [[a == b for a, b in zip(_words(item), _words(said), strict=True)] for said in offered[part]]
            row[:] = max(agree, key=sum, default=False)
    return hits


def word_alignment(prompt: str, answer: str) -> float:
    """Share (0 to 1) of `word_hits` over the body parts that the prompt names; ValueError if it names none."""
    named = [bool(item) for item in _prompted_items(prompt)]
    if not any(named):
        raise ValueError(
            f"prompt {prompt!r} names no clothes, expected a text like 'Gray shirt| Blue jeans| Black shoes'"
        )
    return float(word_hits(prompt, answer)[named].mean())


def _check(image: np.ndarray, variant: np.ndarray, mask: np.ndarray) -> None:
    for name, array in (("image", image), ("variant", variant)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(f"expected the {name} as uint8 [H, W, 3], got {array.dtype} {list(array.shape)}")
    if variant.shape != image.shape:
        raise ValueError(f"the variant is {list(variant.shape[:2])}, its image {list(image.shape[:2])}")
    if mask.dtype != bool or mask.shape != image.shape[:2]:
        raise ValueError(f"expected a mask bool {list(image.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
    if not mask.any():
        raise ValueError("the mask is empty: there is nothing to measure")


def _steps(image: np.ndarray) -> np.ndarray:
    """Absolute differences of neighbours, mean over RGB, in levels of 255: float64 [pairs], ordered as in `_pairs`."""
    planes = image.transpose(2, 0, 1).astype(np.int16, order="C")
    return _pairs(planes, lambda one, other: np.abs(one - other).sum(axis=0) / 3)


def _pairs(array: np.ndarray, compare: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Compare each pixel of [..., H, W] with the one below and with the one to its right; flat."""
    below = compare(array[..., 1:, :], array[..., :-1, :])
    right = compare(array[..., :, 1:], array[..., :, :-1])
    return np.concatenate([below.ravel(), right.ravel()])


def _prompted_items(prompt: str) -> list[str]:
    """The items of an outfit text in the order of PARTS, normalised; "" where one is missing."""
    found = [normalise(item) for item in prompt.split("|")]
    return (found + [""] * len(PARTS))[: len(PARTS)]


def _words(item: str) -> tuple[str, str, str]:
    """Colour, pattern ("" for none) and garment of an item."""
    words = item.split()
    return words[0], " ".join(words[1:-1]), words[-1]
