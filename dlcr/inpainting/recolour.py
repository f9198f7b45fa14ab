"""Colour change, a baseline of stage 1 (Fig. 1, left): the masked clothes take another colour and keep their texture.

    recoloured = recolour(image, mask, seed)       # uint8 [H, W, 3], the image's own pixels outside the mask

The whole mask is shifted by one step in CIE Lab, upper clothes, lower clothes and footwear alike, as plain colour
jitter would: the baseline knows no body parts. Lab values are those of D65 and the 2 degree observer, L from 0 to 100.
"""

from __future__ import annotations

import numpy as np

LIGHTNESS = (20.0, 85.0)
CHROMA = 60.0
"""Colours that clothes have: L uniform in LIGHTNESS, a and b uniform in the disc of this radius."""


def recolour(image: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    """Shift the masked pixels in Lab, so that their mean becomes a colour drawn from the seed.

    image: uint8 [H, W, 3] RGB; mask: bool [H, W], True = clothes, not empty; seed: at least 0. Differences in
    lightness and hue between masked pixels stay, but colours outside of sRGB are clipped to it, after which the mean
    can be off the drawn colour. Returns uint8 [H, W, 3], bit-identical outside the mask; masked pixels depend on
    nothing but each other and the seed. Raises ValueError for another type or shape and for an empty mask.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an image uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if mask.dtype != bool or mask.shape != image.shape[:2]:
        raise ValueError(f"expected a mask bool {list(image.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
    if not mask.any():
        raise ValueError("the mask is empty: there is nothing to recolour")
    lab = to_lab(image[mask])
    shift = draw_colour(seed) - lab.mean(axis=0, dtype=np.float64)
    result = image.copy()
    result[mask] = to_rgb(lab + shift.astype(np.float32))
    return result


def draw_colour(seed: int) -> np.ndarray:
    """The Lab colour float64 [3] of a seed."""
    lightness, area, turn = np.random.default_rng(seed).random(3)
    # the root makes the disc uniform: its area grows with the square of the radius
    radius, angle = CHROMA * np.sqrt(area), 2 * np.pi * turn
    low, high = LIGHTNESS
    return np.array([low + (high - low) * lightness, radius * np.cos(angle), radius * np.sin(angle)])


def to_lab(pixels: np.ndarray) -> np.ndarray:
    """Pixels uint8 [N, 3] in sRGB to Lab, float32 [N, 3]."""
    import torch
    from kornia.color import rgb_to_lab

    columns = torch.from_numpy(pixels.astype(np.float32) / 255).T[:, :, None]
    return rgb_to_lab(columns)[:, :, 0].T.numpy()


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """Lab float32 [N, 3] to the nearest pixels uint8 [N, 3] in sRGB; what lies outside is clipped by channel."""
    import torch
    from kornia.color import lab_to_rgb

    columns = torch.from_numpy(lab).T[:, :, None]
    return np.rint(255 * lab_to_rgb(columns)[:, :, 0].T.numpy()).astype(np.uint8)
