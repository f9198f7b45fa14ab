"""Identity: what stays when the clothes change."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc.difficulty import GAIT_SPREAD, IDENTITY_SPREAD

RGB = tuple[float, float, float]

HAIR_STYLES = ("bald", "short", "bob", "long", "ponytail", "bun", "afro")
_HAIR_SHARES = (0.10, 0.28, 0.15, 0.17, 0.12, 0.08, 0.10)
_HAIR_COLOURS = {
    "black": (26, 22, 24),
    "dark brown": (62, 38, 24),
    "brown": (112, 70, 38),
    "ginger": (178, 84, 30),
    "blond": (222, 184, 104),
    "gray": (150, 150, 154),
    "white": (228, 226, 222),
}
_HAIR_COLOUR_SHARES = (0.24, 0.18, 0.16, 0.12, 0.14, 0.09, 0.07)
_SKIN_TONES = ((250, 218, 198), (232, 184, 150), (205, 146, 104), (150, 94, 60), (88, 54, 40))


@dataclass(frozen=True)
class Person:
    """A body, a head and a way of walking. Lengths in metres, colours RGB in [0, 1], angles in radians."""

    height: float
    build: float  # 0.75 (thin) to 1.5 (heavy): multiplies the radii of soft parts
    shoulder: float  # half the distance between the shoulder joints
    hip: float  # half the width of the hips
    belly: float  # extra depth of the belly
    chest: float  # extra depth of the chest
    leg_ratio: float  # height of the hip joints / height
    arm_ratio: float  # length of an arm without the hand / height
    head: float  # height of the head / height
    face_width: float  # width of the head / its height
    skin: RGB
    hair_style: str
    hair: RGB
    hair_volume: float  # 0 to 1
    hairline: float  # -0.1 (low) to 0.2 (receding)
    beard: float  # 0 (none), below 0.5 (moustache and chin), to 1 (full)
    glasses: bool
    stride: float  # amplitude of the thighs
    arm_swing: float  # amplitude of the arms
    lean: float  # of the upper body, forwards
    stoop: float  # of the head, forwards
    knee_gap: float  # distance between the feet, as a share of the hips' width


def _spread(rng: np.random.Generator, low: float, high: float, scale: float = IDENTITY_SPREAD) -> float:
    """Uniform between low and high, drawn towards the middle (scale < 1) or beyond the ends (scale > 1)."""
    middle = (low + high) / 2
    return float(middle + (rng.uniform(low, high) - middle) * scale)


def _mix(palette: tuple[tuple[int, int, int], ...], where: float) -> np.ndarray:
    """The colour at `where` in [0, 1] along a palette, 0 to 255 per channel."""
    table = np.asarray(palette, float)
    places = np.linspace(0, 1, len(table))
    return np.array([np.interp(where, places, table[:, channel]) for channel in range(3)])


def _rgb(colour: np.ndarray) -> RGB:
    red, green, blue = (float(value) for value in np.clip(colour, 0, 255) / 255)
    return red, green, blue


def sample_person(rng: np.random.Generator) -> Person:
    """Draws a person; all parameters are continuous, so no two people coincide."""
    masculine = rng.uniform(0, 1)
    style = str(rng.choice(HAIR_STYLES, p=_HAIR_SHARES))
    height = _spread(rng, 1.50, 1.84) + 0.12 * masculine
    hair = np.asarray(_HAIR_COLOURS[str(rng.choice(list(_HAIR_COLOURS), p=_HAIR_COLOUR_SHARES))], float)
    skin = _mix(_SKIN_TONES, rng.uniform(0, 1)) * (1 + rng.normal(0, 0.025, 3))
    bearded = masculine > 0.45 and rng.uniform() < 0.6
    build = float(np.exp(_spread(rng, -0.30, 0.42)))
    return Person(
        height=height,
        build=build,
        shoulder=height * (_spread(rng, 0.084, 0.104) + 0.012 * masculine),
        hip=height * (_spread(rng, 0.086, 0.106) - 0.008 * masculine) * build**0.35,
        belly=max(0.0, _spread(rng, -0.03, 0.05)) * build**2,
        chest=_spread(rng, 0.0, 0.035) * (1.3 - masculine),
        leg_ratio=_spread(rng, 0.465, 0.535),
        arm_ratio=_spread(rng, 0.300, 0.350),
        head=_spread(rng, 0.132, 0.160),
        face_width=_spread(rng, 0.70, 0.90),
        skin=_rgb(skin),
        hair_style=style,
        hair=_rgb(hair * rng.uniform(0.88, 1.12) * (1 + rng.normal(0, 0.04, 3))),
        hair_volume=float(rng.uniform(0, 1)),
        hairline=float(rng.uniform(-0.1, 0.2)),
        beard=float(rng.uniform(0.25, 1.0)) if bearded else 0.0,
        glasses=bool(rng.uniform() < 0.22),
        stride=_spread(rng, 0.26, 0.52, GAIT_SPREAD),
        arm_swing=_spread(rng, 0.12, 0.62, GAIT_SPREAD),
        lean=_spread(rng, -0.05, 0.16, GAIT_SPREAD),
        stoop=_spread(rng, -0.01, 0.07, GAIT_SPREAD),
        knee_gap=_spread(rng, 0.35, 0.95, GAIT_SPREAD),
    )
