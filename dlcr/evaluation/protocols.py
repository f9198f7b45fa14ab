"""Which images of a dataset are compared in which setting (the paper's Sec. 4, CAL's code for each dataset), and
PRCC's single-shot protocol.

    case = comparisons(manifest, Side(features, joint_labels(manifest)), "prcc")["cc"]
    scores = evaluate_sides(case.query, case.gallery, case.junk)
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlcr.data.readers import find_reader
from dlcr.evaluation.labels import Labels
from dlcr.evaluation.metrics import evaluate_sides
from dlcr.evaluation.sides import Side
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
class Comparison:
    """One setting's queries and gallery: both sides, and the rows of the manifest that they are. `junk`: the setting of
    `evaluate` whose junk is removed (`junk_rule`)."""

    setting: str
    junk: str
    query: Side
    gallery: Side
    query_rows: np.ndarray
    gallery_rows: np.ndarray


def comparisons(manifest: pd.DataFrame, side: Side, reader: str) -> dict[str, Comparison]:
    """What is compared in each setting that the dataset of `reader` allows; `side`: all rows of the manifest."""
    return {
        setting: Comparison(
            setting, junk_rule(setting, reader), side.take(queries), side.take(gallery), queries, gallery
        )
        for setting, (queries, gallery) in compared_rows(manifest, reader).items()
    }


@dataclass(frozen=True)
class SingleShot:
    """Means of top-1 and mAP (fractions) over the draws, and their population standard deviations."""

    top1: float
    map: float
    top1_std: float
    map_std: float
    draws: int


def single_shot(query: Side, gallery: Side, setting: str = "cc", draws: int = 10, seed: int = 0) -> SingleShot:
    """PRCC's single-shot protocol: one random gallery image per subject, averaged over seeded draws.

    Arguments and errors otherwise as in `evaluate_features`. Draw i depends on (seed, i) and the gallery's order only.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    results = []
    for draw in range(draws):
        shuffled = np.random.default_rng(seed_of("single-shot", seed, draw)).permutation(len(gallery))
        _, first = np.unique(gallery.labels.subjects[shuffled], return_index=True)
        scores = evaluate_sides(query, gallery.take(np.sort(shuffled[first])), setting)
        results.append((scores.top1, scores.map))
    top1, mean_ap = np.mean(results, axis=0)
    top1_std, map_std = np.std(results, axis=0)
    return SingleShot(float(top1), float(mean_ap), float(top1_std), float(map_std), draws)
