"""The tables of an evaluation, and the summary of its scores.

`test` is the manifest of what is compared (`dlcr.evaluation.tracklets.Tracklets.rows`), whose rows a comparison names.
"""

from collections.abc import Iterable
from pathlib import Path

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
NO_LOSS = ("learning_rate", "variants", "replaced")  # columns of a training history that are no losses
HEADLINE = ("refined", "reranked")  # kinds of ranking that the headline has beside the plain one


def per_query_table(case: Comparison, scores: Scores, test: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row per counted query: setting, kind (of `runs.KINDS`), image_id, subject, rank (of the first correct image,
    from 1), ap (average precision, 0 to 1, float32)."""
    counted = test.iloc[case.query_rows[scores.query_index]]
    return pd.DataFrame(
        {
            "setting": case.setting,
            "kind": kind,
            "image_id": counted["image_id"].to_numpy(),
            "subject": counted["subject"].to_numpy(),
            "rank": scores.per_query_rank.astype(np.int32),
            "ap": scores.per_query_ap.astype(np.float32),
        }
    )


def rankings_table(case: Comparison, test: pd.DataFrame, refined: Refined | None) -> pd.DataFrame:
    """The first ten gallery images of every query, junk removed.

    Columns query and gallery (image IDs), rank (from 1), similarity (the original cosine, also where `refined`
    reorders; float32, three decimals), correct, refined.
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


def votes_table(case: Comparison, test: pd.DataFrame, voters: Voters) -> pd.DataFrame:
    """Who votes in refinement: one row per query, variant (-1: the query) and rank (from 1).

    Columns query and gallery (image IDs), variant, rank, subject (the gallery image's), similarity (cosine, float16).
    What each adds follows from these: `dlcr.reporting.rankings.load_votes`.
    """
    query, source, rank = np.nonzero(voters.similarities > -np.inf)
    images = voters.images[query, source, rank]
    gallery = test.iloc[case.gallery_rows[images]]
    return pd.DataFrame(
        {
            "query": test["image_id"].to_numpy(dtype=object)[case.query_rows[query]],
            "variant": (source - 1).astype(np.int16),
            "rank": (rank + 1).astype(np.int16),
            "gallery": gallery["image_id"].to_numpy(),
            "subject": gallery["subject"].to_numpy(),
            "similarity": voters.similarities[query, source, rank].astype(np.float16),
        }
    )


def features_table(case: Comparison, test: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The L2-normalised features of `SHOWN` subjects that have queries, drawn by `seed`: their queries and gallery
    images.

    Columns image_id, split, subject, clothes, feature (a list of float16).
    """
    rows = np.concatenate([case.query_rows, case.gallery_rows])
    subjects = np.unique(test["subject"].to_numpy(dtype=str)[case.query_rows])
    drawn = np.random.default_rng(seed).choice(subjects, min(SHOWN, len(subjects)), replace=False)
    kept = test["subject"].iloc[rows].isin(drawn).to_numpy()
    features = np.concatenate([case.query.features, case.gallery.features])[kept].astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    table = test[["image_id", "split", "subject", "clothes"]].iloc[rows[kept]].reset_index(drop=True)
    return table.assign(feature=list(features.astype(np.float16)))


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
            "similarity": similarity.astype(np.float32).round(3),
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


def headline(scores: dict) -> dict:
    """What `dvc metrics` shows of an evaluation: {"top1", "map", "refined": {"top1", "map"}, "reranked": ...}.

    In percent with two decimals, means over the seeds; of the first setting, and of the kinds that there are.
    scores: as from `summary`.
    """
    mean = scores["mean"]
    first = next(iter(scores["queries"]))
    kinds = {kind: _short(mean[f"{first}_{kind}"]) for kind in HEADLINE if f"{first}_{kind}" in mean}
    return _short(mean[first]) | kinds


def _short(pair: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in pair.items()}


def mean_history(seeds: Iterable[Path]) -> pd.DataFrame:
    """The losses of a run by epoch, means over the history.csv of its seeds' folders: epoch, and one column per loss,
    `identity` always among them.

    Raises ValueError naming a history without epoch or identity loss, FileNotFoundError one that is not there.
    """
    tables = [_losses(folder / "history.csv") for folder in seeds]
    return pd.concat(tables).groupby("epoch", as_index=False, sort=True).mean()


def _losses(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    if not {"epoch", "identity"} <= set(table.columns):
        raise ValueError(f"{path}: expected the columns epoch and identity, found {', '.join(table.columns)}")
    return table.drop(columns=[name for name in NO_LOSS if name in table.columns])


def _rounded(pairs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {name: {"top1": round(float(x[0]), 4), "map": round(float(x[1]), 4)} for name, x in pairs.items()}
