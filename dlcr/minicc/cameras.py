"""Cameras: where they look from, their light, what their sensor does, what is behind the people."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc.difficulty import NOISE, TINT_STRENGTH, YAW_CENTRE
from dlcr.minicc.seeds import generator

RGB = tuple[float, float, float]

DOMAINS = ("minicc", "minicc-night", "minicc-crowd")
WALLS = ("brick", "plaster", "windows", "foliage", "panels", "street")
GROUNDS = ("pavement", "grass", "tiles", "asphalt")


@dataclass(frozen=True)
class Camera:
    """A fixed camera. Angles in radians, colours in [0, 1], lengths in shares of the picture's height."""

    domain: str
    yaw: float  # the way people walk, seen from the camera: 0 towards it, pi / 2 to the picture's right
    pitch: float  # how far it looks down
    roll: float
    scale: float  # of a metre
    ground: float  # where the feet stand, from the top
    light: tuple[float, float, float]  # direction to the light: right, up, towards the camera; unit length
    sun: float  # strength of that light
    ambient: float
    tint: RGB
    lamp: RGB  # coloured lamp light, zero by day
    lamp_x: float  # where the lamp is, 0 (left) to 1 (right)
    noise: float
    blur: float  # 0 to 1
    softness: float  # of the colours, as in strongly compressed pictures; 0 to 1
    wall: str
    floor: str
    horizon: float
    wall_rgb: RGB
    floor_rgb: RGB
    background_seed: int


def _check(domain: str) -> None:
    if domain not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}; known are: {', '.join(DOMAINS)}")


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _light(rng: np.random.Generator) -> tuple[float, float, float]:
    azimuth, height = rng.uniform(-1.2, 1.2), rng.uniform(0.5, 1.1)
    return _triple(np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]))


def _lamp(rng: np.random.Generator, domain: str) -> RGB:
    if domain != "minicc-night":
        return 0.0, 0.0, 0.0
    colours = ((1.0, 0.72, 0.40), (0.75, 0.85, 1.0), (1.0, 0.85, 0.62), (0.8, 1.0, 0.75), (1.0, 0.62, 0.8))
    return _triple(np.asarray(colours[rng.integers(len(colours))]) * rng.uniform(0.45, 0.65))


def sample_camera(rng: np.random.Generator, domain: str) -> Camera:
    """Draws a camera of a domain; raises ValueError for a domain that does not exist."""
    _check(domain)
    night = domain == "minicc-night"
    tint = 1 + rng.uniform(-1, 1, 3) * TINT_STRENGTH[domain]
    greens = np.array([0.26, 0.40, 0.20])
    wall = str(rng.choice(WALLS))
    floor = str(rng.choice(GROUNDS))
    wall_rgb = greens if wall == "foliage" else rng.uniform(0.35, 0.75) * (1 + rng.uniform(-0.18, 0.18, 3))
    floor_rgb = greens * 1.15 if floor == "grass" else rng.uniform(0.38, 0.66) * (1 + rng.uniform(-0.08, 0.08, 3))
    return Camera(
        domain=domain,
        yaw=float(rng.uniform(-np.pi, np.pi)),
        pitch=float(rng.uniform(0.02, 0.30)),
        roll=float(rng.normal(0, 0.025)),
        scale=float(rng.uniform(0.440, 0.475)),
        ground=float(rng.uniform(0.93, 0.96)),
        light=_light(rng),
        sun=float(rng.uniform(0.25, 0.40) if night else rng.uniform(0.42, 0.66)),
        ambient=float(rng.uniform(0.26, 0.34) if night else rng.uniform(0.50, 0.62)),
        tint=_triple(tint * (np.array([0.86, 0.92, 1.08]) if night else 1.0)),
        lamp=_lamp(rng, domain),
        lamp_x=float(rng.uniform(0, 1)),
        noise=float(rng.uniform(*NOISE[domain])),
        blur=float(rng.uniform(0.05, 0.45)),
        softness=float(rng.uniform(0.0, 0.6)),
        wall=wall,
        floor=floor,
        horizon=float(rng.uniform(0.52, 0.80)),
        wall_rgb=_triple(np.clip(wall_rgb, 0, 1)),
        floor_rgb=_triple(np.clip(floor_rgb, 0, 1)),
        background_seed=int(rng.integers(1 << 40)),
    )


def benchmark_cameras(domain: str) -> dict[str, Camera]:
    """The three fixed cameras A, B and C of a domain; raises ValueError for a domain that does not exist."""
    _check(domain)
    cameras = {}
    for name, degrees in YAW_CENTRE.items():
        drawn = sample_camera(generator("camera", "benchmark", domain, name), domain)
        cameras[name] = Camera(**{**drawn.__dict__, "yaw": float(np.deg2rad(degrees))})
    return cameras
