"""Swept bodies into a depth buffer: smooth capsules, elliptical tubes and ellipsoids, seen orthographically.

Screen coordinates: x to the right, y down, z towards the viewer, all in pixels.
"""

from dataclasses import dataclass

import numpy as np

STEPS = 64
"""Resolution of every profile along a part's axis."""


_PLACES = np.linspace(0, 1, STEPS)
# Row i averages 7 neighbours of step i; beyond the ends the curve goes on flat.
_SMOOTH = np.zeros((STEPS, STEPS))
for _shift in range(-3, 4):
    _SMOOTH[np.arange(STEPS), np.clip(np.arange(STEPS) + _shift, 0, STEPS - 1)] += 1 / 7


@dataclass(frozen=True)
class Part:
    """One part of a body. Tubes and capsules run from `start` to `end`; a ball has its centre at `start`."""

    shape: str  # "capsule" | "tube" | "ball"
    role: str
    start: np.ndarray  # float[3]
    end: np.ndarray  # float[3]
    frame: np.ndarray  # float[3, 3]: rows are the part's sidewards, upwards and forwards unit vectors
    radii: np.ndarray  # float[STEPS] of a capsule; float[STEPS, 2] (sidewards, forwards) of a tube; float[3] of a ball
    surface: np.ndarray  # uint8[STEPS] label along the axis; 0 cuts the part away
    along: tuple[float, float] = (0.0, 1.0)  # pattern coordinate at start and end, in metres
    blend: float = 1.5  # pixels of depth over which it melts into what is there
    cut: tuple[float, float, float, float] | None = None  # of hair: see `_hairline`


@dataclass(frozen=True)
class Buffer:
    """What is visible at each pixel."""

    depth: np.ndarray  # float32[H, W], -inf where nothing is
    normal: np.ndarray  # float32[3, H, W]
    place: np.ndarray  # float32[H, W], 0 to 1 along the part's axis
    part: np.ndarray  # int16[H, W], index of the part, -1 where nothing is
    surface: np.ndarray  # uint8[H, W]


def new_buffer(height: int, width: int) -> Buffer:
    """An empty buffer."""
    return Buffer(
        depth=np.full((height, width), -np.inf, np.float32),
        normal=np.zeros((3, height, width), np.float32),
        place=np.zeros((height, width), np.float32),
        part=np.full((height, width), -1, np.int16),
        surface=np.zeros((height, width), np.uint8),
    )


def profile(places: tuple[float, ...], values: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Smooth curve through values at places in [0, 1], float64[STEPS]."""
    return _SMOOTH @ np.interp(_PLACES, places, values)


def _window(low: np.ndarray, high: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns that a box of screen coordinates touches, None if it is outside."""
    left, top = (max(0, int(np.floor(value))) for value in low[:2])
    right, bottom = int(np.ceil(high[0])) + 1, int(np.ceil(high[1])) + 1
    right, bottom = min(right, shape[1]), min(bottom, shape[0])
    return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


def _grid(window: tuple[slice, slice], origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = window
    x = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - origin[0])
    y = np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - origin[1])
    return x[None, :], y[:, None]


def _capsule(part: Part, shape: tuple[int, int]):
    reach = part.radii.max() + 1
    window = _window(np.minimum(part.start, part.end) - reach, np.maximum(part.start, part.end) + reach, shape)
    if window is None:
        return None
    x, y = _grid(window, part.start)
    dx, dy, dz = (np.float32(value) for value in part.end - part.start)
    # Axes that point at the viewer are short on the screen; the floor keeps the division sane.
    place = np.clip((x * dx + y * dy) / np.float32(max(dx * dx + dy * dy, 1e-3)), 0, 1)
    step = (place * np.float32(STEPS - 1) + np.float32(0.5)).astype(np.intp)
    radius = part.radii.astype(np.float32).take(step)
    off_x, off_y = x - place * dx, y - place * dy
    square = radius * radius - off_x * off_x - off_y * off_y
    height = np.sqrt(np.maximum(square, 0))
    depth = np.float32(part.start[2]) + place * dz + height
    inverse = 1 / radius
    surface = part.surface.take(step)
    return (
        window,
        (square > 0) & (surface > 0),
        depth,
        place,
        (off_x * inverse, off_y * inverse, height * inverse),
        surface,
    )


def _tube(part: Part, shape: tuple[int, int]):
    axis = part.end - part.start
    length = np.linalg.norm(axis)
    axis = axis / length
    reach = part.radii.max()
    window = _window(np.minimum(part.start, part.end) - reach, np.maximum(part.start, part.end) + reach, shape)
    if window is None:
        return None
    x, y = _grid(window, part.start)
    flat = np.float32(max(axis[0] ** 2 + axis[1] ** 2, 1e-3) * length)
    raw = (x * np.float32(axis[0]) + y * np.float32(axis[1])) / flat
    place = np.clip(raw, 0, 1)
    step = (place * np.float32(STEPS - 1) + np.float32(0.5)).astype(np.intp)
    wide, deep = (part.radii[:, column].astype(np.float32).take(step) for column in (0, 1))
    side, front = part.frame[0], part.frame[2]
    # On the ray through a pixel, depth z above the axis: sidewards = a + side_z z, forwards = b + front_z z.
    off_x, off_y = x - place * np.float32(axis[0] * length), y - place * np.float32(axis[1] * length)
    a, b = (off_x * np.float32(e[0]) + off_y * np.float32(e[1]) for e in (side, front))
    side_z, front_z = np.float32(side[2]), np.float32(front[2])
    iw, id_ = 1 / (wide * wide), 1 / (deep * deep)
    qa = side_z * side_z * iw + front_z * front_z * id_ + np.float32(1e-9)
    qb = a * side_z * iw + b * front_z * id_
    square = qb * qb - qa * (a * a * iw + b * b * id_ - 1)
    height = (np.sqrt(np.maximum(square, 0)) - qb) / qa
    depth = np.float32(part.start[2]) + place * np.float32(axis[2] * length) + height
    gs, gf = (a + side_z * height) * iw, (b + front_z * height) * id_
    slope = np.diff(part.radii[:, 0], append=part.radii[-1, 0]) * (STEPS - 1) / length
    ga = -np.clip(slope, -1, 1).astype(np.float32).take(step) * np.sqrt(gs * gs + gf * gf)
    normal = [gs * np.float32(side[i]) + gf * np.float32(front[i]) + ga * np.float32(axis[i]) for i in range(3)]
    scale = 1 / np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2 + np.float32(1e-12))
    surface = part.surface.take(step)
    inside = (square > 0) & (raw >= 0) & (raw <= 1) & (surface > 0)
    return window, inside, depth, place, tuple(component * scale for component in normal), surface


def _hairline(side, up, front, cut: tuple[float, float, float, float]):
    """Where hair grows: above a line that rises from `back` to `brow` between two forward positions."""
    back, brow, begin, end = (np.float32(value) for value in cut)
    ramp = np.clip((front - begin) / (end - begin), 0, 1)
    # The line sinks at the temples, so that the forehead is framed.
    return up > back + (brow - back) * ramp * ramp * (3 - 2 * ramp) - np.float32(0.25) * side * side * ramp


def _ball(part: Part, shape: tuple[int, int]):
    inverse = part.frame / part.radii[:, None]  # screen offset -> unit sphere
    extent = np.sqrt(((part.frame * part.radii[:, None]) ** 2).sum(0))
    window = _window(part.start - extent - 1, part.start + extent + 1, shape)
    if window is None:
        return None
    x, y = _grid(window, part.start)
    flat = [np.float32(row[0]) * x + np.float32(row[1]) * y for row in inverse]
    ray = inverse[:, 2].astype(np.float32)
    qa = np.float32((ray * ray).sum())
    qb = flat[0] * ray[0] + flat[1] * ray[1] + flat[2] * ray[2]
    square = qb * qb - qa * (flat[0] ** 2 + flat[1] ** 2 + flat[2] ** 2 - 1)
    root = np.sqrt(np.maximum(square, 0))
    height = (root - qb) / qa
    unit = [flat[i] + ray[i] * height for i in range(3)]
    inside = square > 0
    if part.cut is not None:
        near = _hairline(*unit, part.cut)
        # Where the hairline opens the shell, its far side may show beside the head.
        height = np.where(near, height, (-root - qb) / qa)
        unit = [flat[i] + ray[i] * height for i in range(3)]
        inside &= near | _hairline(*unit, part.cut)
    columns = inverse.astype(np.float32)
    normal = [sum(unit[i] * columns[i, j] for i in range(3)) for j in range(3)]
    scale = 1 / np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2 + np.float32(1e-12))
    surface = np.full(square.shape, part.surface[0], np.uint8)
    depth = np.float32(part.start[2]) + height
    return window, inside, depth, (1 - unit[1]) / 2, tuple(component * scale for component in normal), surface


_SHAPES = {"capsule": _capsule, "tube": _tube, "ball": _ball}


def draw(buffer: Buffer, part: Part, index: int) -> None:
    """Adds a part to the buffer; where depths are close, the normals of both melt into each other."""
    found = _SHAPES[part.shape](part, buffer.depth.shape)
    if found is None:
        return
    window, inside, depth, place, normal, surface = found
    behind = buffer.depth[window]
    weight = np.clip((depth - behind) * np.float32(0.5 / part.blend) + np.float32(0.5), 0, 1) * inside
    wins = weight > 0.5
    for channel, component in enumerate(normal):
        there = buffer.normal[channel][window]
        there += weight * (component - there)
    np.copyto(behind, depth, where=wins)
    np.copyto(buffer.place[window], place, where=wins)
    np.copyto(buffer.part[window], np.int16(index), where=wins)
    np.copyto(buffer.surface[window], surface, where=wins)
