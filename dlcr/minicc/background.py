"""What is behind people and, sometimes, in front of them: walls, grounds, shadows, occluders."""

import functools

import numpy as np

from dlcr.minicc.cameras import Camera
from dlcr.minicc.scenes import View
from dlcr.minicc.seeds import generator

_LATTICE = 32


@functools.lru_cache(maxsize=256)
def _lattice(seed: int) -> np.ndarray:
    table = generator("lattice", seed).uniform(0, 1, (_LATTICE, _LATTICE)).astype(np.float32)
    table.setflags(write=False)
    return table


def _noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Smooth noise in [0, 1] with features of size 1."""
    table = _lattice(seed)
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    fx, fy = (x - column).astype(np.float32), (y - row).astype(np.float32)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    left, right, top, bottom = (place % _LATTICE for place in (column, column + 1, row, row + 1))
    upper = table[top, left] * (1 - fx) + table[top, right] * fx
    lower = table[bottom, left] * (1 - fx) + table[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def _frac(values: np.ndarray) -> np.ndarray:
    return values - np.floor(values)


def _brick(x, y, rgb, seed):
    row = np.floor(y * 18)
    joint = (_frac(y * 18) < 0.18) | (_frac(x * 8 + 0.5 * (row % 2)) < 0.10)
    each = _noise(np.floor(x * 8 + 0.5 * (row % 2)) * 1.7, row * 1.3, seed)
    return (
        (rgb * np.float32([1.12, 0.86, 0.78]))
        * (0.78 + 0.40 * each)[..., None]
        * np.where(joint, np.float32(0.80), np.float32(1))[..., None]
    )


def _plaster(x, y, rgb, seed):
    stain = _noise(x * 5, y * 3, seed) * 0.7 + _noise(x * 23, y * 23, seed + 1) * 0.3
    skirting = np.where(_frac(x * 0.9) < 0.03, np.float32(0.75), np.float32(1))
    return rgb * (0.82 + 0.32 * stain)[..., None] * skirting[..., None]


def _windows(x, y, rgb, seed):
    cell_x, cell_y = x * 2.6, y * 2.3 + 0.2
    glass = (np.abs(_frac(cell_x) - 0.5) < 0.32) & (np.abs(_frac(cell_y) - 0.5) < 0.34)
    pane = 0.28 + 0.45 * _noise(np.floor(cell_x) * 1.37 + 0.3 * y, np.floor(cell_y) * 1.7 + 2 * x, seed)
    cross = (np.abs(_frac(cell_x) - 0.5) < 0.025) & glass
    wall = rgb * (0.9 + 0.15 * _noise(x * 9, y * 9, seed + 1))[..., None]
    shown = np.where(glass[..., None], pane[..., None] * np.float32([0.80, 0.92, 1.05]), wall)
    return np.where(cross[..., None], rgb * 0.7, shown)


def _foliage(x, y, rgb, seed):
    leaves = 0.5 * _noise(x * 7, y * 7, seed) + 0.5 * _noise(x * 19, y * 19, seed + 1)
    sky = np.clip((_noise(x * 4, y * 0 + 3, seed + 2) * 0.35 - y) * 9, 0, 1)[..., None]
    green = rgb * (0.35 + 1.25 * leaves)[..., None] + (0.06 * leaves)[..., None]
    return green * (1 - sky) + np.float32([0.72, 0.80, 0.90]) * sky


def _panels(x, y, rgb, seed):
    gap = (_frac(x * 1.7) < 0.03) | (_frac(y * 1.4 + 0.3) < 0.025)
    each = _noise(np.floor(x * 1.7) * 1.31, np.floor(y * 1.4 + 0.3) * 1.77, seed)
    return rgb * (0.80 + 0.35 * each)[..., None] * np.where(gap, np.float32(0.6), np.float32(1))[..., None]


def _street(x, y, rgb, seed):
    roof = 0.12 + 0.35 * _noise(np.floor(x * 1.8) * 1.9, x * 0, seed)
    house = rgb * (0.55 + 0.6 * _noise(np.floor(x * 1.8) * 1.1, x * 0 + 5, seed + 1))[..., None]
    lit = (np.abs(_frac(x * 9) - 0.5) < 0.24) & (np.abs(_frac(y * 11) - 0.5) < 0.28)
    house = house * np.where(lit, np.float32(0.62), np.float32(1))[..., None]
    sky = np.float32([0.70, 0.78, 0.90]) * (1.05 - 0.3 * y)[..., None]
    return np.where((y < roof)[..., None], sky, house)


_WALLS = {
    "brick": _brick,
    "plaster": _plaster,
    "windows": _windows,
    "foliage": _foliage,
    "panels": _panels,
    "street": _street,
}


def _ground(style: str, x, depth, rgb, seed):
    """The ground, seen in perspective: `depth` is 0 at the horizon and 1 at the picture's lower edge."""
    away = 1 / (depth + 0.25)
    u, v = (x - np.floor(x.mean())) * away * 1.6, away * 3
    grain = 0.88 + 0.24 * _noise(x * 40, depth * 40, seed)
    if style == "grass":
        return rgb * (grain * (0.75 + 0.5 * _noise(x * 11, depth * 16, seed + 1)))[..., None]
    if style == "asphalt":
        line = (np.abs(depth - 0.45) < 0.04) & (_frac(x * 0.8) < 0.5)
        return np.where(line[..., None], np.float32(0.82), rgb * 0.8 * grain[..., None])
    step = 1.4 if style == "pavement" else 3.0
    gap = (_frac(u * step) < 0.06) | (_frac(v * step) < 0.10)
    each = 0.90 + 0.2 * _noise(np.floor(u * step) * 1.3, np.floor(v * step) * 1.7, seed + 2)
    return rgb * (grain * each * np.where(gap, np.float32(0.72), np.float32(1)))[..., None]


def backdrop(camera: Camera, view: View, size: tuple[int, int]) -> np.ndarray:
    """The empty scene, float32[H, W, 3] from 0 to about 1; a camera's look, shifted sidewards by the view."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    x, y = x / height + np.float32(view.background_shift), y / height
    top = round(camera.horizon * height)
    seed = camera.background_seed
    picture = np.empty((height, width, 3), np.float32)
    picture[:top] = _WALLS[camera.wall](x[:top], y[:top], np.float32(camera.wall_rgb), seed)
    depth = (y[top:] - camera.horizon) / (1 - camera.horizon)
    picture[top:] = _ground(camera.floor, x[top:], depth, np.float32(camera.floor_rgb), seed + 7)
    # A dark line where wall and ground meet gives the scene depth.
    picture[max(0, top - 1) : top + 1] *= 0.72
    return picture


def cast_shadow(picture: np.ndarray, feet: np.ndarray, camera: Camera) -> None:
    """Darkens the ground at feet float[n, 2] (x, y in pixels), in place, whatever clothes are worn."""
    height, width = picture.shape[:2]
    lean = -camera.light[0] * 0.10 * height
    top = max(0, min(height - 1, int(feet[:, 1].min() - 0.12 * height)))
    y = np.arange(top, height, dtype=np.float32)[:, None] + np.float32(0.5)
    x = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)
    shade = np.zeros((height - top, width), np.float32)
    for foot_x, foot_y in feet:
        shade = np.maximum(
            shade, np.exp(-(((x - foot_x) / (0.052 * height)) ** 2 + ((y - foot_y) / (0.018 * height)) ** 2))
        )
    middle_x, middle_y = feet.mean(0)
    wide = np.exp(-(((x - middle_x - lean) / (0.15 * height)) ** 2 + ((y - middle_y) / (0.032 * height)) ** 2))
    picture[top:] *= (1 - np.clip(0.50 * shade + camera.sun * 0.5 * wide, 0, 0.75))[..., None]


def occluder(view: View, camera: Camera, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What stands before the person: colours float32[H, W, 3], coverage float32[H, W]; zeros for nothing."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    x, y = x / height, y / height
    at, size_ = view.occluder_x, view.occluder_size
    seed = camera.background_seed + 31 + int(view.background_shift * 97) % 11
    if view.occluder == "pole":
        half, centre = 0.018 + 0.022 * size_, width / height * (0.1 + 0.8 * at)
        round_ = np.sqrt(np.clip(1 - ((x - centre) / half) ** 2, 0, 1))
        return np.float32([0.46, 0.48, 0.50]) * (0.35 + 0.75 * round_)[..., None], (round_ > 0).astype(np.float32)
    if view.occluder == "bush":
        edge = 1 - (0.10 + 0.20 * size_) * np.exp(-(((x - at * width / height) / 0.26) ** 2))
        edge = edge + 0.10 * (_noise(x * 13, y * 13, seed) - 0.5)
        leaves = 0.5 * _noise(x * 17, y * 17, seed + 1) + 0.5 * _noise(x * 31, y * 31, seed + 2)
        return np.float32([0.20, 0.36, 0.14]) * (0.4 + 1.3 * leaves)[..., None], np.clip((y - edge) * height, 0, 1)
    if view.occluder == "car":
        paint = generator("car", seed)
        rgb = (paint.uniform(0.15, 0.75) * paint.uniform(0.6, 1.2, 3)).astype(np.float32)
        front = 1 if at < 0.5 else -1
        edge = 0.80 - 0.10 * size_ + 0.30 * np.clip(front * (x - width / height * (0.25 + 0.5 * at)), 0, 1)
        body = rgb * (1.1 - 1.6 * np.clip(y - edge, 0, 1) + 0.5 * (np.abs(y - edge - 0.015) < 0.012))[..., None]
        return body, np.clip((y - edge) * height, 0, 1)
    return np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
