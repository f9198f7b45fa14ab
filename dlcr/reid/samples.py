"""The training images of a run as arrays: labels, which variants there are, and all pixels in one file.

Every image is decoded and resized once, into a file of raw uint8 that all workers map into memory: an epoch
then costs no decoding. The file lies with the run's checkpoints and goes with them.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlcr.data import Generated, load_manifest, open_generated, open_images
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress

CHUNK = 1024


@dataclass(frozen=True)
class Samples:
    """n real training images and their K variants.

    image_ids: [n], sorted. subjects: int64 [n], 0 .. S-1. clothes: int64 [n], 0 .. C-1.
    owners: [C], the one subject of each clothes. present: bool [K, n], False for variants that were skipped.
    """

    image_ids: list[str]
    subjects: NDArray[np.int64]
    clothes: NDArray[np.int64]
    owners: list[int]
    present: NDArray[np.bool_]

    def name(self, layer: int, row: int) -> str:
        """The image's ID; of a generated one with its variant."""
        return self.image_ids[row] + (f" variant {layer - 1}" if layer else "")


def load_samples(
    dataset: Path, generated: Path, mode: str, k: int | None = None, minimum: Mapping[str, float] | None = None
) -> Samples:
    """Labels of data/<dataset>'s training split and the variants of generated/<set>: the first `k`, or all.

    Variants that were not made, or that the quality gate drops (`minimum`, see `open_generated`), are not present: a
    pair takes one of the image's others, and the real image itself where it has none.

    Raises ValueError when there are no training images, and, where `mode` needs variants, when the set is
    empty, has fewer than `k`, or was made from other images.
    """
    manifest = load_manifest(dataset)
    train = manifest[manifest["split"] == "train"]
    if train.empty:
        raise ValueError(f"{dataset}: no images of split train")
    subjects = np.unique(train["subject"].to_numpy(dtype=str), return_inverse=True)[1]
    _, first, clothes = np.unique(train["clothes"].to_numpy(dtype=str), return_index=True, return_inverse=True)
    image_ids = train["image_id"].tolist()
    present = np.zeros((0, len(train)), bool)
    if mode != "none":
        present = _present(open_generated(generated, minimum), dataset, image_ids, mode, k)
    return Samples(image_ids, subjects, clothes, subjects[first].tolist(), present)


def write_pixels(
    path: Path, samples: Samples, dataset: Path, generated: Path, size: tuple[int, int], threads: int
) -> None:
    """Write the NPY file `path`, uint8 [1 + K, n, H, W, 3]: real images, variants; skipped ones are 0."""
    real = open_images(dataset / "images")
    layers = len(samples.present)
    variants = open_generated(generated) if layers else None
    count = len(samples.image_ids)

    def load(cell: tuple[int, int]) -> NDArray[np.uint8]:
        layer, row = cell
        image_id = samples.image_ids[row]
        return resize(variants[image_id, layer - 1] if layer else real[image_id], size)

    cells = [(0, row) for row in range(count)] + [(1 + j, i) for j, i in np.argwhere(samples.present).tolist()]
    with (
        atomic_path(path) as part,
        ThreadPoolExecutor(threads) as pool,
        progress(len(cells), "decode") as bar,
    ):
        shape = (1 + layers, count, *size, 3)
        pixels = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(cells), CHUNK):
            chunk = cells[start : start + CHUNK]
            for cell, image in zip(chunk, pool.map(load, chunk), strict=True):
                pixels[cell] = image
            bar.update(len(chunk))
        pixels.flush()


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An RGB image at `size` (height, width); bilinear with area averaging when it shrinks, as in CAL."""
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _present(generated: Generated, dataset: Path, image_ids: list[str], mode: str, k: int | None) -> NDArray[np.bool_]:
    """bool [K, n] of a generated set that belongs to exactly these images."""
    folder = generated.folder
    if generated.variants == 0:
        raise ValueError(f"{folder}: the set is empty, mode {mode!r} needs variants")
    if k is not None and k > generated.variants:
        raise ValueError(f"{folder}: {generated.variants} variants, the run needs {k}")
    source = generated.fingerprint["set"]["dataset"]
    if source != dataset.name:
        raise ValueError(f"{folder}: made from dataset {source!r}, the run trains on {dataset.name!r}")
    odd = set(image_ids) ^ set(generated.image_ids)
    if odd:
        raise ValueError(
            f"{folder}: not made from the training images of {dataset}: {min(odd)!r} is in one of them only"
        )
    table = generated.table(["image_id", "variant", "skipped"])
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    present = np.zeros((generated.variants, len(image_ids)), bool)
    present[table["variant"].to_numpy(), table["image_id"].map(row_of).to_numpy()] = (table["skipped"] == "").to_numpy()
    return present[:k]
