"""A dressed person as a list of swept parts: the body's shape, and what every kind of garment adds."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc.figure import FOOTWEAR, LOWER, SKIN, UPPER, Body, capsule
from dlcr.minicc.heads import hair_of, head_of, neckwear
from dlcr.minicc.outfits import Garment
from dlcr.minicc.people import Person
from dlcr.minicc.raster import STEPS, Part, profile

CROTCH, WAIST = 0.10, 0.36
"""How far below the pelvis the trunk's tube starts, as a share of the trunk; where along it the waist is."""

_ALONG = np.linspace(0, 1, STEPS)


@dataclass(frozen=True)
class Cut:
    """How an upper is cut. Sleeves and hems are places along the arm (0 shoulder, 1 wrist) and the trunk."""

    sleeve: float
    hem: float
    thick: float  # metres around the trunk
    sleeve_thick: float
    cuff: float  # how much the end of the sleeve gathers (negative) or opens, metres


_CUTS = {
    "t-shirt": Cut(0.36, 0.13, 0.012, 0.022, 0.008),
    "shirt": Cut(0.95, WAIST - 0.03, 0.014, 0.014, 0.002),
    "sweater": Cut(0.97, 0.14, 0.026, 0.024, -0.004),
    "hoodie": Cut(0.97, 0.10, 0.034, 0.030, -0.008),
    "jacket": Cut(0.97, 0.23, 0.046, 0.036, -0.012),
    "coat": Cut(0.97, 0.00, 0.036, 0.030, 0.006),
}


def _fit(garment: Garment) -> float:
    return 0.006 * (2 * garment.fit - 1)


def trunk_radii(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Half widths and half depths of the naked trunk from crotch to collar, metres, float64[STEPS] each."""
    soft = person.build**0.75
    size = person.height / 1.72
    chest = person.shoulder * 0.80 + 0.010 * soft * size
    waist = 0.5 * (chest + person.hip) * 0.84 * (0.72 + 0.28 * soft)
    places = (0.0, 0.12, 0.22, WAIST, 0.66, 0.82, 0.91, 1.0)
    neck = 0.050 * size
    wide = (
        person.hip * 0.86,
        person.hip,
        person.hip * 0.98,
        waist,
        chest,
        chest * 1.03,
        person.shoulder * 0.77,
        neck,
    )
    deep_hip, deep_chest = 0.118 * soft * size, 0.106 * soft**0.7 * size
    deep_waist = 0.088 * soft * size + person.belly * 0.6
    deep = (
        deep_hip * 0.85,
        deep_hip,
        deep_hip,
        deep_waist,
        deep_chest + person.chest,
        deep_chest * 0.85,
        deep_chest * 0.62,
        neck,
    )
    return profile(places, wide), profile(places, deep)


def trunk_hem(upper: Garment) -> float:
    """Where an upper ends along the trunk; coats go on beyond it."""
    return _CUTS[upper.kind].hem + (0.03 * (0.5 - upper.fit) if upper.kind != "coat" else 0)


def _trunk(body: Body) -> Part:
    upper, lower = body.outfit.upper, body.outfit.lower
    cut = _CUTS[upper.kind]
    hem = trunk_hem(upper)
    wide, deep = trunk_radii(body.person)
    over = hem <= _ALONG
    # Garments bridge hollows: cloth hangs straight from the chest instead of following the waist.
    hang = np.maximum(wide, np.minimum(wide.max() * 0.95, wide[int(0.12 * STEPS)])) - wide
    loose = {"t-shirt": 0.6, "shirt": 0.15, "sweater": 0.7, "hoodie": 1.0, "jacket": 1.0, "coat": 0.6}[upper.kind]
    # Thickness fades out at the collar, where garments end.
    thick = (cut.thick + _fit(upper)) * np.clip((1 - _ALONG) / 0.12, 0.25, 1)
    if upper.kind in ("jacket", "hoodie", "sweater"):
        thick = thick - 0.6 * cut.thick * np.clip(1 - (_ALONG - hem) / 0.07, 0, 1) * over
    below = 0.010 + 0.006 * (lower.kind != "jeans")
    extra = np.where(over, thick + loose * hang, below)
    length = np.linalg.norm(body.joints["collar"] - body.joints["crotch"]) / body.pixels
    radii = np.stack([wide + extra, deep + np.where(over, thick + 0.4 * loose * hang, below)], 1) * body.pixels
    surface = np.where(over, UPPER, LOWER).astype(np.uint8)
    return Part(
        "tube",
        "trunk",
        body.joints["crotch"],
        body.joints["collar"],
        body.frame,
        radii,
        surface,
        (-length, 0.0),
        0.03 * body.pixels,
    )


def _arms(body: Body) -> list[Part]:
    person, upper = body.person, body.outfit.upper
    cut = _CUTS[upper.kind]
    size = person.height / 1.72
    soft = person.build**0.6 * size
    upper_arm = profile((0, 0.2, 0.6, 1), (0.046, 0.051, 0.046, 0.038)) * soft
    fore_arm = profile((0, 0.3, 1), (0.038, 0.040, 0.027)) * soft
    sleeve = cut.sleeve + (0.06 * (upper.fit - 0.5) if upper.kind == "t-shirt" else 0)
    thick = cut.sleeve_thick + _fit(upper)
    parts = []
    for side in ("left", "right"):
        for role, start, end, radii, begin in (
            ("upper arm", "shoulder", "elbow", upper_arm, 0.0),
            ("forearm", "elbow", "wrist", fore_arm, 0.5),
        ):
            reach = begin + _ALONG / 2
            # Sleeves are sewn in flat at the shoulder.
            swell = thick * np.clip(0.35 + 4 * reach, 0, 1) + cut.cuff * np.clip((reach - sleeve + 0.12) / 0.12, 0, 1)
            dressed = np.where(reach < sleeve, radii + swell, radii)
            length = person.arm_ratio * person.height
            parts.append(
                capsule(
                    body,
                    role,
                    f"{start}_{side}",
                    f"{end}_{side}",
                    dressed,
                    np.where(reach < sleeve, UPPER, SKIN).astype(np.uint8),
                    (-begin * length, -(begin + 0.5) * length),
                    blend=0.035,
                )
            )
        hand = profile((0, 0.5, 1), (0.026, 0.036, 0.020)) * size
        parts.append(capsule(body, "hand", f"wrist_{side}", f"fingers_{side}", hand, SKIN))
    return parts


def _leg_cover(lower: Garment) -> tuple[float, np.ndarray, np.ndarray]:
    """How far a lower covers the leg (0 hip, 1 ankle); its least radius and slack along the leg, metres."""
    reach = np.concatenate([_ALONG, 1 + _ALONG]) / 2
    ease = 0.010 * (lower.fit - 0.5)
    if lower.kind == "jeans":
        return 0.97, np.full(2 * STEPS, 0.047 + ease), np.full(2 * STEPS, 0.008)
    if lower.kind == "trousers":
        return 0.95, np.interp(reach, (0, 0.5, 1), (0.088, 0.078, 0.078)) + ease, np.full(2 * STEPS, 0.014)
    if lower.kind == "shorts":
        return (
            0.44 + 0.04 * lower.fit,
            np.interp(reach, (0, 0.5), (0.088, 0.108)) + ease,
            np.full(2 * STEPS, 0.016),
        )
    return 0.0, np.zeros(2 * STEPS), np.zeros(2 * STEPS)


def _legs(body: Body) -> list[Part]:
    person, lower, footwear = body.person, body.outfit.lower, body.outfit.footwear
    size = person.height / 1.72
    soft = person.build**0.7 * size
    thigh = profile((0, 0.25, 0.7, 1), (0.088, 0.084, 0.066, 0.053)) * soft
    shin = profile((0, 0.3, 0.7, 1), (0.053, 0.057, 0.042, 0.034)) * soft
    covered, least, slack = _leg_cover(lower)
    hidden = max(0.46 if lower.kind == "skirt" else 0, 0.24 if body.outfit.upper.kind == "coat" else 0)
    length = person.leg_ratio * person.height
    parts = []
    for side in ("left", "right"):
        for role, start, end, radii, begin in (
            ("thigh", "hip", "knee", thigh, 0.0),
            ("shin", "knee", "ankle", shin, 0.5),
        ):
            reach = begin + _ALONG / 2
            half = slice(int(2 * begin) * STEPS, int(2 * begin + 1) * STEPS)
            cloth = reach < covered
            dressed = np.where(cloth, np.maximum(radii + slack[half], least[half] * size), radii)
            # What hangs freely hides the thighs; cutting them away keeps them from poking through.
            surface = np.where(hidden > reach, 0, np.where(cloth, LOWER, SKIN)).astype(np.uint8)
            if footwear.kind == "boots" and role == "shin":
                shaft = _ALONG > 0.38
                # Trousers are tucked into boots; the shaft is a little wider at its top.
                boot = np.maximum(radii + 0.016, 0.056 * size) + 0.010 * np.clip(1 - (_ALONG - 0.38) / 0.1, 0, 1)
                dressed, surface = (
                    np.where(shaft, boot, dressed),
                    np.where(shaft, FOOTWEAR, surface).astype(np.uint8),
                )
            parts.append(
                capsule(
                    body,
                    role,
                    f"{start}_{side}",
                    f"{end}_{side}",
                    dressed,
                    surface,
                    (-begin * length, -(begin + 0.5) * length),
                )
            )
        bulk = {"shoes": 0.000, "sneakers": 0.006, "boots": 0.006, "sandals": -0.005}[footwear.kind]
        foot = (profile((0, 0.35, 0.7, 1), (0.050, 0.052, 0.047, 0.038)) + bulk) * size
        parts.append(capsule(body, "foot", f"heel_{side}", f"toe_{side}", foot, FOOTWEAR, (0.0, 0.15 * size)))
    return parts


def _flare(body: Body, label: int) -> Part:
    """The free-hanging part of a coat (to mid-thigh) or a skirt (to about the knees)."""
    person, garment = body.person, body.outfit.upper if label == UPPER else body.outfit.lower
    wide, deep = trunk_radii(person)
    coat = label == UPPER
    # Coats end well above the hem of shorts and skirts, which would be hidden otherwise.
    reach = 0.60 + 0.12 * garment.fit if coat else 0.94 + 0.14 * garment.fit
    knees = (body.joints["knee_left"] + body.joints["knee_right"]) / 2
    # Skirts start just below the upper's hem, or they would cover it.
    start = WAIST if coat else trunk_hem(body.outfit.upper) + 0.01
    waist = body.joints["crotch"] + start * (body.joints["collar"] - body.joints["crotch"])
    hem = body.joints["pelvis"] + reach * (knees - body.joints["pelvis"])
    apart = body.joints["knee_left"] - body.joints["knee_right"]
    spread = abs(apart @ body.frame[2]) / body.pixels * 0.5 * reach
    at = int(start * STEPS)
    thick = _CUTS["coat"].thick + 0.004 if coat else 0.010
    open_to = person.hip * (1.12 if coat else 1.20) + 0.03 * garment.fit
    leg = 0.062 * person.build**0.7
    sides = (
        profile(
            (0, 0.45, 1),
            (max(open_to, abs(apart @ body.frame[0]) / body.pixels * 0.5 + leg), person.hip * 1.02, wide[at]),
        )
        + thick
    )
    fronts = (
        profile((0, 0.45, 1), (max(0.14, spread + leg + 0.01), max(deep[8], spread * 0.55 + 0.09), deep[at])) + thick
    )
    length = np.linalg.norm(waist - hem) / body.pixels
    top = -0.64 * np.linalg.norm(body.joints["collar"] - body.joints["crotch"]) / body.pixels
    return Part(
        "tube",
        "flare",
        hem,
        waist,
        body.frame,
        np.stack([sides, fronts], 1) * body.pixels,
        np.full(STEPS, label, np.uint8),
        (top - length, top),
        0.02 * body.pixels,
    )


def parts_of(body: Body) -> list[Part]:
    """All parts of a dressed person, in the order in which they melt into each other."""
    parts = [_trunk(body), *_arms(body), *_legs(body)]
    if body.outfit.lower.kind == "skirt":
        parts.append(_flare(body, LOWER))
    if body.outfit.upper.kind == "coat":
        parts.append(_flare(body, UPPER))
    return parts + head_of(body) + neckwear(body) + hair_of(body)
