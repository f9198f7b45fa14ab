"""Colours of skin, faces, hair and cloth, painted in each part's own coordinates."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc.figure import FACE, FOOTWEAR, HAIR, LOWER, SKIN, UPPER, Body
from dlcr.minicc.heads import head_radii
from dlcr.minicc.outfits import Garment
from dlcr.minicc.raster import Buffer, Part

WHITE, BLACK = np.float32([0.94, 0.94, 0.92]), np.float32([0.09, 0.09, 0.10])


@dataclass(frozen=True)
class Points:
    """The visible points of a person, N of them, in their parts' coordinates."""

    where: np.ndarray  # intp[N], flat index into the picture
    normal: np.ndarray  # float32[3, N], screen coordinates
    role: np.ndarray  # int8[N], index into ROLES
    place: np.ndarray  # float32[N], 0 to 1 along the part
    along: np.ndarray  # float32[N], metres along the body or limb, upwards
    angle: np.ndarray  # float32[N], around the part, 0 at its front, in (-pi, pi]
    around: np.ndarray  # float32[N], metres around the part
    surface: np.ndarray  # uint8[N], label


ROLES = (
    "trunk",
    "upper arm",
    "forearm",
    "hand",
    "thigh",
    "shin",
    "foot",
    "flare",
    "head",
    "ear",
    "neck",
    "collar",
    "hood",
    "hair",
)


def role(name: str) -> int:
    """The number of a role in `Points.role`."""
    return ROLES.index(name)


def _side_and_front(part: Part) -> tuple[float, ...]:
    """Screen vectors whose products with an offset from the axis have the angle of the surface's normal."""
    if part.shape == "capsule":
        return *part.frame[0], *part.frame[2]
    wide, deep = part.radii.max(0) if part.shape == "tube" else part.radii[[0, 2]]
    return *(part.frame[0] / wide**2), *(part.frame[2] / deep**2)


def gather(buffer: Buffer, parts: list[Part], body: Body) -> Points:
    """The points of a buffer that belong to the person."""
    where = np.flatnonzero(buffer.part.reshape(-1) >= 0)
    index = buffer.part.reshape(-1)[where].astype(np.intp)
    normal = np.take(buffer.normal.reshape(3, -1), where, axis=1)
    normal /= np.sqrt((normal * normal).sum(0)) + np.float32(1e-6)
    place = buffer.place.reshape(-1)[where]
    rows = [
        (
            *(part.along[0], part.along[1] - part.along[0]),
            *(ROLES.index(part.role), np.max(part.radii) / body.pixels),
            *_side_and_front(part),
            *part.start,
            *(part.end - part.start),
        )
        for part in parts
    ]
    columns = np.ascontiguousarray(np.array(rows, np.float32).T)
    start, length, roles, radius, *rest = np.take(columns, index, axis=1)
    sx, sy, sz, fx, fy, fz, px, py, pz, dx, dy, dz = rest
    # Angles come from positions: normals are blended where parts meet, which would draw seams there.
    width = buffer.depth.shape[1]
    x = (where % width + np.float32(0.5)).astype(np.float32) - px - place * dx
    y = (where // width + np.float32(0.5)).astype(np.float32) - py - place * dy
    z = buffer.depth.reshape(-1)[where] - pz - place * dz
    angle = np.arctan2(sx * x + sy * y + sz * z, fx * x + fy * y + fz * z)
    surface = buffer.surface.reshape(-1)[where].copy()
    points = Points(where, normal, roles.astype(np.int8), place, start + place * length, angle, angle * radius, surface)
    _cut_necklines(points, body)
    return points


def _cut_necklines(points: Points, body: Body) -> None:
    """Skin that shows between a garment's edge and the neck; open footwear; the bald back of a head."""
    kind, surface = body.outfit.upper.kind, points.surface
    away = np.abs(points.angle)
    if kind != "sweater":
        edge = {"t-shirt": 0.90, "shirt": 0.84, "hoodie": 0.94, "jacket": 0.96, "coat": 0.86}[kind]
        steep = 0.10 if kind in ("t-shirt", "hoodie", "jacket") else 0.22
        open_ = (points.role == role("trunk")) & (points.place > edge + steep * away) & (away < 1.5)
        surface[open_] = SKIN
    if kind in ("shirt", "coat"):
        surface[(points.role == role("collar")) & (away < 0.45)] = SKIN
    if body.outfit.footwear.kind == "sandals":
        foot = points.role == role("foot")
        strap = (np.abs(points.place - 0.68) < 0.15) | (np.abs(points.place - 0.20) < 0.14)
        surface[foot & ~strap & (points.normal[1] < 0.62)] = SKIN
    surface[(points.role == role("head")) & (away > 1.9)] = SKIN


def _waves(points: Points, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Folds of cloth: smooth, between -1 and 1, float32[n]."""
    shift = np.float32((seed % 997) * 0.37)
    v, w = points.along[chosen], points.around[chosen]
    bend = np.sin(11 * v + shift) * np.float32(1.4)
    return 0.6 * np.sin(30 * w + 9 * v + bend + shift) + 0.4 * np.sin(41 * v - 23 * w + 1.7 * shift)


def _contrast(rgb: np.ndarray) -> np.ndarray:
    """The second colour of a pattern: dark on light cloth, light on dark cloth."""
    return BLACK * 1.5 if rgb @ np.float32([0.30, 0.59, 0.11]) > 0.50 else WHITE


def _pattern(points: Points, chosen: np.ndarray, garment: Garment, rgb: np.ndarray) -> np.ndarray:
    """How much of the second colour shows, float32[n] in [0, 1]."""
    shift = (garment.seed % 89) / 89
    v = points.along[chosen] / np.float32(0.118) + np.float32(shift)
    rows = ((v - np.floor(v)) < 0.34).astype(np.float32)
    if garment.pattern == "striped":
        return rows * np.float32(0.95)
    w = points.around[chosen] / np.float32(0.125) + np.float32(0.32)
    columns = ((w - np.floor(w)) < 0.34).astype(np.float32)
    return (rows + columns) * np.float32(0.5) * np.float32(0.95)


def _lay(colour: np.ndarray, amount: np.ndarray, rgb: np.ndarray) -> None:
    """Blends rgb into colour float32[n, 3] in place; amount is float32[n] in [0, 1] or a mask."""
    colour += amount[:, None].astype(np.float32) * (np.asarray(rgb, np.float32) - colour)


def _upper(points: Points, chosen: np.ndarray, body: Body) -> np.ndarray:
    garment = body.outfit.upper
    kind, rgb = garment.kind, np.float32(garment.rgb)
    colour = np.broadcast_to(rgb, (len(chosen), 3)).copy()
    roles, place, angle = points.role[chosen], points.place[chosen], points.angle[chosen]
    if garment.pattern != "plain":
        _lay(colour, _pattern(points, chosen, garment, rgb), _contrast(rgb))
    depth = {"t-shirt": 0.07, "shirt": 0.10, "sweater": 0.05, "hoodie": 0.08, "jacket": 0.10, "coat": 0.05}[kind]
    colour *= (1 + np.float32(depth) * _waves(points, chosen, garment.seed))[:, None]
    trunk, flare = roles == role("trunk"), roles == role("flare")
    wide = points.around[chosen]
    front = (trunk | flare) & (np.abs(angle) < 1.2)
    bright = rgb.mean() > 0.45
    line = rgb * 0.45 if bright else rgb * 0.6 + 0.28
    if kind == "shirt":
        _lay(colour, (front & (np.abs(wide) < 0.015)) * 0.85, line)
        _lay(colour, (roles == role("collar")) * 0.5, rgb * 0.5 + 0.5)
        _lay(colour, ((roles == role("forearm")) & (place > 0.78)) * 0.3, line)
    elif kind == "sweater":
        ribs = (np.sin(wide * 190) > 0.1) * 0.25
        edge = (trunk & (place < 0.21)) | ((roles == role("forearm")) & (place > 0.72)) | (roles == role("collar"))
        _lay(colour, ribs * edge, rgb * 0.5)
        _lay(colour, (np.sin(points.along[chosen] * 170) > 0.2) * ~edge * 0.12, rgb * 0.45)
    elif kind == "hoodie":
        pocket = front & (place > 0.22) & (place < 0.40) & (np.abs(wide) < 0.13)
        rim = pocket & ((place > 0.375) | (np.abs(wide) > 0.105))
        _lay(colour, pocket * 0.16, rgb * 0.4)
        _lay(colour, rim * 0.55, line)
        strings = front & (place > 0.68) & (place < 0.92) & (np.abs(np.abs(wide) - 0.042) < 0.011)
        _lay(colour, strings * 0.9, BLACK if bright else WHITE)
        _lay(colour, ((roles == role("hood")) & (points.normal[1][chosen] < -0.8)) * 0.3, rgb * 0.45)
    elif kind == "jacket":
        cuffs = (trunk & (place < 0.30)) | ((roles == role("forearm")) & (place > 0.74)) | (roles == role("collar"))
        _lay(colour, cuffs * 0.92, BLACK * 1.6 if rgb.mean() > 0.2 else np.float32([0.42, 0.42, 0.44]))
        _lay(colour, front & (np.abs(wide) < 0.017), np.float32([0.80, 0.80, 0.82]))
    elif kind == "coat":
        lapel = front & (place > 0.58) & trunk & (np.abs(np.abs(wide) - 0.36 * (place - 0.58) - 0.010) < 0.020)
        _lay(colour, lapel * 0.6, line)
        _lay(colour, (front & (np.abs(wide - 0.01) < 0.012) & (place < 0.62)) * 0.55, line)
        _lay(
            colour,
            (trunk & (np.abs(place - 0.355) < 0.035)) * 0.75,
            rgb * 0.4 if bright else rgb * 0.5 + 0.16,
        )
    return colour


def _lower(points: Points, chosen: np.ndarray, body: Body) -> np.ndarray:
    garment = body.outfit.lower
    kind, rgb = garment.kind, np.float32(garment.rgb)
    roles, place, angle = points.role[chosen], points.place[chosen], points.angle[chosen]
    along, wide = points.along[chosen], points.around[chosen]
    if kind == "jeans":
        # Denim is never as saturated as other cloth.
        rgb = rgb * np.float32(0.72) + np.float32([0.050, 0.065, 0.085])
    colour = np.broadcast_to(rgb, (len(chosen), 3)).copy()
    bright = rgb.mean() > 0.45
    depth = {"jeans": 0.07, "trousers": 0.04, "shorts": 0.06, "skirt": 0.03}[kind]
    colour *= (1 + np.float32(depth) * _waves(points, chosen, garment.seed))[:, None]
    legs = (roles == role("thigh")) | (roles == role("shin"))
    if kind == "jeans":
        faded = rgb * 0.55 + np.float32([0.34, 0.38, 0.42])
        thigh = (roles == role("thigh")) & (np.abs(angle) < 1.0)
        fade = thigh * np.clip(1 - np.abs(place - 0.5) / 0.5, 0, 1) * np.clip(1.2 - np.abs(angle) * 1.3, 0, 1)
        fade += (roles == role("shin")) * np.clip(0.5 - np.abs(place - 0.35), 0, 1) * np.clip(1 - np.abs(angle), 0, 1)
        _lay(colour, np.clip(fade, 0, 1) * 0.75, faded)
        twill = np.sin(along * 260 + wide * 260) > 0.3
        _lay(colour, twill * 0.16, faded)
        seam = legs & (np.abs(np.abs(angle) - 1.57) < 0.16)
        _lay(colour, seam * 0.55, np.float32([0.86, 0.68, 0.38]))
        _lay(
            colour,
            ((roles == role("shin")) & (place > 0.86)) * 0.8,
            rgb * 0.4 + np.float32([0.48, 0.50, 0.52]),
        )
    elif kind == "trousers":
        crease = legs & ((np.abs(angle) < 0.11) | (np.abs(angle) > 3.0))
        _lay(colour, crease * 0.5, rgb * 0.6 if bright else rgb * 0.7 + 0.20)
    elif kind == "shorts":
        _lay(colour, (legs & (np.abs(np.abs(angle) - 1.57) < 0.2)) * 0.6, WHITE if not bright else BLACK * 2)
    else:
        pleats = np.sin(angle * 11) * np.clip(1.15 - place, 0, 1)
        colour *= (1 + np.float32(0.20) * pleats.astype(np.float32))[:, None]
    belt = (roles == role("trunk")) & (place > 0.275)
    _lay(
        colour,
        belt * 0.9,
        np.float32([0.16, 0.11, 0.08]) if rgb.mean() > 0.16 else np.float32([0.46, 0.33, 0.22]),
    )
    return colour


def _footwear(points: Points, chosen: np.ndarray, body: Body) -> np.ndarray:
    garment = body.outfit.footwear
    kind, rgb = garment.kind, np.float32(garment.rgb)
    roles, place, down = points.role[chosen], points.place[chosen], points.normal[1][chosen]
    colour = np.broadcast_to(rgb, (len(chosen), 3)).copy()
    foot = roles == role("foot")
    bright = rgb.mean() > 0.6
    if kind == "sneakers":
        stripe = foot & (np.abs(place - 0.48) < 0.07) & (down < 0.2)
        _lay(colour, stripe, np.float32([0.25, 0.25, 0.28]) if bright else WHITE)
        _lay(colour, foot & (down > 0.25), np.float32([0.80, 0.62, 0.42]) if bright else WHITE)
        _lay(
            colour,
            (foot & (place > 0.88)) * 0.8,
            rgb * 0.4 + 0.56 if not bright else np.float32([0.7, 0.7, 0.7]),
        )
    elif kind == "shoes":
        _lay(colour, foot & (down > 0.72), BLACK)
        _lay(colour, (foot & (down < -0.55) & (place > 0.5)) * 0.35, rgb * 0.5 + 0.5)
    elif kind == "boots":
        _lay(colour, foot & (down > 0.55), BLACK)
        top = (roles == role("shin")) & (place < 0.46)
        _lay(colour, top * 0.45, rgb * 0.4 if bright else rgb * 0.6 + 0.2)
    else:
        _lay(colour, foot & (down > 0.62), np.float32([0.50, 0.36, 0.22]))
    return colour


def _skin(points: Points, chosen: np.ndarray, body: Body) -> np.ndarray:
    rgb = np.float32(body.person.skin)
    return np.broadcast_to(rgb, (len(chosen), 3)) * (1 + 0.03 * _waves(points, chosen, 7))[:, None]


def _face(points: Points, chosen: np.ndarray, body: Body) -> np.ndarray:
    """Eyes, brows, nose, mouth, beard and glasses in the head's coordinates, x and y in [-1, 1]."""
    person = body.person
    unit = (body.head_frame.astype(np.float32) @ points.normal[:, chosen]) * head_radii(person).astype(np.float32)[
        :, None
    ]
    x, y, z = unit / (np.sqrt((unit * unit).sum(0)) + np.float32(1e-6))
    skin = np.float32(person.skin)
    colour = np.broadcast_to(skin, (len(chosen), 3)).copy()
    ahead = z > 0
    side = np.abs(x)
    _lay(
        colour,
        np.exp(-((side - 0.45) ** 2 + (y + 0.28) ** 2) / 0.05) * ahead * 0.25,
        skin * [1.08, 0.72, 0.68],
    )
    _lay(colour, np.exp(-((x / 0.16) ** 2 + ((y + 0.05) / 0.26) ** 2)) * ahead * 0.35, skin * 0.55 + 0.45)
    _lay(colour, np.exp(-((x / 0.22) ** 2 + ((y + 0.33) / 0.07) ** 2)) * ahead * 0.55, skin * 0.45)
    if person.beard > 0:
        jaw = np.clip((-0.22 - y + 0.35 * np.clip(side - 0.35, 0, 1)) * 7, 0, 1) * (z > -0.25)
        if person.beard < 0.5:
            jaw = jaw * (side < 0.42)
        lips = np.exp(-((x / 0.24) ** 2 + ((y + 0.58) / 0.07) ** 2))
        _lay(colour, np.clip(jaw - lips, 0, 1) * (0.55 + 0.4 * person.beard), np.float32(person.hair) * 0.85)
    _lay(
        colour,
        np.exp(-((x / 0.30) ** 2 + ((y + 0.56) / 0.075) ** 2)) * ahead * 0.75,
        skin * [0.72, 0.36, 0.36],
    )
    _lay(
        colour,
        np.exp(-(((side - 0.38) / 0.19) ** 4 + ((y - 0.33) / 0.08) ** 4)) * ahead * 0.7,
        np.float32(person.hair) * 0.6,
    )
    eye = np.exp(-(((side - 0.38) / 0.20) ** 4 + ((y - 0.08) / 0.13) ** 4)) * ahead
    _lay(colour, eye * 0.6, WHITE * 0.85)
    _lay(colour, np.exp(-(((side - 0.37) / 0.12) ** 4 + ((y - 0.09) / 0.14) ** 4)) * ahead * 0.95, BLACK)
    if person.glasses:
        box = np.maximum(np.abs(side - 0.40) / 0.34, np.abs(y - 0.06) / 0.26)
        rim = ((box > 0.72) & (box < 1.05)) | ((np.abs(y - 0.14) < 0.07) & ((side < 0.12) | (side > 0.7)))
        _lay(colour, rim * (z > -0.1) * 0.85, BLACK)
    if person.hair_style == "bald":
        _lay(colour, ((y > 0.25) & (side > 0.8)) * 0.25, np.float32(person.hair))
    return colour


def _hair(points: Points, chosen: np.ndarray, body: Body) -> np.ndarray:
    rgb = np.float32(body.person.hair)
    strands = np.sin(points.angle[chosen] * 17 + 3 * np.sin(points.place[chosen] * 6))
    if body.person.hair_style == "afro":
        strands = np.sin(points.angle[chosen] * 23) * np.sin(points.place[chosen] * 45)
    gloss = np.exp(-(((points.place[chosen] - 0.22) / 0.10) ** 2)) * 0.22
    return rgb * (1 + 0.16 * strands + gloss)[:, None] + (0.03 * gloss)[:, None]


_PAINTERS = {SKIN: _skin, FACE: _face, HAIR: _hair, UPPER: _upper, LOWER: _lower, FOOTWEAR: _footwear}


def paint(points: Points, body: Body) -> np.ndarray:
    """Colours before light, float32[N, 3]."""
    colours = np.zeros((len(points.where), 3), np.float32)
    for label, painter in _PAINTERS.items():
        chosen = np.flatnonzero(points.surface == label)
        if len(chosen):
            colours[chosen] = painter(points, chosen, body)
    return colours
