"""Which images of a dataset are compared in which setting (PAPER.md, Protocols), tracklets, and PRCC's single-shot
protocol.

    labels, rows = joint_labels(manifest), compared_rows(manifest, "prcc")
    queries, gallery = rows["cc"]
    scores = evaluate_features(
        features[queries], features[gallery], labels.take(queries), labels.take(gallery), junk_rule("cc", "prcc")
    )
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlcr.data.readers import find_reader
from dlcr.evaluation.labels import Labels
from dlcr.evaluation.metrics import prepare_both, score_features
from dlcr.runtime.seeds import seed_of

TEST_SPLITS = ("gallery", "query", "query_sc")


def compared_rows(manifest: pd.DataFrame, reader: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows (int64) of queries and gallery in `manifest`, for each setting that the dataset allows.

    `reader` is the dataset's reader (`dlcr.data.read_dataset`). Where clothes of test images are unknown ("", LaST)
    only "general" is left. ValueError if there are no images of split query or gallery.
    """
    split = manifest["split"].to_numpy(dtype=object)
    camera = manifest["camera"].to_numpy(dtype=object)
    for needed in ("gallery", "query"):
        if not (split == needed).any():
            raise ValueError(f"the manifest has no split {needed!r}: it has {', '.join(sorted(set(split)))}")
    clothes_known = (manifest["clothes"][np.isin(split, TEST_SPLITS)] != "").all()
    found = {}
    for setting, compared in find_reader(reader).protocol.items():
        seen = np.isin(camera, compared.cameras) if compared.cameras else np.ones(len(manifest), dtype=bool)
        queries = np.flatnonzero(np.isin(split, compared.splits) & seen)
        gallery = np.flatnonzero((split == "gallery") & seen)
        if len(queries) and len(gallery) and (clothes_known or setting == "general"):
            found[setting] = queries, gallery
    return found


def junk_rule(setting: str, reader: str) -> str:
    """The setting of `evaluate` whose junk is removed in a setting of the reader's dataset: its own, or, where the
    cameras alone make the setting (VC-Clothes), "general"."""
    return "general" if find_reader(reader).camera_alone else setting


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
    """Features float32 [T, D] of tracklets: the mean of their frames' unit features [N, D] (CCVID, PEERS.md).

    `tracklet` int64 [N] numbers them from 0 as `tracklet_of` does; each has a frame at least. Rows are not scaled
    again: similarities are of rows of length 1 anyway.
    """
    order = np.argsort(tracklet, kind="stable")
    counts = np.bincount(tracklet)
    starts = np.cumsum(counts) - counts
    sums = np.add.reduceat(features[order], starts, axis=0, dtype=np.float64)
    return (sums / counts[:, None]).astype(np.float32)


def joint_labels(manifest: pd.DataFrame) -> Labels:
    """Labels of a manifest's rows.

    Subjects, clothes and cameras are numbered from 0, each in the order of the sorted names. An unknown
    camera or clothes ("") gets a negative number of its own: unknown ones are never the same. Give query
    and gallery in one table: only then do they share one numbering.
    """
    columns = []
    for name in ("subject", "clothes", "camera"):
        values = manifest[name].to_numpy(dtype=object).astype(str)
        numbers = np.unique(values, return_inverse=True)[1]
        columns.append(np.where(values == "", -1 - np.arange(len(values)), numbers))
    return Labels(*columns)


@dataclass(frozen=True)
class SingleShot:
    """Means of top-1 and mAP (fractions) over the draws, and their population standard deviations."""

    top1: float
    map: float
    top1_std: float
    map_std: float
    draws: int


def single_shot(
    query: np.ndarray,
    gallery: np.ndarray,
    query_labels: Labels,
    gallery_labels: Labels,
    setting: str = "cc",
    draws: int = 10,
    seed: int = 0,
) -> SingleShot:
    """PRCC's single-shot protocol: one random gallery image a subject, averaged over seeded draws.

    Features query [Q, D] and gallery [G, D]; arguments and errors otherwise as in `evaluate_features`. Draw
    i depends on (seed, i) and the gallery's order only.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    query, gallery = prepare_both(query, gallery, query_labels, gallery_labels)
    results = []
    for draw in range(draws):
        shuffled = np.random.default_rng(seed_of("single-shot", seed, draw)).permutation(len(gallery))
        _, first = np.unique(gallery_labels.subjects[shuffled], return_index=True)
        chosen = np.sort(shuffled[first])
        labels = query_labels, gallery_labels.take(chosen)
        scores = score_features(query, gallery.take(chosen), *labels, setting)
        results.append((scores.top1, scores.map))
    top1, mean_ap = np.mean(results, axis=0)
    top1_std, map_std = np.std(results, axis=0)
    return SingleShot(float(top1), float(mean_ap), float(top1_std), float(map_std), draws)
