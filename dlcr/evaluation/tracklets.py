"""Tracklets, the sequences of frames that datasets of videos compare as wholes: one row, and one feature, per tracklet.

An image that belongs to no tracklet is one of its own, so that datasets of images need no second way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dlcr.evaluation.features import extract_features, extract_tracklet_features
from dlcr.evaluation.protocols import TEST_SPLITS

if TYPE_CHECKING:
    import torch

    from dlcr.data import Generated, Images

BATCH = 64
FRAMES = 20_000  # whose features are held before they are averaged to tracklets


@dataclass(frozen=True)
class Tracklets:
    """What a dataset's test compares.

    rows    the manifest's row of each tracklet's first frame
    frames  the manifest's rows of all frames, those of a tracklet side by side and in their order
    number  int64 [frames]: which of `rows` a frame belongs to
    """

    rows: pd.DataFrame
    frames: pd.DataFrame
    number: np.ndarray


@dataclass(frozen=True)
class Variants:
    """The variants of some tracklets: features float32 [Q, l, D] and which exist, bool [Q, l].

    `rows` int64 [Q], ascending: the rows of `Tracklets.rows` that have variants.
    """

    rows: np.ndarray
    features: np.ndarray
    present: np.ndarray

    def of(self, rows: np.ndarray) -> Variants | None:
        """Those of some rows; None if these have no variants, as queries in the same clothes."""
        if not np.isin(rows, self.rows).all():
            return None
        places = np.searchsorted(self.rows, rows)
        return Variants(rows, self.features[places], self.present[places])


def compared_tracklets(manifest: pd.DataFrame) -> Tracklets:
    """The queries and the gallery of a dataset."""
    frames = manifest[manifest["split"].isin(TEST_SPLITS)].reset_index(drop=True)
    number = tracklet_of(frames)
    order = np.lexsort((frames["frame"], number))  # clips are made of frames in their order
    frames, number = frames.iloc[order].reset_index(drop=True), number[order]
    first = np.unique(number, return_index=True)[1]
    return Tracklets(frames.iloc[first].reset_index(drop=True), frames, number)


def tracklet_of(manifest: pd.DataFrame) -> np.ndarray:
    """For each row the number of its tracklet, int64 [N]; an image that belongs to none is one of its own.

    Numbered in the order of the first rows, so that without tracklets they are the rows' own numbers.
    """
    names = manifest["tracklet"].to_numpy(dtype=object).astype(str)
    alone = names == ""
    names = np.where(alone, manifest["image_id"].to_numpy(dtype=object).astype(str), names)
    keys = np.char.add(np.where(alone, "image ", "tracklet "), names)  # a tracklet may be called like an image
    return pd.factorize(keys)[0]


def tracklet_features(features: np.ndarray, tracklet: np.ndarray) -> np.ndarray:
    """Features float32 [T, D] of tracklets: the mean of their frames' unit features [N, D] (CAL on CCVID).

    `tracklet` int64 [N] numbers them from 0 as `tracklet_of` does; each has a frame at least. Rows are not scaled
    again: similarities are of rows of length 1 anyway.
    """
    order = np.argsort(tracklet, kind="stable")
    counts = np.bincount(tracklet)
    starts = np.cumsum(counts) - counts
    sums = np.add.reduceat(features[order], starts, axis=0, dtype=np.float64)
    return (sums / counts[:, None]).astype(np.float32)


def features_of(
    model: torch.nn.Module, images: Images | Generated, keys: list, tracklet: np.ndarray, desc: str | None
) -> np.ndarray:
    """Features float32 [T, D] of tracklets at the model's image size; `tracklet` int64 [N]: the one of each of `keys`.

    A model of clips sees clips of them; of a model of images they are the means of the frames' features.
    """
    order = np.argsort(tracklet, kind="stable")
    counts = np.bincount(tracklet)
    ends = np.cumsum(counts)
    if model.frames > 1:
        frames = [[keys[i] for i in own] for own in np.split(order, ends[:-1])]
        return extract_tracklet_features(model, images, frames, model.size, BATCH, desc=desc)
    borders = [] if len(counts) == len(keys) else np.flatnonzero(np.diff(ends // FRAMES)) + 1
    parts = []
    for part in np.split(np.arange(len(counts)), borders):
        own = order[ends[part[0]] - counts[part[0]] : ends[part[-1]]]
        found = extract_features(model, images, model.size, BATCH, keys=[keys[i] for i in own], desc=desc)
        parts.append(tracklet_features(found, tracklet[own] - part[0]))
    return np.concatenate(parts)


def variant_frames(variants: Generated, tracklets: Tracklets, rows: np.ndarray) -> tuple[list, np.ndarray]:
    """The pictures that the variants of some rows consist of: keys (image ID, variant) and owners int64.

    Variant v of rows[i] has the number i * l + v; it is made of those frames that have it. ValueError if a frame has
    none at all, not even skipped ones.
    """
    frames = np.flatnonzero(np.isin(tracklets.number, rows))
    image_ids = tracklets.frames["image_id"].iloc[frames].tolist()
    missing = sorted(set(image_ids) - set(variants.image_ids))
    if missing:
        raise ValueError(f"{variants.folder}: {len(missing)} queries lack variants, the first is {missing[0]!r}")
    table = variants.table(["image_id", "variant", "skipped"])
    made = table[table["skipped"] == ""]
    exist = set(zip(made["image_id"], made["variant"].astype(int), strict=True))
    keys, owners = [], []
    for image_id, row in zip(image_ids, np.searchsorted(rows, tracklets.number[frames]), strict=True):
        for variant in range(variants.variants):
            if (image_id, variant) in exist:
                keys.append((image_id, variant))
                owners.append(row * variants.variants + variant)
    return keys, np.array(owners, dtype=np.int64)


def variant_features(
    model: torch.nn.Module,
    variants: Generated,
    keys: list,
    owners: np.ndarray,
    rows: np.ndarray,
    dims: int,
    desc: str | None,
) -> Variants:
    """The features of `variant_frames` of some rows, by a model with `dims` features; zeros where all were skipped."""
    features = np.zeros((len(rows) * variants.variants, dims), dtype=np.float32)
    present = np.isin(np.arange(len(features)), owners)
    if keys:
        number = np.cumsum(present)[owners] - 1  # from 0, of those that exist
        features[present] = features_of(model, variants, keys, number, desc)
    return Variants(rows, features.reshape(len(rows), -1, dims), present.reshape(len(rows), -1))
