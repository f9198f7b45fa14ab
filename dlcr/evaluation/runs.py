"""One trained model on one dataset: all settings, refined or not, and the tables that the stage writes.

Arrays run over the rows of `test`, the manifest's rows of splits gallery, query and query_sc.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlcr.evaluation.labels import Labels, junk_and_match
from dlcr.evaluation.metrics import Scores, ranking, unit_features
from dlcr.evaluation.protocols import SingleShot, compared_rows, joint_labels
from dlcr.evaluation.refinement import Refined, refined_ranking
from dlcr.evaluation.similarity import blocks, cosine

TOP = 10  # ranks kept for the retrieval figures


@dataclass(frozen=True)
class Comparison:
    """One setting's queries and gallery: their rows of `test`, and of each the features and labels."""

    setting: str
    queries: np.ndarray
    gallery: np.ndarray
    features: tuple[np.ndarray, np.ndarray]
    labels: tuple[Labels, Labels]


def comparisons(test: pd.DataFrame, features: np.ndarray) -> dict[str, Comparison]:
    """What is compared in each setting that the dataset allows; `features` [N, D] of all rows of `test`."""
    labels = joint_labels(test)
    return {
        setting: Comparison(
            setting,
            queries,
            gallery,
            (features[queries], features[gallery]),
            (labels.take(queries), labels.take(gallery)),
        )
        for setting, (queries, gallery) in compared_rows(test).items()
    }


def per_query_table(case: Comparison, scores: Scores, test: pd.DataFrame, refined: bool) -> pd.DataFrame:
    """One row a counted query: setting, refined, image_id, subject, hit (0 or 1), ap (0 to 1)."""
    counted = test.iloc[case.queries[scores.query_index]]
    return pd.DataFrame(
        {
            "setting": case.setting,
            "refined": refined,
            "image_id": counted["image_id"].to_numpy(),
            "subject": counted["subject"].to_numpy(),
            "hit": scores.per_query_top1.astype(np.int8),
            "ap": scores.per_query_ap,
        }
    )


def rankings_table(case: Comparison, test: pd.DataFrame, refined: Refined | None) -> pd.DataFrame:
    """The first ten gallery images of every query, junk removed.

    Columns query and gallery (image IDs), rank (from 1), similarity (the original cosine, also where
    `refined` reorders), correct, refined.
    """
    query, gallery = unit_features(*case.features, *case.labels)
    parts = []
    for rows in blocks(len(query), len(gallery)):
        similarity = cosine(query[rows], gallery)
        order = ranking(similarity)
        if refined is not None:
            order = refined_ranking(similarity, refined.subjects[rows], case.labels[1].subjects)
        junk, match = junk_and_match(case.labels[0].take(rows), case.labels[1], case.setting)
        last = np.argsort(np.take_along_axis(junk, order, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(order, last, axis=1)[:, :TOP]
        i, rank = np.nonzero(~np.take_along_axis(junk, top, axis=1))
        j = top[i, rank]
        parts.append((rows.start + i, rank + 1, j, similarity[i, j], match[i, j]))
    i, rank, j, similarity, correct = (np.concatenate(column) for column in zip(*parts, strict=True))
    image_ids = test["image_id"].to_numpy(dtype=object)
    return pd.DataFrame(
        {
            "query": image_ids[case.queries[i]],
            "rank": rank.astype(np.int32),
            "gallery": image_ids[case.gallery[j]],
            "similarity": similarity,
            "correct": correct,
            "refined": refined is not None,
        }
    )


def summary(seeds: dict[int, dict[str, Scores | SingleShot]]) -> dict:
    """Metrics in percent, rounded to 4 decimals.

    {"seeds": {seed: {setting: {"top1", "map"}}}, "mean": {setting: ...}, "std": ..., "queries": ...}

    std is the sample standard deviation over the seeds, 0 for a single one; queries says, by setting, how
    many count and how many are left out as unmatched.
    """
    values = {
        seed: {name: np.array([scores.top1, scores.map]) * 100 for name, scores in found.items()}
        for seed, found in seeds.items()
    }
    names = next(iter(values.values()))
    stacked = {name: np.stack([found[name] for found in values.values()]) for name in names}
    deviation = {name: x.std(axis=0, ddof=1) if len(x) > 1 else np.zeros(2) for name, x in stacked.items()}
    return {
        "seeds": {str(seed): _rounded(found) for seed, found in values.items()},
        "mean": _rounded({name: x.mean(axis=0) for name, x in stacked.items()}),
        "std": _rounded(deviation),
        "queries": {
            name: {"counted": scores.queries, "unmatched": scores.unmatched}
            for name, scores in next(iter(seeds.values())).items()
            if isinstance(scores, Scores)
        },
    }


def _rounded(pairs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {name: {"top1": round(float(x[0]), 4), "map": round(float(x[1]), 4)} for name, x in pairs.items()}
