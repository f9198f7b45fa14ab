"""Heads: face, ears and hair; and what garments put around the neck."""

import numpy as np

from dlcr.minicc.figure import FACE, HAIR, SKIN, UPPER, Body, ball, capsule
from dlcr.minicc.people import Person
from dlcr.minicc.raster import STEPS, Part, profile


def neckwear(body: Body) -> list[Part]:
    """Collars and hoods, which tell uppers apart from behind as well."""
    kind, person = body.outfit.upper.kind, body.person
    _, up, front = body.frame
    collar, metre = body.joints["collar"], body.pixels
    size = person.height / 1.72
    if kind == "hoodie":
        centre = collar + (-0.055 * front + 0.012 * up) * metre * size
        return [ball(body, "hood", centre, (0.125 * size, 0.072 * size, 0.095 * size), UPPER, head=False)]
    ring = {
        "sweater": (0.072, 0.060),
        "shirt": (0.074, 0.030),
        "jacket": (0.088, 0.042),
        "coat": (0.096, 0.040),
    }.get(kind)
    if ring is None:
        return []
    radius, height = ring[0] * size, ring[1] * size
    # Sweaters have a roll neck, closed all round; the others stand open at the front (painted).
    radii = np.stack([profile((0, 1), (radius * 1.15, radius)), profile((0, 1), (radius * 1.1, radius * 0.95))], 1)
    base = collar - 0.012 * up * metre
    return [
        Part(
            "tube",
            "collar",
            base,
            base + up * height * 1.4 * metre,
            body.frame,
            radii * metre,
            np.full(STEPS, UPPER, np.uint8),
            (0.0, height),
            0.012 * metre,
        )
    ]


_HAIRLINES = {
    "short": (-0.60, 0.42, -0.35, 0.62),
    "bob": (-1.5, 0.44, 0.10, 0.52),
    "long": (-1.5, 0.44, 0.12, 0.52),
    "ponytail": (-0.45, 0.46, -0.45, 0.55),
    "bun": (-0.45, 0.46, -0.45, 0.55),
    "afro": (-0.75, 0.42, 0.20, 0.70),
}


def head_radii(person: Person) -> np.ndarray:
    """Half width, half height and half depth of the head, metres."""
    tall = person.head * person.height / 2
    return np.array([tall * person.face_width, tall, tall * 0.92])


def hair_of(body: Body) -> list[Part]:
    person, style = body.person, body.person.hair_style
    if style == "bald":
        return []
    radii, metre, centre = head_radii(person), body.pixels, body.joints["head"]
    _, up, front = body.head_frame * metre
    back, brow, begin, end = _HAIRLINES[style]
    cut = (back, brow + person.hairline, begin, end)
    # Least and additional thickness; thick hair with a high line at the sides would look like a hat.
    least, more = {
        "short": (0.04, 0.06),
        "bob": (0.14, 0.12),
        "long": (0.10, 0.10),
        "ponytail": (0.03, 0.04),
        "bun": (0.03, 0.04),
        "afro": (0.30, 0.25),
    }[style]
    swell = 1 + least + more * person.hair_volume
    tall = radii * np.array([swell, 1 + 0.5 * (swell - 1), swell])
    place = centre - 0.012 * front + 0.012 * up
    if style == "bob":
        tall, place = tall * np.array([1, 1.10, 1]), place - 0.022 * up
    if style == "afro":
        tall, place = radii[1] * swell * np.array([0.95, 0.92, 0.95]), place + 0.022 * up - 0.02 * front
    parts = [ball(body, "hair", place, tall, HAIR, cut=cut)]
    if style == "long":
        fall = np.stack(
            [
                profile((0, 0.4, 1), (radii[0] * swell, radii[0] * 1.15, 0.07)),
                profile((0, 0.4, 1), (radii[2] * 0.55, 0.055, 0.045)),
            ],
            1,
        )
        root = centre - 0.55 * radii[2] * front + 0.2 * radii[1] * up
        # Tubes run upwards like the trunk, so the end of the hair comes first.
        tip = root - (0.26 + 0.16 * person.hair_volume) * up - 0.045 * front
        parts.append(
            Part(
                "tube",
                "hair",
                tip,
                root,
                body.head_frame,
                fall[::-1] * metre,
                np.full(STEPS, HAIR, np.uint8),
                blend=0.01 * metre,
            )
        )
    if style == "ponytail":
        root = centre - 1.02 * radii[2] * front + 0.35 * radii[1] * up
        tip = root - (0.20 + 0.14 * person.hair_volume) * up - 0.07 * front
        radii_tail = profile((0, 0.3, 1), (0.028, 0.042, 0.018)) * metre
        parts.append(
            Part(
                "capsule",
                "hair",
                root,
                tip,
                body.head_frame,
                radii_tail,
                np.full(STEPS, HAIR, np.uint8),
                blend=0.01 * metre,
            )
        )
    if style == "bun":
        size = 0.050 + 0.022 * person.hair_volume
        parts.append(ball(body, "hair", centre + 1.02 * radii[1] * up - 0.55 * radii[2] * front, (size,) * 3, HAIR))
    return parts


def head_of(body: Body) -> list[Part]:
    person = body.person
    size = person.height / 1.72
    radii = head_radii(person)
    neck = profile((0, 1), (0.054, 0.047)) * size * person.build**0.3
    side, up, _ = body.head_frame * body.pixels
    bare = person.hair_style in ("bald", "short", "ponytail", "bun")
    ears = [
        ball(
            body,
            "ear",
            body.joints["head"] + sign * radii[0] * 0.98 * side - 0.04 * radii[1] * up,
            (0.014, 0.030, 0.020),
            SKIN,
        )
        for sign in (-1, 1)
        if bare
    ]
    return [
        capsule(body, "neck", "collar", "head", neck, SKIN),
        ball(body, "head", body.joints["head"], radii, FACE),
        *ears,
    ]
