"""MiniCC: a procedural clothes-changing person re-identification benchmark that knows its ground truth."""

from dlcr.minicc.cameras import DOMAINS, Camera, benchmark_cameras, sample_camera
from dlcr.minicc.outfits import (
    COLOURS,
    FOOTWEAR_KINDS,
    LOWER_KINDS,
    PATTERNS,
    UPPER_KINDS,
    Garment,
    Outfit,
    make_garment,
    outfit_words,
    parse_words,
    pool_of,
    sample_outfit,
)
from dlcr.minicc.people import Person, sample_person
from dlcr.minicc.render import LABELS, Rendered, render
from dlcr.minicc.scenes import Pose, Scene, View, benchmark_scenes, pretrain_scene
from dlcr.minicc.sheet import colour_labels, contact_sheet

__all__ = [
    "COLOURS",
    "DOMAINS",
    "FOOTWEAR_KINDS",
    "LABELS",
    "LOWER_KINDS",
    "PATTERNS",
    "UPPER_KINDS",
    "Camera",
    "Garment",
    "Outfit",
    "Person",
    "Pose",
    "Rendered",
    "Scene",
    "View",
    "benchmark_cameras",
    "benchmark_scenes",
    "colour_labels",
    "contact_sheet",
    "make_garment",
    "outfit_words",
    "parse_words",
    "pool_of",
    "pretrain_scene",
    "render",
    "sample_camera",
    "sample_outfit",
    "sample_person",
]
