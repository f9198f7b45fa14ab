"""Prediction refinement with inpainted variants of the query (Sec. 3.2.2, Algorithm 1).

refined = refine(query, variants, gallery, query_labels, gallery_labels, m=5, setting="cc")
scores = evaluate_refined(Side(query, query_labels), Side(gallery, gallery_labels), refined, setting="cc")

The same on given similarities, of re-ranking or of GEFF: `refine_similarity` and `evaluate_refined_similarity`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlcr.evaluation.labels import Labels, by_subject, check_labels, check_setting, own_images
from dlcr.evaluation.metrics import Scores, evaluate, evaluate_sides, prepare_both
from dlcr.evaluation.nearest import largest, nearest
from dlcr.evaluation.sides import Side
from dlcr.evaluation.similarity import DECIMALS, Features, blocks, prepare, product

BLOCK_VALUES = 16_000_000  # values of sources, or similarities, in a block: 64 MB in float32
Junk = Callable[
    [slice | np.ndarray], tuple[np.ndarray, np.ndarray]
]  # of some queries: rows among them, gallery indices


@dataclass(frozen=True, eq=False)
class Voters:
    """The m nearest gallery images of each query (first) and of each of its l variants, junk removed.

    images        int64 [Q, 1 + l, m]: gallery indices, nearest first
    similarities  float64 [Q, 1 + l, m]: their cosines, right to about 1e-6; -inf where there is no image or no variant
    """

    images: np.ndarray
    similarities: np.ndarray

    def votes(self) -> np.ndarray:
        """What each image adds to its subject's score, float64 [Q, 1 + l, m]: its similarity over the largest of its
        source; 0 where that is zero or negative."""
        return _weights(self.similarities)


@dataclass(frozen=True, eq=False)
class Refined:
    """What `refine` found: the subjects S among the top m gallery images of each query, by refined score.

    prediction  int64 [Q]: the subject with the highest score; -1 if every gallery image is junk for the query
    subjects    int64 [Q, m]: S, padded with -1; highest score first, among equals the better original rank
    scores      float64 [Q, m]: their scores, 0 where subjects is -1; right to about 1e-6
    """

    prediction: np.ndarray
    subjects: np.ndarray
    scores: np.ndarray


def refine(
    query: np.ndarray,
    variants: np.ndarray,
    gallery: np.ndarray,
    query_labels: Labels,
    gallery_labels: Labels,
    m: int = 5,
    setting: str = "cc",
    present: np.ndarray | None = None,
) -> Refined:
    """Algorithm 1 on features of queries [Q, D], their `l` variants [Q, l, D] and the gallery [G, D].

    Rows are L2-normalised inside. For each query, junk (`setting`, as in `evaluate`) is removed from the
    gallery; the m most similar images form I^m, their subjects S. The score of s in S is the sum, over the
    images of s in I^m, of their similarity divided by the largest one in I^m; each variant adds the same
    kind of sum over its own top m and its own maximum. Subjects outside S are ignored. Equal similarities:
    the lower gallery index first.

    A query or variant whose largest similarity is zero or negative adds nothing: a ratio to it has no
    meaning (it would reverse the order), so the other sources decide, and if there are none, the original
    order. `present` bool [Q, l] marks the variants that exist; without it a row that is all NaN is missing.
    Missing ones add nothing. `l` may be 0. Subjects of the gallery must be 0 or more, since -1 marks
    padding.

    Similarities are made in float32, block by block. Where their error could change a place among the top m or the
    order of S, they are made again in float64: subjects and prediction are those of exact similarities.

    ValueError if a shape, length or value does not fit, or the setting is unknown.
    """
    sides = Side(query, query_labels), Side(gallery, gallery_labels)
    voters = find_voters(sides[0], variants, sides[1], m, setting, present)
    return count_votes(voters, gallery_labels)


def count_votes(voters: Voters, gallery_labels: Labels) -> Refined:
    """The second half of `refine`: the subjects that the voters' votes are for."""
    subjects, scores = _vote(gallery_labels.subjects[voters.images], voters.similarities)
    return Refined(subjects[:, 0].copy(), subjects, scores)


def find_voters(
    query: Side,
    variants: np.ndarray,
    gallery: Side,
    m: int = 5,
    setting: str = "cc",
    present: np.ndarray | None = None,
) -> Voters:
    """The first half of `refine`, whose arguments it takes: which gallery images vote."""
    check_setting(setting)
    _check_m(m)
    variants = np.asarray(variants)
    queries, images = prepare_both(query, gallery)
    _check_subjects(gallery.labels)
    present = _check_variants(variants, present, queries.given.shape)
    junk = _junk(query.labels, gallery.labels, setting)
    top, values, window = _in_float32(queries, variants, present, images, junk, m + 1)
    found, similarities = top[:, :, :m], values[:, :, :m].astype(np.float64)
    subjects, scores = _vote(gallery.labels.subjects[found], similarities)
    doubtful = np.flatnonzero(_doubtful(values, scores, subjects, window))
    for part in blocks(len(doubtful), top.shape[1] * max(images.given.shape), BLOCK_VALUES):
        rows = doubtful[part]
        found[rows], similarities[rows] = _in_float64(queries, variants, present, images, junk, m, rows)
    return Voters(found, similarities)


def evaluate_refined(query: Side, gallery: Side, refined: Refined, setting: str = "cc") -> Scores:
    """Scores of the rankings that `refine` leads to, of what it was given and in the same setting.

    Gallery images of subjects in S are ranked, by refined score of their subject and then by original similarity, ahead
    of all others, which keep the order of their original similarity. Errors as in `evaluate_features`.
    """
    _check_length(refined, len(query))
    return evaluate_sides(query, gallery, setting, refined.subjects)


def refine_similarity(
    similarity: np.ndarray,
    variants: np.ndarray,
    query_labels: Labels,
    gallery_labels: Labels,
    m: int = 5,
    setting: str = "cc",
    present: np.ndarray | None = None,
) -> Refined:
    """`refine` on given similarities, higher is closer: of queries [Q, G] and of their `l` variants [Q, l, G].

    Any finite numbers do, but Algorithm 1 divides them by the largest of a source, so zero must mean "resembles
    nothing", as it does for cosines: a constant that is added changes the weights, and a source whose largest
    similarity is zero or negative adds nothing. Rules, order, `present` and errors as in `refine`; everything is
    computed in float64. With cosines, rounded to 12 decimals, its subjects are those of `refine`.

    Queries don't depend on each other: a large set can be refined a block of rows at a time.
    """
    check_setting(setting)
    _check_m(m)
    similarity = _check_similarity(similarity, query_labels, gallery_labels)
    _check_subjects(gallery_labels)
    variants = np.asarray(variants)
    present = _check_variants(variants, present, similarity.shape)
    junk = _junk(query_labels, gallery_labels, setting)
    subjects, scores = np.empty((len(similarity), m), dtype=np.int64), np.empty((len(similarity), m))
    for rows in blocks(len(similarity), (1 + variants.shape[1]) * similarity.shape[1], BLOCK_VALUES):
        there = np.where(present[rows, :, None], variants[rows], 0)  # zeros add nothing
        _check_finite(there, rows.start)
        sources = np.concatenate([similarity[rows, None], there], axis=1, dtype=np.float64)
        i, j = junk(rows)
        sources[i, :, j] = -np.inf
        found = largest(sources.reshape(-1, similarity.shape[1]), m)
        top, values = (x.reshape(*sources.shape[:2], m) for x in found)
        subjects[rows], scores[rows] = _vote(gallery_labels.subjects[top], values)
    return Refined(subjects[:, 0].copy(), subjects, scores)


def evaluate_refined_similarity(
    similarity: np.ndarray, refined: Refined, query_labels: Labels, gallery_labels: Labels, setting: str = "cc"
) -> Scores:
    """`evaluate_refined` on the similarities [Q, G] that `refine_similarity` got. Errors as in `evaluate`."""
    check_setting(setting)
    similarity = _check_similarity(similarity, query_labels, gallery_labels)
    _check_length(refined, len(similarity))
    m = refined.subjects.shape[1]
    closeness = np.empty(similarity.shape)  # minus the rank: equal similarities are put in order here
    for rows in blocks(*similarity.shape):
        place = np.full(similarity[rows].shape, m)
        for k in range(m):
            place[gallery_labels.subjects == refined.subjects[rows, k, None]] = k
        order = np.lexsort((-similarity[rows].astype(np.float64), place))  # stable: the lower index first
        np.put_along_axis(closeness[rows], order, -np.arange(similarity.shape[1], dtype=np.float64)[None], axis=1)
    return evaluate(closeness, query_labels, gallery_labels, setting)


def _check_m(m: int) -> None:
    if isinstance(m, bool) or not isinstance(m, int | np.integer) or m < 1:
        raise ValueError(f"m must be an integer of at least 1, got {m!r}")


def _check_subjects(gallery_labels: Labels) -> None:
    if gallery_labels.subjects.min() < 0:
        raise ValueError("gallery_labels.subjects must be 0 or more: -1 marks padding in the result")


def _check_length(refined: Refined, queries: int) -> None:
    if len(refined.subjects) != queries:
        raise ValueError(f"refined holds {len(refined.subjects)} queries, expected {queries}")


def _check_similarity(similarity: np.ndarray, query_labels: Labels, gallery_labels: Labels) -> np.ndarray:
    """Finite similarities [Q, G] of these labels."""
    array = np.asarray(similarity)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.size == 0:
        raise ValueError(f"similarity must be numbers of shape [Q, G], got {array.dtype} of shape {array.shape}")
    check_labels(query_labels, "query_labels", array.shape[0])
    check_labels(gallery_labels, "gallery_labels", array.shape[1])
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(broken):
        raise ValueError(f"similarity must be finite, but row {broken[0]} is not")
    return array


def _check_finite(variants: np.ndarray, first_row: int) -> None:
    broken = np.argwhere(~np.isfinite(variants).all(axis=2))
    if len(broken):
        row, variant = broken[0]
        raise ValueError(f"variants must be finite, but variant {variant} of query {first_row + row} is not")


def _check_variants(variants: np.ndarray, present: np.ndarray | None, query_shape: tuple[int, int]) -> np.ndarray:
    """Which variants exist, bool [Q, l]."""
    if variants.ndim != 3 or variants.shape[0] != query_shape[0] or variants.shape[2] != query_shape[1]:
        raise ValueError(f"variants must have shape [{query_shape[0]}, l, {query_shape[1]}], got {variants.shape}")
    if variants.dtype.kind not in "fiu":
        raise ValueError(f"variants must be numbers, got {variants.dtype}")
    shape = variants.shape[:2]
    if present is None:
        present = ~np.isnan(variants[:, :, 0])
        unsure = np.nonzero(~present)  # a row of NaN is a missing variant, a single NaN an error
        present[unsure] = ~np.isnan(variants[unsure]).all(axis=1)
        return present
    present = np.asarray(present)
    if present.dtype != bool or present.shape != shape:
        raise ValueError(f"present must be bool {shape}, got {present.dtype} {present.shape}")
    return present


def _junk(query: Labels, gallery: Labels, setting: str) -> Junk:
    order = by_subject(gallery)

    def junk(rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        i, j, removed = own_images(query.take(rows), gallery, setting, order)
        return i[removed], j[removed]

    return junk


def _in_float32(
    queries: Features, variants: np.ndarray, present: np.ndarray, images: Features, junk: Junk, count: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Gallery indices and similarities float32, [Q, 1 + l, count] each, of the nearest of queries and variants.

    And the largest window of their products.
    """
    each = variants.shape[1]
    top = np.empty((len(queries), 1 + each, count), dtype=np.int64)
    values = np.empty(top.shape, dtype=np.float32)
    slices = list(blocks(len(queries), max(1, each) * max(images.given.shape), BLOCK_VALUES))
    space = np.empty((slices[0].stop * max(1, each), len(images)), dtype=np.float32)

    windows = []

    def search(sources: Features, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        n = rows.stop - rows.start
        similarity, window = product(sources, images, space[: len(sources)])
        windows.append(window)
        i, j = junk(rows)
        similarity.reshape(n, -1, len(images))[i, :, j] = -np.inf
        index, found = largest(similarity, count)
        return index.reshape(n, -1, count), (found / sources.scale).reshape(n, -1, count)

    for rows in slices:
        top[rows, :1], values[rows, :1] = search(queries.take(rows), rows)
        if each > 0:
            top[rows, 1:], values[rows, 1:] = search(_prepared(variants[rows], present[rows], rows.start), rows)
    values[:, 1:][~present] = -np.inf
    return top, values, max(windows)


def _in_float64(
    queries: Features,
    variants: np.ndarray,
    present: np.ndarray,
    images: Features,
    junk: Junk,
    count: int,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """As `_in_float32`, of exact similarities, of some rows."""
    there = np.where(present[rows, :, None], variants[rows], 0)
    sources = np.concatenate([queries.given[rows, None], there], axis=1)
    features = prepare(sources.reshape(-1, sources.shape[2]), "variants")
    similarity, window = product(features, images)
    i, j = junk(rows)
    similarity.reshape(*sources.shape[:2], -1)[i, :, j] = -np.inf
    found = nearest(similarity, window, features, images, count)
    top, values = (x.reshape(*sources.shape[:2], count) for x in found)
    values[:, 1:][~present[rows]] = -np.inf
    return top, values


def _prepared(variants: np.ndarray, present: np.ndarray, first_row: int) -> Features:
    """Variants [B, l, D] as features [B * l, D]; those that are not present are zeros."""
    if not present.all():
        variants = np.where(present[:, :, None], variants, 0)
    try:
        return prepare(variants.reshape(-1, variants.shape[2]), "variants")
    except ValueError:
        _check_finite(variants, first_row)  # names it
        raise


def _doubtful(values: np.ndarray, scores: np.ndarray, subjects: np.ndarray, window: float) -> np.ndarray:
    """Queries, bool [Q], for which the error of float32 may change the top m, a source's part or the order of S.

    values float32 [Q, 1 + l, m + 1] of the queries and their variants; two that differ by `window` may be equal.
    """
    first, last, next_one = values[:, :, 0], values[:, :, -2], values[:, :, -1]
    unsure = (np.isfinite(last) & (next_one >= last - window)) | (np.abs(first) <= window)
    # A weight, a similarity over the largest, is wrong by at most window / largest, and there are m in a source.
    error = np.divide(window, first, out=np.zeros(first.shape), where=np.isfinite(first) & (first > window))
    error = (values.shape[2] - 1) * error.sum(axis=1)
    tied = (scores[:, :-1] - scores[:, 1:] <= error[:, None]) & (subjects[:, 1:] >= 0)
    return unsure.any(axis=1) | tied.any(axis=1)


def _vote(subjects: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """S and its scores, [B, m] each, from the top m [B, 1 + l, m] of the query (first) and its variants.

    Where a value is -inf there is no image.
    """
    subjects = np.where(values > -np.inf, subjects, -1)
    weights = _weights(values)
    candidates = subjects[:, 0]  # [B, m]
    m = candidates.shape[1]
    votes = candidates[:, :, None] == subjects.reshape(len(subjects), 1, -1)  # [B, m, (1 + l) * m]
    # Rounded, so that the order of a sum cannot decide between equal scores.
    scores = np.round(np.einsum("bmv,bv->bm", votes, weights.reshape(len(weights), -1)), DECIMALS)
    earlier = (candidates[:, :, None] == candidates[:, None, :]) & np.tri(m, k=-1, dtype=bool)
    member = (candidates >= 0) & ~earlier.any(axis=2)
    order = np.argsort(np.where(member, -scores, np.inf), axis=1, kind="stable")
    member = np.take_along_axis(member, order, axis=1)
    return (
        np.where(member, np.take_along_axis(candidates, order, axis=1), -1),
        np.where(member, np.take_along_axis(scores, order, axis=1), 0.0),
    )


def _weights(values: np.ndarray) -> np.ndarray:
    """Similarities [B, 1 + l, m] over the largest of their source; 0 where there is no image or the largest is not
    positive."""
    largest = values[:, :, :1]
    usable = np.isfinite(values) & (largest > 0)
    return np.divide(values, largest, out=np.zeros_like(values), where=usable)
