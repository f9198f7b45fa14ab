"""A packed PRCC of a few images and strips for it in the form of the published ones."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from layouts import tree
from PIL import Image

from dlcr.data import encode_png, load_manifest, read_dataset
from dlcr.data.pack import pack

FIRST = "rgb/train/001/A_cropped_rgb001"
"""The first training image, without its ending."""
MORE = {
    "train/002/A_cropped_rgb001.jpg": (6, 10),
    "train/002/B_cropped_rgb002.jpg": (5, 7),
    "train/002/C_cropped_rgb003.jpg": (4, 8),
}


def pack_prcc(folder: Path, above: bool = False) -> Path:
    """data/prcc below `folder`: five training images of several sizes; image_ids are rgb/train/..., from `above` the
    official folder prcc/rgb/train/..."""
    rgb = tree("prcc", folder / "datasets")
    for name, size in MORE.items():
        (rgb / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (90, 120, 30)).save(rgb / name)
    source = rgb.parent.parent if above else rgb.parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the counts differ from the published ones
        manifest = read_dataset("prcc", source)
    packed = folder / "data" / "prcc"
    pack(manifest, lambda image_id: (source / image_id).read_bytes(), packed, {"dataset": "prcc", "reader": "prcc"})
    return packed


def train_rows(packed: Path) -> pd.DataFrame:
    manifest = load_manifest(packed)
    return manifest[manifest["split"] == "train"]


def text_of(row: int, variant: int) -> str:
    """The first two images' first texts are equal."""
    return f"Gray shirt| Blue jeans| {'Black' if row < 2 and variant == 0 else f'shade {row}.{variant}'} shoes"


def write_strips(packed: Path, folder: Path, k: int = 3, prefix: str = "") -> dict[tuple[str, int], np.ndarray]:
    """Strips and texts of all training images below `folder`, and each variant's pixels (noise).

    prefix: leading folders of the image_ids that the release lacks.
    """
    rng = np.random.default_rng(0)
    pixels = {}
    for number, row in enumerate(train_rows(packed).itertuples()):
        variants = [rng.integers(0, 256, (row.height, row.width, 3), np.uint8) for _ in range(k)]
        pixels |= {(row.image_id, variant): image for variant, image in enumerate(variants)}
        path = (folder / row.image_id.removeprefix(prefix)).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.concatenate(variants, axis=1)))
        path.with_suffix(".txt").write_text("".join(f" {text_of(number, variant)}\n" for variant in range(k)))
    return pixels


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
