"""The training samples of a run: their labels, and which variants of them there are.

A sample is an image, or, for models of tracklets, a chunk of a tracklet (`dlcr.reid.clips`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlcr.data import Generated, load_manifest, open_generated
from dlcr.reid.clips import chunks


@dataclass(frozen=True)
class Samples:
    """n training samples, the images that they are made of, and their K variants.

    image_ids: [N], sorted, of the real images. images: for each sample the numbers of its images, int64; one where a
    sample is an image. subjects: int64 [n], 0 .. S-1. clothes: int64 [n], 0 .. C-1. owners: [C], the one subject of
    each clothes. made: bool [K, N], False where an image's variant was skipped. present: bool [K, n], whether enough of
    a sample's images have the variant: the one image, or those of one clip.
    """

    image_ids: list[str]
    images: list[NDArray[np.int64]]
    subjects: NDArray[np.int64]
    clothes: NDArray[np.int64]
    owners: list[int]
    made: NDArray[np.bool_]
    present: NDArray[np.bool_]

    def name(self, layer: int, row: int) -> str:
        """The sample's (first) image ID; of a generated one with its variant."""
        return self.image_ids[self.images[row][0]] + (f" variant {layer - 1}" if layer else "")


def load_labels(dataset: Path) -> tuple[pd.DataFrame, list[int]]:
    """The manifest's rows of data/<dataset>'s training split, with columns `subject` and `clothes` as numbers from 0,
    and the owner of each clothes.

    Raises ValueError when there are no training images, or a subject has only one: nothing could be learned from it.
    """
    manifest = load_manifest(dataset)
    train = manifest[manifest["split"] == "train"].reset_index(drop=True)
    if train.empty:
        raise ValueError(f"{dataset}: no images of split train")
    names, subjects, counts = np.unique(train["subject"].to_numpy(dtype=str), return_inverse=True, return_counts=True)
    if counts.min() == 1:
        row = int(np.flatnonzero(subjects == counts.argmin())[0])
        raise ValueError(
            f"{dataset}: subject {str(names[counts.argmin()])!r} has one training image, {train['image_id'][row]!r}; "
            "expected at least two (leave it out of split train, or add to it)"
        )
    _, first, clothes = np.unique(train["clothes"].to_numpy(dtype=str), return_index=True, return_inverse=True)
    return train.assign(subject=subjects, clothes=clothes), subjects[first].tolist()


def load_samples(
    dataset: Path,
    generated: Path,
    mode: str,
    k: int | None = None,
    minimum: Mapping[str, float] | None = None,
    frames: int = 1,
) -> Samples:
    """The training samples of data/<dataset> and the variants of generated/<set>: the first `k`, or all.

    frames: of a clip, for models of tracklets; 1 makes every image a sample. Variants that were not made, or that the
    quality gate drops (`minimum`, see `open_generated`), are not present: a pair takes one of the sample's others, and
    the real sample itself where it has none.

    Raises ValueError as `load_labels` does, and, where `mode` needs variants, when the set is empty, has fewer than
    `k`, or was made from other images.
    """
    train, owners = load_labels(dataset)
    image_ids = train["image_id"].tolist()
    images = list(np.arange(len(train))[:, None]) if frames == 1 else chunks(train)
    first = [own[0] for own in images]
    made = np.zeros((0, len(train)), bool)
    if mode != "none":
        made = _made(open_generated(generated, minimum), dataset, image_ids, mode, k)
    present = np.stack([made[:, own].sum(axis=1) >= min(frames, len(own)) for own in images], axis=1)
    subjects, clothes = (train[name].to_numpy(dtype=np.int64)[first] for name in ("subject", "clothes"))
    return Samples(image_ids, images, subjects, clothes, owners, made, present)


def _made(generated: Generated, dataset: Path, image_ids: list[str], mode: str, k: int | None) -> NDArray[np.bool_]:
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
    made = np.zeros((generated.variants, len(image_ids)), bool)
    made[table["variant"].to_numpy(), table["image_id"].map(row_of).to_numpy()] = (table["skipped"] == "").to_numpy()
    return made[:k]
