"""Which images of a dataset are compared in which setting (PAPER.md, Protocols), and PRCC's single-shot
protocol.

    labels, rows = joint_labels(manifest), compared_rows(manifest) queries, gallery = rows["cc"] scores =
    evaluate_features(features[queries], features[gallery], labels.take(queries), labels.take(gallery),
    "cc")
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlcr.evaluation.labels import Labels
from dlcr.evaluation.metrics import evaluate_features, unit_features
from dlcr.runtime.seeds import seed_of

# Splits whose images are the queries of a setting. PRCC and MiniCC: the gallery is camera A; camera C (query)
# shows other clothes, camera B (query_sc) the same ones. Datasets without query_sc have no "sc" setting.
QUERY_SPLITS = {"cc": ("query",), "sc": ("query_sc",), "general": ("query", "query_sc")}
TEST_SPLITS = ("gallery", "query", "query_sc")


def compared_rows(manifest: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows (int64) of queries and gallery in `manifest`, for each setting that the dataset allows.

    Where clothes of test images are unknown ("") only "general" is left. ValueError if there are no images of
    split query or gallery.
    """
    split = manifest["split"].to_numpy(dtype=object)
    for needed in ("gallery", "query"):
        if not (split == needed).any():
            raise ValueError(f"the manifest has no split {needed!r}: it has {', '.join(sorted(set(split)))}")
    clothes_known = (manifest["clothes"][np.isin(split, TEST_SPLITS)] != "").all()
    gallery = np.flatnonzero(split == "gallery")
    queries = {
        setting: np.flatnonzero(np.isin(split, splits))
        for setting, splits in QUERY_SPLITS.items()
        if clothes_known or setting == "general"
    }
    return {setting: (rows, gallery) for setting, rows in queries.items() if len(rows)}


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
    query, gallery = unit_features(query, gallery, query_labels, gallery_labels)
    results = []
    for draw in range(draws):
        shuffled = np.random.default_rng(seed_of("single-shot", seed, draw)).permutation(len(gallery))
        _, first = np.unique(gallery_labels.subjects[shuffled], return_index=True)
        chosen = np.sort(shuffled[first])
        scores = evaluate_features(query, gallery[chosen], query_labels, gallery_labels.take(chosen), setting)
        results.append((scores.top1, scores.map))
    top1, mean_ap = np.mean(results, axis=0)
    top1_std, map_std = np.std(results, axis=0)
    return SingleShot(float(top1), float(mean_ap), float(top1_std), float(map_std), draws)
