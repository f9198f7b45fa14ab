"""The tables of an evaluation, and the summary of its scores.

`test` is the manifest of what is compared (`dlcr.evaluation.tracklets.Tracklets.rows`), whose rows a comparison names.
"""

import numpy as np
import pandas as pd

from dlcr.evaluation.labels import by_subject, images_of, own_images
from dlcr.evaluation.metrics import Scores, prepare_both
from dlcr.evaluation.nearest import nearest
from dlcr.evaluation.protocols import Comparison, SingleShot
from dlcr.evaluation.refinement import Refined, Voters
from dlcr.evaluation.similarity import Features, cosines, products

TOP = 10  # ranks kept for the retrieval figures
SHOWN = 5  # subjects whose features are kept, as many as in Fig. A5


def per_query_table(case: Comparison, scores: Scores, test: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row per counted query: setting, kind (of `runs.KINDS`), image_id, subject, hit (0 or 1), ap (0 to 1)."""
    counted = test.iloc[case.query_rows[scores.query_index]]
    return pd.DataFrame(
        {
            "setting": case.setting,
            "kind": kind,
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
    query, gallery = prepare_both(case.query, case.gallery)
    labels, images = case.query.labels, case.gallery.labels
    order = by_subject(images)
    parts = []
    for rows, similarity, window in products(query, gallery):
        i, j, junk = own_images(labels.take(rows), images, case.junk, order)
        similarity[i[junk], j[junk]] = -np.inf
        index, values = nearest(similarity, window, query.take(rows), gallery, TOP)
        if refined is not None:
            for row, subjects in enumerate(refined.subjects[rows]):
                place, found = images_of(subjects, images, order)
                place, found = (x[similarity[row, found] > -np.inf] for x in (place, found))
                exact = query.exact(slice(rows.start + row, rows.start + row + 1))
                index[row], values[row] = _front_first(place, found, exact, gallery, index[row], values[row])
        row, rank = np.nonzero(values > -np.inf)
        j = index[row, rank]
        correct = images.subjects[j] == labels.subjects[rows][row]  # junk is not among them
        parts.append((rows.start + row, rank + 1, j, values[row, rank], correct))
    return _ranked(case, test, parts, refined is not None)


def votes_table(case: Comparison, test: pd.DataFrame, voters: Voters, refined: Refined) -> pd.DataFrame:
    """What each source adds to the refined scores: one row per query, variant (-1: the query) and rank (from 1).

    Columns query and gallery (image IDs), variant, rank, subject (the gallery image's), similarity (cosine), vote
    (`Voters.votes`) and counted: whether the subject is in S, the only ones whose votes are added.
    """
    query, source, rank = np.nonzero(voters.similarities > -np.inf)
    images = voters.images[query, source, rank]
    gallery = test.iloc[case.gallery_rows[images]]
    subjects = case.gallery.labels.subjects[images]
    return pd.DataFrame(
        {
            "query": test["image_id"].to_numpy(dtype=object)[case.query_rows[query]],
            "variant": (source - 1).astype(np.int16),
            "rank": (rank + 1).astype(np.int16),
            "gallery": gallery["image_id"].to_numpy(),
            "subject": gallery["subject"].to_numpy(),
            "similarity": voters.similarities[query, source, rank],
            "vote": voters.votes()[query, source, rank],
            "counted": (subjects[:, None] == refined.subjects[query]).any(axis=1),
        }
    )


def features_table(case: Comparison, test: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The L2-normalised features of `SHOWN` subjects that have queries, drawn by `seed`: their queries and gallery
    images.

    Columns image_id, split, subject, clothes, feature (a list of float32).
    """
    rows = np.concatenate([case.query_rows, case.gallery_rows])
    subjects = np.unique(test["subject"].to_numpy(dtype=str)[case.query_rows])
    drawn = np.random.default_rng(seed).choice(subjects, min(SHOWN, len(subjects)), replace=False)
    kept = test["subject"].iloc[rows].isin(drawn).to_numpy()
    features = np.concatenate([case.query.features, case.gallery.features])[kept].astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    table = test[["image_id", "split", "subject", "clothes"]].iloc[rows[kept]].reset_index(drop=True)
    return table.assign(feature=list(features))


def similarity_rankings(case: Comparison, test: pd.DataFrame, similarity: np.ndarray) -> pd.DataFrame:
    """`rankings_table` by similarities [Q, G] that are given; equal ones: the lower gallery index first."""
    labels, images = case.query.labels, case.gallery.labels
    similarity = similarity.copy()
    i, j, junk = own_images(labels, images, case.junk, by_subject(images))
    similarity[i[junk], j[junk]] = -np.inf
    index = np.argsort(-similarity, axis=1, kind="stable")[:, :TOP]
    values = np.take_along_axis(similarity, index, axis=1)
    row, rank = np.nonzero(values > -np.inf)
    j = index[row, rank]
    return _ranked(
        case, test, [(row, rank + 1, j, values[row, rank], images.subjects[j] == labels.subjects[row])], False
    )


def _ranked(case: Comparison, test: pd.DataFrame, parts: list[tuple], refined: bool) -> pd.DataFrame:
    """The table of parts: places of the queries, ranks, places in the gallery, similarities, and which are correct."""
    i, rank, j, similarity, correct = (np.concatenate(column) for column in zip(*parts, strict=True))
    image_ids = test["image_id"].to_numpy(dtype=object)
    return pd.DataFrame(
        {
            "query": image_ids[case.query_rows[i]],
            "rank": rank.astype(np.int32),
            "gallery": image_ids[case.gallery_rows[j]],
            "similarity": similarity,
            "correct": correct,
            "refined": refined,
        }
    )


def _front_first(
    place: np.ndarray, images: np.ndarray, query: np.ndarray, gallery: Features, index: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first TOP gallery images of a query after refinement, and their similarities.

    `images` are those of the subjects in S, with the `place` of their subject, ascending; `index` and `values` the
    nearest TOP of all. The rule is that of `evaluate_refined`.
    """
    if len(place) > TOP:
        images, place = images[place <= place[TOP - 1]], place[place <= place[TOP - 1]]
    others = (values > -np.inf) & ~np.isin(index, images)
    place = np.append(place, np.full(others.sum(), np.iinfo(place.dtype).max))
    images = np.append(images, index[others])
    values = np.append(cosines(query, gallery, images[: len(images) - others.sum()])[0], values[others])
    first = np.lexsort((images, -values, place))[:TOP]
    missing = TOP - len(first)  # as in `nearest`
    return np.pad(images[first], (0, missing)), np.pad(values[first], (0, missing), constant_values=-np.inf)


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
