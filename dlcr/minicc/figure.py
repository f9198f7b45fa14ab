"""What parts of a dressed person are made from: labels, the posed body, and makers of single parts."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc.outfits import Outfit
from dlcr.minicc.people import Person
from dlcr.minicc.raster import STEPS, Part

SKIN, FACE, HAIR, UPPER, LOWER, FOOTWEAR = 1, 2, 3, 4, 5, 6
"""Labels; 0 is the background."""


@dataclass(frozen=True)
class Body:
    """A posed body. Joints and directions are in screen coordinates; `pixels` is the length of a metre."""

    person: Person
    outfit: Outfit
    joints: dict[str, np.ndarray]
    frame: np.ndarray  # rows: sidewards, upwards, forwards
    head_frame: np.ndarray
    pixels: float


def capsule(body: Body, role: str, start: str, end: str, radii, surface, along=(0.0, 1.0), blend=0.02) -> Part:
    """A part between two joints; `surface` is one label or a label for each step."""
    surface = surface if isinstance(surface, np.ndarray) else np.full(STEPS, surface, np.uint8)
    start_at, end_at = body.joints[start], body.joints[end]
    return Part(
        "capsule",
        role,
        start_at,
        end_at,
        body.frame,
        radii * body.pixels,
        surface,
        along,
        blend * body.pixels,
    )


def ball(body: Body, role: str, centre: np.ndarray, radii, label: int, head: bool = True, cut=None) -> Part:
    """An ellipsoid around `centre`, turned like the head or like the body; radii in metres."""
    return Part(
        "ball",
        role,
        centre,
        centre,
        body.head_frame if head else body.frame,
        np.asarray(radii, float) * body.pixels,
        np.full(STEPS, label, np.uint8),
        blend=0.01 * body.pixels,
        cut=cut,
    )
