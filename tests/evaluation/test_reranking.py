"""`rerank` against a literal transcription of k-reciprocal re-ranking, set by set."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.evaluation import rerank


def transcription(query, gallery, k1, k2, weight):
    """Zhong et al., CVPR 2017, Sec. 3, with sets and dictionaries."""
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
            if len(reciprocal(p, k1) & half) >= 2 / 3 * len(half):
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
