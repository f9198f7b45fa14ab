"""From a scene to pixels and their labels; the same scene can be rendered in any other outfit."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc.background import backdrop, cast_shadow, occluder
from dlcr.minicc.bodies import CROTCH, parts_of
from dlcr.minicc.cameras import Camera
from dlcr.minicc.figure import Body
from dlcr.minicc.outfits import Outfit
from dlcr.minicc.paint import gather, paint
from dlcr.minicc.people import Person
from dlcr.minicc.raster import draw, new_buffer
from dlcr.minicc.scenes import Pose, Scene
from dlcr.minicc.skeleton import joints

LABELS = ("background", "skin", "face", "hair", "upper", "lower", "footwear")
"""Names of the values of a label map, in order."""
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Rendered:
    """A picture uint8[H, W, 3] in RGB and its label map uint8[H, W], values index LABELS."""

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Figure:
    """A cut-out person: colours times coverage float32[H, W, 3], coverage and labels [H, W], feet (x, y)."""

    colour: np.ndarray
    cover: np.ndarray
    labels: np.ndarray
    feet: np.ndarray


def _turn(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """From a body's axes (left, up, front) to the screen's (right, down, to the viewer), float64[3, 3]."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    about_up = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_side = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_view = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.diag([1.0, -1.0, 1.0]) @ about_view @ about_side @ about_up


def _place_body(
    person: Person,
    outfit: Outfit,
    pose: Pose,
    camera: Camera,
    foot: tuple[float, float],
    zoom: float,
    rows: int,
) -> Body:
    """The body in pixels of a picture with `rows` rows, standing at `foot` (x, y in shares of the height)."""
    turn = _turn(pose.yaw, camera.pitch, camera.roll)
    pixels = camera.scale * zoom * rows
    origin = np.array([foot[0] * rows, foot[1] * rows, 0.0])
    bones = joints(person, pose)
    bones["crotch"] = bones["pelvis"] - CROTCH * (bones["collar"] - bones["pelvis"])
    upright = bones.pop("up")
    placed = {name: origin + pixels * (turn @ place) for name, place in bones.items()}
    # The body's own upward direction leans with the walk, so its forward direction leans as well.
    side = np.array([1.0, 0, 0])
    own = np.stack([side, upright, np.cross(side, upright)])
    head = _turn(pose.yaw + pose.head_yaw, camera.pitch, camera.roll)
    return Body(person, outfit, placed, own @ turn.T, head.T, pixels)


def _light(normal: np.ndarray, camera: Camera) -> np.ndarray:
    """Brightness of surfaces with the given normals float32[3, N]: wrapped Lambert, sky, ambient and rim."""
    right, up, near = (np.float32(value) for value in camera.light)
    facing = normal[0] * right - normal[1] * up + normal[2] * near
    wrapped = np.clip((facing + np.float32(0.35)) / np.float32(1.35), 0, 1)
    rim = np.float32(0.10) * np.clip(1 - normal[2], 0, 1) ** 3
    return np.float32(camera.ambient) * (1 - np.float32(0.16) * normal[1]) + np.float32(camera.sun) * wrapped + rim


def _crevices(depth: np.ndarray, pixels: float) -> np.ndarray:
    """Ambient occlusion: how much nearer the surroundings are, float32[H, W] in [0, 1]."""
    reach = max(1, round(0.03 * pixels))
    solid = np.where(np.isfinite(depth), depth, np.float32(-1e4))
    nearer = np.zeros_like(solid)
    for axis, shift in ((0, reach), (0, -reach), (1, reach), (1, -reach)):
        nearer += np.clip((np.roll(solid, shift, axis) - solid) / np.float32(0.11 * pixels) - np.float32(0.2), 0, 1)
    return np.minimum(nearer * np.float32(0.5), 1)


def _majority(labels: np.ndarray) -> np.ndarray:
    """The most frequent of 2 x 2 labels; a tie goes to the larger one, so thin parts stay."""
    height, width = labels.shape
    four = labels.reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3).reshape(height // 2, width // 2, 4)
    four = np.sort(four, -1)
    return np.where((four[..., 0] == four[..., 1]) & (four[..., 2] != four[..., 3]), four[..., 1], four[..., 2])


def _shrink(values: np.ndarray) -> np.ndarray:
    return 0.25 * (values[0::2, 0::2] + values[1::2, 0::2] + values[0::2, 1::2] + values[1::2, 1::2])


def _figure(
    person: Person,
    outfit: Outfit,
    pose: Pose,
    camera: Camera,
    foot: tuple[float, float],
    zoom: float,
    size: tuple[int, int],
) -> Figure:
    rows, columns = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    body = _place_body(person, outfit, pose, camera, foot, zoom, rows)
    buffer = new_buffer(rows, columns)
    parts = parts_of(body)
    for index, part in enumerate(parts):
        draw(buffer, part, index)
    points = gather(buffer, parts, body)
    shade = _light(points.normal, camera)
    shade *= 1 - np.float32(0.55) * _crevices(buffer.depth, body.pixels).reshape(-1)[points.where]
    colour = np.zeros((rows * columns, 3), np.float32)
    colour[points.where] = paint(points, body) * shade[:, None]
    cover = np.zeros(rows * columns, np.float32)
    cover[points.where] = 1
    labels = np.zeros(rows * columns, np.uint8)
    labels[points.where] = points.surface
    feet = [(body.joints[f"heel_{side}"] + body.joints[f"toe_{side}"])[:2] / 2 for side in ("left", "right")]
    grounded = np.array([0, 0.02 * body.pixels])
    return Figure(
        _shrink(colour.reshape(rows, columns, 3)),
        _shrink(cover.reshape(rows, columns)),
        _majority(labels.reshape(rows, columns)),
        (np.asarray(feet) + grounded) / SUPERSAMPLING,
    )


def _sensor(picture: np.ndarray, scene: Scene) -> np.ndarray:
    """What the camera makes of the light: lamps, white balance, blur, soft colours, noise; uint8[H, W, 3]."""
    camera = scene.setup
    height, width = picture.shape[:2]
    gain = np.asarray(camera.tint, np.float32) * np.float32(scene.view.exposure)
    x = (np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5)) / width
    y = (np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)) / height
    glow = np.exp(-((x - np.float32(camera.lamp_x)) ** 2) / np.float32(0.5) - y**2 / np.float32(1.2))
    picture = picture * (gain + glow[..., None] * np.asarray(camera.lamp, np.float32))
    padded = picture[np.clip(np.arange(-1, height + 1), 0, height - 1)][
        :, np.clip(np.arange(-1, width + 1), 0, width - 1)
    ]
    across = (padded[:, :-2] + padded[:, 2:]) * np.float32(0.25) + padded[:, 1:-1] * np.float32(0.5)
    blurred = (across[:-2] + across[2:]) * np.float32(0.25) + across[1:-1] * np.float32(0.5)
    picture = picture + np.float32(camera.blur) * (blurred - picture)
    gray = picture @ np.float32([0.299, 0.587, 0.114])
    soft = gray[..., None] + blurred - (blurred @ np.float32([0.299, 0.587, 0.114]))[..., None]
    picture = picture + np.float32(camera.softness) * (soft - picture)
    rng = np.random.Generator(np.random.PCG64(scene.noise_seed))
    picture = picture + np.float32(camera.noise) * rng.standard_normal(picture.shape, dtype=np.float32)
    # Highlights roll off instead of clipping, so that white cloth under a strong light keeps its folds.
    bright = np.float32(0.80)
    above = np.maximum(picture - bright, 0)
    picture = np.minimum(picture, bright) + (1 - bright) * np.tanh(above / (1 - bright))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blend(picture: np.ndarray, labels: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> None:
    """Lays premultiplied colours over a picture, in place; what they hide becomes background."""
    picture *= (1 - cover)[..., None]
    picture += colour
    labels[cover >= 0.5] = 0


def render(scene: Scene, outfit: Outfit | None = None, size: tuple[int, int] = (96, 48)) -> Rendered:
    """Renders a scene, in its own outfit or in another one.

    Another outfit changes only pixels within 4 of either outfit's clothes, as far as blur, soft colours and
    shading spread; the noise and the shadow on the ground stay the same.
    """
    camera, view = scene.setup, scene.view
    middle = size[1] / size[0] / 2 + view.dx
    ground = camera.ground + view.dy
    picture = backdrop(camera, view, size) * np.float32(camera.ambient + 0.55 * camera.sun)
    labels = np.zeros(size, np.uint8)

    def add(person: Person, clothes: Outfit, pose: Pose, dx: float, dy: float, zoom: float) -> np.ndarray:
        foot = (middle + dx, ground + dy)
        figure = _figure(person, clothes, pose, camera, foot, view.zoom * zoom, size)
        cast_shadow(picture, figure.feet, camera)
        _blend(picture, labels, figure.colour, figure.cover)
        return figure.labels

    for other in (companion for companion in view.companions if not companion.front):
        add(other.person, other.outfit, other.pose, other.dx, -0.05, other.zoom)
    labels[:] = add(scene.person, outfit or scene.outfit, scene.pose, 0.0, 0.0, 1.0)
    for other in (companion for companion in view.companions if companion.front):
        add(other.person, other.outfit, other.pose, other.dx, 0.03, other.zoom)
    if view.occluder:
        colour, cover = occluder(view, camera, size)
        lit = np.float32(camera.ambient + 0.55 * camera.sun)
        _blend(picture, labels, colour * cover[..., None] * lit, cover)
    return Rendered(_sensor(picture, scene), labels)
