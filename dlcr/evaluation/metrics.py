"""Top-1, mAP and CMC of a ranking: `evaluate` (given similarities) and `evaluate_features` (given features).

scores = evaluate(similarity, Labels(...), Labels(...), "cc")
print(scores.top1, scores.map, scores.queries)

Nothing is ranked as a whole. Average precision needs, for each correct image, how many wrong ones are ahead of it:
a search for a few values in a row that is sorted without its indices, which processors do ten times faster than
finding the order of the row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dlcr.evaluation.labels import Labels, by_subject, check_labels, check_setting, images_of, own_images
from dlcr.evaluation.sides import Side
from dlcr.evaluation.similarity import (
    Features,
    blocks,
    check_columns,
    cosines,
    in_threads,
    pair_cosines,
    prepare,
    products,
)

SORTED_VALUES = 8_000_000  # similarities sorted at a time: 32 MB in float32
CLOSE_SHARE = 0.01  # of a block's similarities that may be valued singly; beyond it the whole block is faster


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
    per_query_rank  int64 [queries], of the first correct image, from 1; the share of ones is top1
    per_query_ap    float64 [queries]; its mean is map
    """

    top1: float
    map: float
    cmc: np.ndarray
    queries: int
    unmatched: int
    query_index: np.ndarray
    per_query_rank: np.ndarray
    per_query_ap: np.ndarray


def evaluate(similarity: np.ndarray, query: Labels, gallery: Labels, setting: str) -> Scores:
    """Scores of `similarity` [Q, G]: any numbers without NaN, higher is closer (top-1 and mAP, Sec. 4).

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
    dtype = similarity.dtype if similarity.dtype.kind == "f" else np.float64

    def copies() -> Iterator[tuple[slice, np.ndarray, float]]:
        for rows in blocks(*similarity.shape):
            block = similarity[rows].astype(dtype)
            broken = np.flatnonzero(np.isnan(block.max(axis=1)))
            if len(broken):
                raise ValueError(f"similarity must not be NaN, but row {rows.start + broken[0]} holds one")
            yield rows, block, 0.0

    return _score(copies(), query, gallery, setting)


def evaluate_features(
    query: np.ndarray, gallery: np.ndarray, query_labels: Labels, gallery_labels: Labels, setting: str
) -> Scores:
    """`evaluate` of the cosine similarities of `query` [Q, D] to `gallery` [G, D], made block by block.

    Rows are L2-normalised inside; the features must be finite. Similarities are those of float64, rounded to 12
    decimals (`dlcr.evaluation.similarity`), and so are their ties. Peak memory beyond float32 features, others being
    copied into that: a block of 512 x G similarities, and 0.1 GB. Errors as in `evaluate`.
    """
    return evaluate_sides(Side(query, query_labels), Side(gallery, gallery_labels), setting)


def evaluate_sides(query: Side, gallery: Side, setting: str, front: np.ndarray | None = None) -> Scores:
    """`evaluate_features` of two sides.

    `front` int64 [Q, m]: subjects whose images come before all others, those of front[:, 0] first; -1 is nobody.
    """
    check_setting(setting)
    features = prepare_both(query, gallery)
    return _score(products(*features), query.labels, gallery.labels, setting, features, front)


def prepare_both(query: Side, gallery: Side) -> tuple[Features, Features]:
    """Features of queries [Q, D] and gallery [G, D], checked against each other and their labels."""
    features, others = prepare(query.features, "query"), prepare(gallery.features, "gallery")
    check_columns(features, others)
    check_labels(query.labels, "query_labels", len(features))
    check_labels(gallery.labels, "gallery_labels", len(others))
    return features, others


def _score(
    found: Iterable[tuple[slice, np.ndarray, float]],
    query: Labels,
    gallery: Labels,
    setting: str,
    features: tuple[Features, Features] | None = None,
    front: np.ndarray | None = None,
) -> Scores:
    """Scores of blocks: rows of the queries, similarities (overwritten) and window. ValueError if no query has a match.

    With `features` the similarities are `products` of these, compared in float64 where they are closer than the window.
    """
    order = by_subject(gallery)
    parts = []
    for rows, similarity, window in found:
        own = None if features is None else (features[0].take(rows), features[1])
        compared = query.take(rows), gallery, setting, order, None if front is None else front[rows]
        scores = _score_block(similarity, *compared, own, window)
        parts.append(scores or _score_block(_exact_block(*own), *compared))
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
        per_query_rank=first_rank,
        per_query_ap=precision,
    )


def _score_block(
    similarity: np.ndarray,
    query: Labels,
    gallery: Labels,
    setting: str,
    order: np.ndarray,
    front: np.ndarray | None = None,
    features: tuple[Features, Features] | None = None,
    window: float = 0.0,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rank of the first correct image [B] (from 1; 0: there is none) and average precision [B].

    None, if too many similarities are too close to be compared singly.
    """
    i, j, junk = own_images(query, gallery, setting, order)
    values = similarity[i[~junk], j[~junk]]
    similarity[i, j] = np.nan  # sorted behind all numbers, equal to none: what remains are the wrong answers
    wrong = len(gallery) - np.bincount(i, minlength=len(query))
    i, j = i[~junk], j[~junk]
    if front is not None:
        _move_to_front(similarity, query, gallery, order, front)
    ahead = _ahead(similarity, wrong, i, j, values, features, window)
    if ahead is None:
        return None
    # In the order of the ranking: the more wrong answers ahead, the further back.
    first_of_row = i * (len(gallery) + 1)
    ahead = np.sort(first_of_row + ahead) - first_of_row
    matches = np.bincount(i, minlength=len(query))
    starts = np.cumsum(matches) - matches
    nth = np.arange(len(i)) - starts[i] + 1  # of the correct images
    precision = np.bincount(i, weights=nth / (nth + ahead), minlength=len(query))
    first = np.zeros(len(query), dtype=np.int64)
    first[matches > 0] = ahead[starts[matches > 0]] + 1
    return first, precision / np.maximum(matches, 1)


def _ahead(
    similarity: np.ndarray,
    wrong: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    values: np.ndarray,
    features: tuple[Features, Features] | None,
    window: float,
) -> np.ndarray | None:
    """How many wrong answers come before each correct image (rows i, ascending, gallery indices j) with its value.

    similarity [B, G] holds numbers for the `wrong` [B] answers of each row, NaN for its own subject. None: see above.
    """
    low = high = values
    if features is not None:
        close = np.float32(window) * features[0].scale[i, 0]
        low, high = values - close, values + close
    behind = np.empty(len(i), dtype=np.int64)  # or equal, or too close to say
    ends = np.searchsorted(i, np.arange(len(similarity) + 1))
    slices = list(blocks(*similarity.shape, SORTED_VALUES))
    space = np.empty((slices[0].stop, similarity.shape[1]), similarity.dtype)
    rivals: dict[int, np.ndarray] = {}  # of correct images: the wrong ones that are too close
    left = CLOSE_SHARE * similarity.size  # that may be kept
    for rows in slices:
        ordered = _sorted(similarity[rows], space)
        for row, numbers in zip(range(rows.start, rows.stop), ordered, strict=True):
            own = slice(ends[row], ends[row + 1])
            behind[own] = numbers.searchsorted(high[own], side="right")
        own = slice(ends[rows.start], ends[rows.stop])
        next_one = ordered[i[own] - rows.start, behind[own] - 1]
        for at in own.start + np.flatnonzero((behind[own] > 0) & (next_one >= low[own])):
            row = similarity[i[at]]
            found = np.flatnonzero((row >= low[at]) & (row <= high[at]))
            if features is None:  # they are equal: the lower index comes first
                behind[at] -= np.searchsorted(found, j[at])
                continue
            rivals[at], left = found, left - len(found)
            if left < 0:
                return None
    ahead = wrong[i] - behind
    if rivals:
        at, counts = np.array(list(rivals)), [len(found) for found in rivals.values()]
        own = np.repeat(pair_cosines(*features, i[at], j[at]), counts)
        at, others = np.repeat(at, counts), np.concatenate(list(rivals.values()))
        values = pair_cosines(*features, i[at], others)
        np.add.at(ahead, at, (values > own) | ((values == own) & (others < j[at])))
    return ahead


def _sorted(similarity: np.ndarray, space: np.ndarray) -> np.ndarray:
    """Each row sorted, in `space`."""
    ordered = space[: len(similarity)]

    def sort(rows: slice) -> None:
        ordered[rows] = similarity[rows]
        ordered[rows].sort(axis=1)

    in_threads(sort, *ordered.shape)
    return ordered


def _exact_block(query: Features, gallery: Features) -> np.ndarray:
    """All similarities, float64 [B, G]."""
    similarity = np.empty((len(query), len(gallery)))
    rows = query.exact(slice(None))
    for part in blocks(len(gallery), gallery.given.shape[1]):
        similarity[:, part] = cosines(rows, gallery, part)
    return similarity


def _move_to_front(
    similarity: np.ndarray, query: Labels, gallery: Labels, order: np.ndarray, front: np.ndarray
) -> None:
    """Make the images of subjects in `front` [B, m] larger or smaller than those of the query's own subject."""
    place = np.where(front == query.subjects[:, None], np.arange(front.shape[1]), front.shape[1]).min(axis=1)
    inside = place < front.shape[1]  # its images come before all that are not in front
    similarity[inside] = np.where(np.isnan(similarity[inside]), np.nan, -np.inf)
    before = np.arange(front.shape[1]) < place[:, None]
    rows = np.broadcast_to(np.arange(len(front))[:, None], front.shape)[before]
    i, j = images_of(front[before], gallery, order)
    similarity[rows[i], j] = np.inf
