"""What each picture shows: the benchmark's fixed list of scenes, and an endless stream for pretraining."""

from dataclasses import dataclass

import numpy as np

from dlcr.minicc import difficulty
from dlcr.minicc.cameras import DOMAINS, Camera, benchmark_cameras, sample_camera
from dlcr.minicc.outfits import Outfit, change_outfit, sample_outfit
from dlcr.minicc.people import Person, sample_person
from dlcr.minicc.seeds import derive_seed, generator

OCCLUDERS = ("pole", "bush", "car")


@dataclass(frozen=True)
class Pose:
    """One moment of a walk, angles in radians."""

    phase: float  # of the step, 0 to 2 pi
    effort: float  # scales the person's own stride and arm swing; about 0 is standing
    yaw: float  # relative to the camera, as in `Camera.yaw`
    head_yaw: float  # relative to the body


@dataclass(frozen=True)
class Companion:
    """Another pedestrian in the picture; never labelled."""

    person: Person
    outfit: Outfit
    pose: Pose
    dx: float
    zoom: float  # above 1: in front of the person
    front: bool


@dataclass(frozen=True)
class View:
    """What varies from picture to picture of one camera; lengths are shares of the picture's height."""

    dx: float
    dy: float
    zoom: float
    exposure: float
    background_shift: float
    occluder: str  # one of OCCLUDERS or ""
    occluder_x: float  # its place, 0 (left) to 1 (right)
    occluder_size: float  # 0 to 1
    companions: tuple[Companion, ...]


@dataclass(frozen=True)
class Scene:
    """Everything about one picture; `dlcr.minicc.render.render` turns it into pixels."""

    image_id: str
    domain: str
    split: str  # train | val_query | val_gallery | query | query_sc | gallery | pretrain
    subject: str
    clothes: str
    camera: str
    frame: int
    person: Person
    outfit: Outfit
    pose: Pose
    view: View
    setup: Camera
    noise_seed: int


def _pose(rng: np.random.Generator, yaw: float) -> Pose:
    effort = rng.uniform(0.75, 1.1) if rng.uniform() < 0.88 else rng.uniform(0.0, 0.3)
    return Pose(float(rng.uniform(0, 2 * np.pi)), float(effort), float(yaw), float(rng.normal(0, 0.16)))


def _companion(rng: np.random.Generator, pool: str) -> Companion:
    front = bool(rng.uniform() < difficulty.FRONT_SHARE)
    side = 1 if rng.uniform() < 0.5 else -1
    return Companion(
        person=sample_person(rng),
        outfit=sample_outfit(rng, pool),
        pose=_pose(rng, rng.uniform(-np.pi, np.pi)),
        dx=float(side * rng.uniform(0.17, 0.27)),
        zoom=float(rng.uniform(1.03, 1.12) if front else rng.uniform(0.78, 0.92)),
        front=front,
    )


def _view(rng: np.random.Generator, domain: str, pool: str) -> View:
    occluded = rng.uniform() < difficulty.OCCLUDER_RATE[domain]
    crowded = rng.uniform() < difficulty.COMPANION_RATE[domain]
    others = int(rng.integers(1, 3)) if crowded else 0
    return View(
        dx=float(rng.normal(0, difficulty.POSITION_JITTER)),
        dy=float(rng.normal(0, difficulty.POSITION_JITTER * 0.35)),
        zoom=float(np.exp(rng.normal(0, difficulty.ZOOM_JITTER))),
        exposure=float(np.exp(rng.normal(0, difficulty.EXPOSURE_JITTER))),
        background_shift=float(rng.uniform(0, 4)),
        occluder=str(rng.choice(OCCLUDERS)) if occluded else "",
        occluder_x=float(rng.uniform(0, 1)),
        occluder_size=float(rng.uniform(0, 1)),
        companions=tuple(_companion(rng, pool) for _ in range(others)),
    )


def _benchmark_outfit(domain: str, seed: int, name: str, suit: int) -> Outfit:
    """A subject's outfit 1, or what it changes into, outfit 2."""
    first = sample_outfit(generator("benchmark", domain, seed, "outfit", name, 1), "benchmark")
    if suit == 1:
        return first
    return change_outfit(generator("benchmark", domain, seed, "outfit", name, suit), first, "benchmark")


def _benchmark_scene(
    domain: str,
    split: str,
    folder: str,
    subject: int,
    suit: int,
    letter: str,
    number: int,
    seed: int,
    setup: Camera,
) -> Scene:
    """Scene `number` of a subject in its outfit `suit` (1 or 2) on camera `letter`."""
    name = f"{subject:04d}"
    rng = generator("benchmark", domain, seed, "picture", name, letter, number)
    yaw = setup.yaw + rng.normal(0, np.deg2rad(difficulty.YAW_JITTER))
    if rng.uniform() < difficulty.BACK_RATE[domain]:
        yaw += np.pi
    return Scene(
        image_id=f"{folder}/{name}/{letter}_{name}-{suit}_{number:03d}.png",
        domain=domain,
        split=split,
        subject=name,
        clothes=f"{name}-{suit}",
        camera=letter,
        frame=number,
        person=sample_person(generator("benchmark", domain, seed, "person", name)),
        outfit=_benchmark_outfit(domain, seed, name, suit),
        pose=_pose(rng, yaw),
        view=_view(rng, domain, "benchmark"),
        setup=setup,
        noise_seed=derive_seed("benchmark", domain, seed, "noise", name, letter, number),
    )


def benchmark_scenes(
    domain: str = "minicc",
    *,
    train_subjects: int = 48,
    val_subjects: int = 12,
    test_subjects: int = 60,
    images_per_camera: int = 4,
    seed: int = 0,
) -> list[Scene]:
    """All scenes of a benchmark domain, sorted by image_id.

    Every subject wears its outfit 1 on cameras A and B and its outfit 2 on camera C, which keeps some of the garments
    (`difficulty.KEPT`). Training subjects are in split "train". Of validation subjects, camera A is "val_gallery" and
    camera C "val_query". Of test subjects, A is "gallery", C "query" (other clothes) and B "query_sc" (same clothes,
    half the pictures).
    Raises ValueError for a domain that does not exist.
    """
    cameras = benchmark_cameras(domain)
    roles = {
        "train": (train_subjects, {"A": "train", "B": "train", "C": "train"}),
        "val": (val_subjects, {"A": "val_gallery", "C": "val_query"}),
        "test": (test_subjects, {"A": "gallery", "B": "query_sc", "C": "query"}),
    }
    # Every role has its own thousand of subjects, so that making one larger changes nobody else's looks.
    scenes = []
    for base, (role, (count, splits)) in enumerate(roles.items()):
        for subject in range(base * 1000 + 1, base * 1000 + count + 1):
            for letter, split in splits.items():
                suit = 2 if letter == "C" else 1
                pictures = (images_per_camera + 1) // 2 if split == "query_sc" else images_per_camera
                for number in range(1, pictures + 1):
                    scenes.append(
                        _benchmark_scene(domain, split, role, subject, suit, letter, number, seed, cameras[letter])
                    )
    return sorted(scenes, key=lambda scene: scene.image_id)


def pretrain_scene(index: int, domain_mix: bool = True) -> Scene:
    """Scene `index` (0, 1, 2, ...) of a stream sharing no person, outfit text or camera with the benchmark.

    Six in ten look like `minicc`, the others like the other two domains; with domain_mix=False all look like
    `minicc`. Raises ValueError for a negative index.
    """
    if index < 0:
        raise ValueError(f"index must not be negative, got {index}")
    rng = generator("pretrain", index)
    domain = str(rng.choice(DOMAINS, p=(0.6, 0.2, 0.2)))
    domain = domain if domain_mix else "minicc"
    setup = sample_camera(rng, domain)
    # Like the benchmark, the stream shows most people from the front half, but every angle occurs.
    yaw = rng.normal(0, 0.9) if rng.uniform() < 0.6 else rng.uniform(-np.pi, np.pi)
    name = f"p{index:07d}"
    return Scene(
        image_id=f"pretrain/{name}.png",
        domain=domain,
        split="pretrain",
        subject=name,
        clothes=f"{name}-1",
        camera=f"P{index}",
        frame=1,
        person=sample_person(generator("pretrain", index, "person")),
        outfit=sample_outfit(generator("pretrain", index, "outfit"), "pretrain"),
        pose=_pose(rng, yaw),
        view=_view(rng, domain, "pretrain"),
        setup=setup,
        noise_seed=derive_seed("pretrain", index, "noise"),
    )
