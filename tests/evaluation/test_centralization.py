"""`centralize` against a literal transcription of the authors' code, `average` against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dlcr.evaluation import average, centralize


def authors_code(features: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """NFC of yuanc3/Pose2ID, demo/TransReID-main/utils/NFC.py, step by step, but for its single precision and GPU."""
    feat = torch.nn.functional.normalize(torch.from_numpy(features).double(), dim=1, p=2)
    dist = 2 - 2 * feat @ feat.T
    dist[torch.eye(len(feat)) == 1] = 1000
    rank = dist.topk(k1, largest=False).indices
    mutual = [[int(j) for j in rank[i] if i in rank[j][:k2]] for i in range(len(feat))]
    copy = feat.clone()
    for i in range(len(feat)):
        feat[i] += copy[mutual[i]].sum(dim=0)
    return torch.nn.functional.normalize(feat, dim=1, p=2).numpy()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 8), st.integers(1, 8))
def test_is_the_authors_code(seed, count, k1, k2):
    assume(k1 < count)  # their topk fails beyond
    features = np.random.default_rng(seed).normal(size=(count, 4))
    np.testing.assert_allclose(centralize(features, k1, k2), authors_code(features, k1, k2), atol=1e-6)


def test_few_blocks_or_many(monkeypatch):
    features = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    whole = centralize(features, 3, 2)
    for module in ("similarity", "centralization"):
        monkeypatch.setattr(f"dlcr.evaluation.{module}.blocks", by_sevens, raising=False)
    np.testing.assert_array_equal(centralize(features, 3, 2), whole)


def by_sevens(rows, columns, values=None):
    return [slice(start, min(start + 7, rows)) for start in range(0, rows, 7)]


def test_only_mutual_neighbours_count():
    """Degrees on a circle: 0 and 10 are each other's nearest; 25 has 10 as its nearest, but not the other way round."""
    angles = np.radians([0.0, 10.0, 25.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = np.degrees(np.arctan2(*centralize(features, 1, 1).T[::-1]))
    np.testing.assert_allclose(found, [5, 5, 25], atol=1e-4)


def test_the_lower_of_equal_neighbours_comes_first():
    features = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    found = centralize(features, 1, 1)
    np.testing.assert_allclose(found, features)  # 0 and 2 are mutual, 3 has 0, 1 has 0: nothing changes a direction
    features[3] = [0.6, 0.8]  # 1 has 3 and 3 has 1: mutual
    found = centralize(features, 1, 1)
    np.testing.assert_allclose(found[[1, 3]], [[0.6, 1.8] / np.hypot(0.6, 1.8)] * 2, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_rows_than_neighbours(count):
    """All others are neighbours then, and mutual ones: everything has the direction of the sum."""
    features = np.eye(3)[:count]
    expected = features.sum(axis=0) / np.sqrt(count)
    np.testing.assert_allclose(centralize(features, 5, 5), [expected] * count, atol=1e-6)


def test_scale_does_not_matter_and_zeros_stay():
    features = np.random.default_rng(1).normal(size=(9, 3))
    scaled = features * np.arange(1, 10)[:, None]
    np.testing.assert_allclose(centralize(scaled), centralize(features), atol=1e-6)
    assert not centralize(np.zeros((3, 2))).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k1": 0}, "k1 must be an integer of at least 1, got 0"),
        ({"k2": True}, "k2 must be an integer of at least 1, got True"),
        ({"k1": 1.5}, "k1 must be"),
        ({"features": np.ones(3)}, r"features must be numbers of shape \[N, D\]"),
        ({"features": np.array([[1.0, np.nan]])}, "features must be finite, but row 0 is not"),
        ({"features": np.empty((0, 3))}, "features is empty"),
    ],
)
def test_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        centralize(**({"features": np.ones((2, 3))} | changes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_average_is_the_mean_of_unit_features(seed, q, count, all_there):
    rng = np.random.default_rng(seed)
    query, variants = rng.normal(size=(q, 5)), rng.normal(size=(q, count, 5))
    present = rng.uniform(size=(q, count)) < (2 if all_there else 0.5)
    variants[~present] = 0
    expected = []
    for i in range(q):
        rows = [query[i], *(variants[i, j] for j in range(count) if present[i, j])]
        expected.append(np.mean([row / np.linalg.norm(row) for row in rows], axis=0))
    np.testing.assert_allclose(average(query, variants, present), expected, atol=1e-6)
    if all_there:
        np.testing.assert_array_equal(average(query, variants), average(query, variants, present))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": np.ones((2, 3))}, r"variants must be \[2, l, 3\], got shape \[2, 3\]"),
        ({"variants": np.ones((2, 4, 2))}, r"variants must be \[2, l, 3\]"),
        ({"variants": np.full((2, 1, 3), np.inf)}, "variants must be finite, but row 0 is not"),
        ({"present": np.ones((2, 1), int)}, r"present must be bool \[2, 4\], got int64 \[2, 1\]"),
    ],
)
def test_what_cannot_be_averaged(changes, message):
    with pytest.raises(ValueError, match=message):
        average(**({"query": np.ones((2, 3)), "variants": np.ones((2, 4, 3))} | changes))
