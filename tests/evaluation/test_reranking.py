"""`rerank` against literal transcriptions of k-reciprocal re-ranking: of its paper, set by set, and of its code."""

import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.evaluation import rerank


def transcription(query, gallery, k1, k2, weight, joins=operator.gt):
    """Zhong et al., CVPR 2017, Sec. 3, with sets and dictionaries; `joins` compares with two thirds (equation 5)."""
    every = [row / np.linalg.norm(row) for row in [*query, *gallery]]
    count = len(every)
    d = [[2 - 2 * round(float(a @ b), 12) for b in every] for a in every]
    d = [[value / max(max(row), 1e-300) for value in row] for row in d]

    def nearest(p, k):
        order = sorted(range(count), key=lambda g: (g != p, d[p][g], g))
        return order[: k + 1]

    def reciprocal(p, k):
        return {g for g in nearest(p, k) if p in nearest(g, k)}

    def expanded(p):
        result = set(reciprocal(p, k1))
        for q in reciprocal(p, k1):
            half = reciprocal(q, round(k1 / 2))
            if joins(len(reciprocal(p, k1) & half), 2 / 3 * len(half)):
                result |= half
        return result

    encoded = []
    for p in range(count):
        members = expanded(p)
        total = sum(math.exp(-d[p][g]) for g in members)
        encoded.append([math.exp(-d[p][g]) / total if g in members else 0.0 for g in range(count)])
    mean = []
    for p in range(count):
        group = nearest(p, k2 - 1)
        mean.append([sum(encoded[q][g] for q in group) / len(group) for g in range(count)])

    def jaccard(p, g):
        pairs = list(zip(mean[p], mean[g], strict=True))
        return 1 - sum(min(pair) for pair in pairs) / sum(max(pair) for pair in pairs)

    q = len(query)
    return [[(1 - weight) * jaccard(i, q + j) + weight * d[i][q + j] for j in range(len(gallery))] for i in range(q)]


def authors_code(query, gallery, k1, k2, weight):
    """re_ranking.py of zhunzhong07/person-re-ranking, line by line, but for its single precision."""
    every = np.concatenate([query, gallery])
    every = every / np.linalg.norm(every, axis=1, keepdims=True)
    original = np.maximum(2 - 2 * every @ every.T, 0)
    np.fill_diagonal(original, 0)
    original = np.transpose(1.0 * original / np.max(original, axis=0))
    v = np.zeros_like(original)
    initial_rank = np.argsort(original)
    count = len(every)
    for i in range(count):
        forward = initial_rank[i, : k1 + 1]
        backward = initial_rank[forward, : k1 + 1]
        fi = np.where(backward == i)[0]
        reciprocal = forward[fi]
        expansion = reciprocal
        for candidate in reciprocal:
            forward = initial_rank[candidate, : int(np.around(k1 / 2.0)) + 1]
            backward = initial_rank[forward, : int(np.around(k1 / 2.0)) + 1]
            fi = np.where(backward == candidate)[0]
            half = forward[fi]
            if len(np.intersect1d(half, reciprocal)) > 2.0 / 3 * len(half):
                expansion = np.append(expansion, half)
        expansion = np.unique(expansion)
        weights = np.exp(-original[i, expansion])
        v[i, expansion] = weights / np.sum(weights)
    original = original[: len(query)]
    if k2 != 1:
        v = np.stack([np.mean(v[initial_rank[i, :k2]], axis=0) for i in range(count)])
    inverse = [np.where(v[:, i] != 0)[0] for i in range(count)]
    jaccard = np.zeros_like(original)
    for i in range(len(query)):
        smaller = np.zeros(count)
        for j in np.where(v[i] != 0)[0]:
            smaller[inverse[j]] += np.minimum(v[i, j], v[inverse[j], j])
        jaccard[i] = 1 - smaller / (2 - smaller)
    return (jaccard * (1 - weight) + original * weight)[:, len(query) :]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 9), st.integers(1, 8), st.integers(1, 4))
def test_is_its_transcription(seed, q, g, k1, k2):
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (q + g, 3)).astype(float)  # many ties
    features[~features.any(axis=1)] = 1
    weight = float(rng.uniform())
    made = rerank(features[:q], features[q:], k1, k2, weight)
    assert made.shape == (q, g)
    distances = np.array(transcription(features[:q], features[q:], k1, k2, weight))
    np.testing.assert_allclose(made, 1 - distances, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(8, 25), st.integers(1, 12), st.integers(1, 6))
def test_is_the_authors_code(seed, q, g, k1, k2):
    features = np.random.default_rng(seed).normal(size=(q + g, 3))  # few dimensions: many neighbours in common
    expected = authors_code(features[:q], features[q:], k1, k2, 0.3)
    np.testing.assert_allclose(rerank(features[:q], features[q:], k1, k2, 0.3), 1 - expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_exactly_two_thirds_do_not_join(seed):
    """More than two thirds of the candidate's neighbours must be shared: equation 5 says at least, not the code."""
    features = np.random.default_rng(seed).normal(size=(16, 3))
    arguments = features[:4], features[4:], 5, 2, 0.3
    distances, at_least = np.array(transcription(*arguments)), np.array(transcription(*arguments, operator.ge))
    assert np.abs(distances - at_least).max() > 0.01
    np.testing.assert_allclose(rerank(*arguments), 1 - distances, atol=1e-9)
    np.testing.assert_allclose(rerank(*arguments), 1 - authors_code(*arguments), atol=1e-9)


def test_whole_numbers_decide_as_the_authors_floats_do():
    for size in range(1, 400):
        for shared in range(size + 1):
            assert (3 * shared > 2 * size) == (shared > 2.0 / 3 * size)


def test_any_numbers_do():
    features = np.random.default_rng(1).integers(0, 200, (14, 6)).astype(np.uint8)
    assert rerank(features[:4], features[4:]).tolist() == rerank(*np.split(features.astype(float), [4])).tolist()


def test_weight_one_is_the_original_order():
    rng = np.random.default_rng(0)
    query, gallery = rng.normal(size=(6, 8)), rng.normal(size=(30, 8))
    made = rerank(query, gallery, weight=1.0)
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, gallery)]
    assert (np.argsort(made, axis=1) == np.argsort(units[0] @ units[1].T, axis=1)).all()


def test_neighbours_of_neighbours_come_closer():
    """Two chains of images: the far end of a query's own chain beats the near end of the other one."""
    angles = np.deg2rad([0, 12, 24, 36, 48, -46, -58, -70, -82, -94])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    query, gallery = points[:1], points[1:]
    before = gallery @ query[0]
    after = rerank(query, gallery, k1=4, k2=1)[0]
    own, other = 3, 4  # at 48 and at -46 degrees
    assert before[other] > before[own]
    assert after[own] > after[other]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k1": 0}, "k1 must be an integer of at least 1, got 0"),
        ({"k2": 1.5}, "k2 must be an integer of at least 1, got 1.5"),
        ({"weight": 1.2}, "weight must lie between 0 and 1, got 1.2"),
        ({"gallery": np.ones((2, 4))}, "equally many columns, got 3 and 4"),
        ({"query": np.full((2, 3), np.nan)}, "query must be finite, but row 0 is not"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        rerank(**({"query": np.ones((2, 3)), "gallery": np.ones((4, 3))} | changes))
