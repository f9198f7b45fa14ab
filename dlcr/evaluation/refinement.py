"""Prediction refinement with inpainted variants of the query (PAPER.md, Algorithm 1).

refined = refine(query, variants, gallery, query_labels, gallery_labels, m=5, setting="cc")
scores = evaluate_refined(query, gallery, refined, query_labels, gallery_labels, setting="cc")
"""

from dataclasses import dataclass

import numpy as np

from dlcr.evaluation.labels import Labels, check_setting, junk_and_match
from dlcr.evaluation.metrics import Scores, ranking, score_rankings, unit_features
from dlcr.evaluation.similarity import DECIMALS, blocks, cosine, unit_rows


@dataclass(frozen=True, eq=False)
class Refined:
    """What `refine` found: the subjects S among the top m gallery images of each query, by refined score.

    prediction  int64 [Q]: the subject with the highest score; -1 if every gallery image is junk for the query
    subjects    int64 [Q, m]: S, padded with -1; highest score first, among equals the better original rank
    scores      float64 [Q, m]: their scores, 0 where subjects is -1
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

    ValueError if a shape, length or value does not fit, or the setting is unknown.
    """
    check_setting(setting)
    if isinstance(m, bool) or not isinstance(m, int | np.integer) or m < 1:
        raise ValueError(f"m must be an integer of at least 1, got {m!r}")
    query, gallery = unit_features(query, gallery, query_labels, gallery_labels)
    if gallery_labels.subjects.min() < 0:
        raise ValueError("gallery_labels.subjects must be 0 or more: -1 marks padding in the result")
    variants, present = _check_variants(variants, present, query.shape)
    parts = []
    for rows in blocks(len(query), (variants.shape[1] + 1) * max(gallery.shape)):
        units, exists = _unit_variants(variants[rows], None if present is None else present[rows], rows.start)
        sources = np.concatenate([query[rows, None], units], axis=1)
        junk, _ = junk_and_match(query_labels.take(rows), gallery_labels, setting)
        similarity = cosine(sources.reshape(-1, sources.shape[2]), gallery).reshape(*sources.shape[:2], -1)
        np.copyto(similarity, -np.inf, where=junk[:, None])
        top, values = _top(similarity, m)
        values[:, 1:][~exists] = -np.inf
        parts.append(_vote(np.where(np.isfinite(values), gallery_labels.subjects[top], -1), values))
    subjects, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Refined(subjects[:, 0].copy(), subjects, scores)


def refined_ranking(similarity: np.ndarray, subjects: np.ndarray, gallery_subjects: np.ndarray) -> np.ndarray:
    """Gallery indices [Q, G], best first, after refinement.

    All gallery images of the subjects in S (`Refined.subjects` [Q, m]) come first, subjects by refined
    score, the images of a subject by their original `similarity` [Q, G]; the images of all other subjects
    follow by their original similarity. (The paper gives no rule for mAP after refinement; the release
    re-scores the top m only.)
    """
    order = ranking(similarity)
    place = np.full(similarity.shape, subjects.shape[1], dtype=np.int32)
    for j in range(subjects.shape[1]):
        place[gallery_subjects == subjects[:, j, None]] = j  # padding, -1, equals no gallery subject
    place = np.take_along_axis(place, order, axis=1)
    return np.take_along_axis(order, np.argsort(place, axis=1, kind="stable"), axis=1)


def evaluate_refined(
    query: np.ndarray,
    gallery: np.ndarray,
    refined: Refined,
    query_labels: Labels,
    gallery_labels: Labels,
    setting: str = "cc",
) -> Scores:
    """Scores of the rankings that `refine` leads to (`refined_ranking`), in the setting that it was given.

    query [Q, D] and gallery [G, D] are the features that `refine` got. Gallery images of subjects in S are
    ranked, by refined score of their subject and then by original similarity, ahead of all others, which
    keep the order of their original similarity. Errors as in `evaluate_features`.
    """
    check_setting(setting)
    query, gallery = unit_features(query, gallery, query_labels, gallery_labels)
    if len(refined.subjects) != len(query):
        raise ValueError(f"refined holds {len(refined.subjects)} queries, expected {len(query)}")
    rankings = (
        (rows, refined_ranking(cosine(query[rows], gallery), refined.subjects[rows], gallery_labels.subjects))
        for rows in blocks(len(query), len(gallery))
    )
    return score_rankings(rankings, query_labels, gallery_labels, setting)


def _check_variants(
    variants: np.ndarray, present: np.ndarray | None, query_shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    variants = np.asarray(variants)
    if variants.ndim != 3 or variants.shape[0] != query_shape[0] or variants.shape[2] != query_shape[1]:
        raise ValueError(f"variants must have shape [{query_shape[0]}, l, {query_shape[1]}], got {variants.shape}")
    if variants.dtype.kind not in "fiu":
        raise ValueError(f"variants must be numbers, got {variants.dtype}")
    shape = variants.shape[:2]
    if present is not None:
        present = np.asarray(present)
        if present.dtype != bool or present.shape != shape:
            raise ValueError(f"present must be bool {shape}, got {present.dtype} {present.shape}")
    return variants, present


def _unit_variants(variants: np.ndarray, present: np.ndarray | None, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """A block of variants [B, l, D] as unit rows, zeros where missing, and which exist, bool [B, l]."""
    if present is None:
        present = ~np.isnan(variants).all(axis=2)
    if variants.shape[1] == 0:
        return np.zeros(variants.shape), present
    broken = np.argwhere(present & ~np.isfinite(variants).all(axis=2))
    if len(broken):
        row, variant = broken[0]
        raise ValueError(f"variants must be finite, but variant {variant} of query {first_row + row} is not")
    rows = np.where(present[:, :, None], variants, 0).reshape(-1, variants.shape[2])
    return unit_rows(rows, "variants").reshape(variants.shape), present


def _top(similarity: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values [..., m] of the m largest along the last axis; overwrites `similarity`.

    -inf values mean: there were fewer. m passes of argmax, which takes the first of equals, as a partition
    would not.
    """
    flat = similarity.reshape(-1, similarity.shape[-1])
    rows = np.arange(len(flat))
    top = np.empty((len(flat), m), dtype=np.int64)
    values = np.empty((len(flat), m))
    for j in range(m):
        top[:, j] = flat.argmax(axis=1)
        values[:, j] = flat[rows, top[:, j]]
        flat[rows, top[:, j]] = -np.inf
    return top.reshape(*similarity.shape[:-1], m), values.reshape(*similarity.shape[:-1], m)


def _vote(subjects: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """S and its scores, [B, m] each, from the top m [B, 1 + l, m] of the query (first) and its variants."""
    largest = values[:, :, :1]
    usable = np.isfinite(values) & (largest > 0)
    weights = np.divide(values, largest, out=np.zeros_like(values), where=usable)
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
