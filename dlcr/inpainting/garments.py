"""Clothes as a picture: what a model that is shown an outfit, and not told of it, sees."""

from __future__ import annotations

import numpy as np


def garment_picture(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The clothes of an image alone, uint8 [S, S, 3]: cropped to the clothes mask's box, everything else white.

    image: uint8 [H, W, 3] RGB; mask: bool [H, W], True = clothes. S is the longer side of the box; the shorter one is
    filled with white on both sides, so that an image encoder, which crops to a square, sees the whole outfit.
    Raises ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("the clothes mask is empty: there is no garment to show")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    clothes = np.where(mask[box][..., None], image[box], np.uint8(255))
    height, width = clothes.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[top : top + height, left : left + width] = clothes
    return picture
