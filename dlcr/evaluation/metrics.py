"""Top-1, mAP and CMC of a ranking: `evaluate` (given similarities) and `evaluate_features` (given features).

scores = evaluate(similarity, Labels(...), Labels(...), "cc")
print(scores.top1, scores.map, scores.queries)
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dlcr.evaluation.labels import Labels, check_labels, check_setting, junk_and_match
from dlcr.evaluation.similarity import blocks, cosine, unit_rows


@dataclass(frozen=True, eq=False)
class Scores:
    """What a ranking of the gallery is worth, as fractions from 0 to 1.

    top1            share of queries whose first gallery image (after removal of junk) is correct
    map             mean over queries of the average precision, which is the mean, over the correct images,
                    of the precision at their ranks
    cmc             float64 [G]: cmc[r] is the share of queries with a correct image among the first r + 1
    queries         how many queries count: those with at least one correct image
    unmatched       how many were left out because the gallery holds no correct image for them
    query_index     int64 [queries]: rows of the counted queries, ascending
    per_query_top1  bool [queries]; its mean is top1
    per_query_ap    float64 [queries]; its mean is map
    """

    top1: float
    map: float
    cmc: np.ndarray
    queries: int
    unmatched: int
    query_index: np.ndarray
    per_query_top1: np.ndarray
    per_query_ap: np.ndarray


def evaluate(similarity: np.ndarray, query: Labels, gallery: Labels, setting: str) -> Scores:
    """Scores of `similarity` [Q, G]: any numbers without NaN, higher is closer (PAPER.md, Protocols).

    setting "cc" removes, for each query, the gallery images of its subject that share its camera or its
    clothes; "sc" those of its subject that share its camera or wear other clothes; "general" those of its
    subject and camera. Queries that have no correct image then are left out and counted in `unmatched`.
    Among equal similarities the image with the lower gallery index comes first.

    ValueError if a shape or length does not fit, something is empty or NaN, the setting is unknown, or no
    query at all has a correct image.
    """
    check_setting(setting)
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or similarity.dtype.kind not in "fiu":
        raise ValueError(
            f"similarity must be numbers of shape [Q, G], got {similarity.dtype} of shape {similarity.shape}"
        )
    if similarity.size == 0:
        raise ValueError(f"similarity is empty: expected a query and a gallery image, got {similarity.shape}")
    check_labels(query, "query", similarity.shape[0])
    check_labels(gallery, "gallery", similarity.shape[1])

    def rankings() -> Iterable[tuple[slice, np.ndarray]]:
        for rows in blocks(*similarity.shape):
            block = similarity[rows]
            if block.dtype.kind == "f" and np.isnan(block).any():
                row = rows.start + np.flatnonzero(np.isnan(block).any(axis=1))[0]
                raise ValueError(f"similarity must not be NaN, but row {row} holds one")
            yield rows, ranking(block)

    return score_rankings(rankings(), query, gallery, setting)


def evaluate_features(
    query: np.ndarray, gallery: np.ndarray, query_labels: Labels, gallery_labels: Labels, setting: str
) -> Scores:
    """`evaluate` of the cosine similarities of `query` [Q, D] to `gallery` [G, D], made block by block.

    Rows are L2-normalised inside, in float64; the features must be finite. Peak memory: the features in
    float64 and about 160 MB. Errors as in `evaluate`.
    """
    check_setting(setting)
    query, gallery = unit_features(query, gallery, query_labels, gallery_labels)
    rankings = ((rows, ranking(cosine(query[rows], gallery))) for rows in blocks(len(query), len(gallery)))
    return score_rankings(rankings, query_labels, gallery_labels, setting)


def unit_features(
    query: np.ndarray, gallery: np.ndarray, query_labels: Labels, gallery_labels: Labels
) -> tuple[np.ndarray, np.ndarray]:
    """Query [Q, D] and gallery [G, D] as unit rows, checked against their labels."""
    query, gallery = unit_rows(query, "query"), unit_rows(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have equally many columns, got {query.shape[1]} and {gallery.shape[1]}"
        )
    check_labels(query_labels, "query_labels", len(query))
    check_labels(gallery_labels, "gallery_labels", len(gallery))
    return query, gallery


def ranking(similarity: np.ndarray) -> np.ndarray:
    """Gallery indices [Q, G] from the most to the least similar; among equals the lower index first."""
    if similarity.dtype.kind != "f":
        similarity = similarity.astype(np.float64)  # unsigned integers cannot be negated
    return np.argsort(-similarity, axis=1, kind="stable")


def score_rankings(
    rankings: Iterable[tuple[slice, np.ndarray]], query: Labels, gallery: Labels, setting: str
) -> Scores:
    """Scores of complete rankings, given block by block.

    A block is (rows of the queries, gallery indices [rows, G], best first). The rankings may contain junk:
    it is removed here. ValueError if no query has a correct image.
    """
    parts = [_score_block(order, query.take(rows), gallery, setting) for rows, order in rankings]
    first_rank, precision = (np.concatenate(column) for column in zip(*parts, strict=True))
    counted = np.flatnonzero(first_rank)
    if len(counted) == 0:
        raise ValueError(
            f"no query has a correct gallery image: expected at least one gallery image of a query's subject "
            f"that setting {setting!r} does not remove ({len(query)} queries, {len(gallery)} gallery images)"
        )
    first_rank, precision = first_rank[counted], precision[counted]
    hits = np.bincount(first_rank - 1, minlength=len(gallery))
    return Scores(
        top1=float((first_rank == 1).mean()),
        map=float(precision.mean()),
        cmc=np.cumsum(hits) / len(counted),
        queries=len(counted),
        unmatched=len(query) - len(counted),
        query_index=counted,
        per_query_top1=first_rank == 1,
        per_query_ap=precision,
    )


def _score_block(order: np.ndarray, query: Labels, gallery: Labels, setting: str) -> tuple[np.ndarray, np.ndarray]:
    """Rank of the first correct image [Q] (from 1; 0: there is none) and average precision [Q]."""
    junk, match = junk_and_match(query, gallery, setting)
    match = np.take_along_axis(match, order, axis=1)
    rank = np.cumsum(~np.take_along_axis(junk, order, axis=1), axis=1, dtype=np.int32)  # without junk
    rows, columns = np.nonzero(match)
    matches = match.sum(axis=1)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(matches) - matches, matches) + 1  # of the correct images
    precision = np.bincount(rows, weights=nth / rank[rows, columns], minlength=len(match))
    first = np.where(matches > 0, rank[np.arange(len(match)), match.argmax(axis=1)], 0)
    return first, precision / np.maximum(matches, 1)
