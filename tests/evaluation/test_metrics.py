"""`evaluate` against loops that spell out the datasets' protocols (Sec. 4), and against scikit-learn."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from dlcr.evaluation import SETTINGS, Labels, evaluate, evaluate_features, metrics, similarity


def removed(query, gallery, i, j, setting):
    """Whether gallery image j is junk for query i."""
    if query.subjects[i] != gallery.subjects[j]:
        return False
    same_clothes = query.clothes[i] == gallery.clothes[j]
    unwanted = {"cc": same_clothes, "sc": not same_clothes, "general": False}[setting]
    return query.cameras[i] == gallery.cameras[j] or unwanted


def brute_force(values, query, gallery, setting):
    """One loop a query: {row: (rank of the first correct image from 1, average precision)}."""
    found = {}
    for i in range(len(query)):
        ranked = sorted(range(len(gallery)), key=lambda j, i=i: (-values[i][j], j))
        kept = [j for j in ranked if not removed(query, gallery, i, j, setting)]
        ranks = [r for r, j in enumerate(kept, 1) if gallery.subjects[j] == query.subjects[i]]
        if ranks:
            found[i] = ranks[0], sum(n / rank for n, rank in enumerate(ranks, 1)) / len(ranks)
    return found


def assert_equal_to(scores, found, queries, gallery_size):
    first, precision = np.array(list(found.values())).T
    assert scores.queries == len(found)
    assert scores.unmatched == queries - len(found)
    assert scores.query_index.tolist() == list(found)
    assert scores.per_query_rank.tolist() == first.tolist()
    np.testing.assert_allclose(scores.per_query_ap, precision)
    np.testing.assert_allclose(scores.cmc, [(first <= r).mean() for r in range(1, gallery_size + 1)])
    assert scores.top1 == pytest.approx((first == 1).mean())
    assert scores.map == pytest.approx(precision.mean())


def random_labels(rng, n, subjects=4, clothes=3, cameras=3):
    return Labels(rng.integers(0, subjects, n), rng.integers(0, clothes, n), rng.integers(0, cameras, n))


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 20), st.sampled_from(SETTINGS), st.booleans())
@settings(derandomize=True, max_examples=150, deadline=None)
def test_equals_the_definition_with_ties_and_unmatched_queries(seed, q, g, setting, ties):
    rng = np.random.default_rng(seed)
    query, gallery = random_labels(rng, q), random_labels(rng, g)
    values = rng.integers(-2, 3, (q, g)) if ties else rng.normal(size=(q, g))
    found = brute_force(values, query, gallery, setting)
    if found:
        assert_equal_to(evaluate(values, query, gallery, setting), found, q, g)
    else:
        with pytest.raises(ValueError, match="no query has a correct gallery image"):
            evaluate(values, query, gallery, setting)


def exact_cosines(features, others):
    """In double precision, rounded to 12 decimals: what decides about ties."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features.astype(float), others.astype(float))]
    return np.round(unit[0] @ unit[1].T, 12)


@pytest.mark.parametrize("setting", SETTINGS)
def test_thousands_of_random_cases_equal_the_definition(setting):
    """700 cases a setting: similarities and features, with and without ties, any sizes; half single, half double."""
    unmatched = 0
    for seed in range(700):
        rng = np.random.default_rng([SETTINGS.index(setting), seed])
        q, g, dims = rng.integers(1, 6), rng.integers(1, 25), rng.integers(1, 5)
        query, gallery = random_labels(rng, q), random_labels(rng, g)
        features, others = rng.normal(size=(q, dims)), rng.normal(size=(g, dims))
        if seed % 3 == 0:  # few directions, many ties
            features, others = np.sign(features), np.sign(others)
        dtype = (np.float32, np.float64)[seed % 2]
        features, others = features.astype(dtype), others.astype(dtype)
        values = exact_cosines(features, others)
        found = brute_force(values, query, gallery, setting)
        unmatched += q - len(found)
        for scored, arguments in ((evaluate, (values,)), (evaluate_features, (features, others))):
            if found:
                assert_equal_to(scored(*arguments, query, gallery, setting), found, q, g)
            else:
                with pytest.raises(ValueError, match="no query has a correct gallery image"):
                    scored(*arguments, query, gallery, setting)
    assert unmatched > 100


@pytest.mark.parametrize("spread", [0, 1e-9, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_similarities_too_close_for_float32_are_ranked_as_in_float64(monkeypatch, spread, share):
    monkeypatch.setattr(metrics, "CLOSE_SHARE", share)  # pairs one by one, or the whole block
    monkeypatch.setattr(similarity, "BLOCK_VALUES", 900)
    monkeypatch.setattr(similarity, "BLOCK_ROWS", 1)
    rng = np.random.default_rng(7)
    query, gallery = random_labels(rng, 40), random_labels(rng, 90)
    features = rng.normal(size=(1, 64)) + 0.5 * rng.normal(size=(40, 64))
    others = rng.normal(size=(1, 64)) + rng.normal(size=(1, 64)) + spread * rng.normal(size=(90, 64))
    others[50:] = others[rng.integers(0, 50, 40)]
    found = brute_force(exact_cosines(features, others), query, gallery, "cc")
    assert_equal_to(evaluate_features(features, others, query, gallery, "cc"), found, 40, 90)


def test_infinite_similarities_are_numbers():
    rng = np.random.default_rng(8)
    query, gallery = random_labels(rng, 30), random_labels(rng, 40)
    values = rng.choice([-np.inf, -1.0, 0.0, np.inf], (30, 40))
    found = brute_force(values, query, gallery, "general")
    assert_equal_to(evaluate(values, query, gallery, "general"), found, 30, 40)


def test_a_case_by_hand():
    # The gallery, best first: the query's camera; its clothes; another subject; other clothes and camera.
    query = Labels([0], [0], [0])
    gallery = Labels([0, 0, 1, 0], [5, 0, 9, 6], [0, 1, 0, 1])
    values = np.array([[0.9, 0.8, 0.7, 0.6]])
    assert evaluate(values, query, gallery, "cc").map == pytest.approx(1 / 2)
    assert evaluate(values, query, gallery, "sc").map == pytest.approx(1.0)
    general = evaluate(values, query, gallery, "general")
    assert general.map == pytest.approx((1 + 2 / 3) / 2)
    assert general.cmc.tolist() == [1, 1, 1, 1]


def test_equal_similarities_rank_the_lower_gallery_index_first():
    query = Labels([0], [0], [0])
    gallery = Labels([1, 0], [1, 1], [1, 1])
    assert evaluate(np.zeros((1, 2)), query, gallery, "cc").top1 == 0
    assert evaluate(np.zeros((1, 2)), query, gallery.take([1, 0]), "cc").top1 == 1


def test_average_precision_is_scikit_learns_without_ties():
    rng = np.random.default_rng(0)
    query, gallery = random_labels(rng, 6, cameras=1), random_labels(rng, 60, cameras=1)
    query = Labels(query.subjects, query.clothes, query.cameras + 1)
    values = rng.normal(size=(6, 60))
    scores = evaluate(values, query, gallery, "general")
    expected = [average_precision_score(gallery.subjects == query.subjects[i], values[i]) for i in range(6)]
    np.testing.assert_allclose(scores.per_query_ap, expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SETTINGS))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_unchanged_by_order_preserving_maps_junk_values_and_dtype(seed, setting):
    rng = np.random.default_rng(seed)
    query, gallery = random_labels(rng, 6), random_labels(rng, 60)
    values = rng.permutation(360).reshape(6, 60)
    scores = evaluate(values, query, gallery, setting)
    changed = np.exp(values / 50)
    for i, j in np.ndindex(values.shape):
        if removed(query, gallery, i, j, setting):
            changed[i, j] = rng.normal()
    for other in (changed, values.astype(np.uint16), values.astype(np.float32)):
        assert evaluate(other, query, gallery, setting).per_query_ap.tolist() == scores.per_query_ap.tolist()


@pytest.mark.parametrize("block_values", [1, 90, 10**6])
def test_features_equal_their_similarities_whatever_the_blocks(monkeypatch, block_values):
    rng = np.random.default_rng(1)
    query, gallery = random_labels(rng, 20), random_labels(rng, 45)
    features, others = rng.normal(size=(20, 8)), rng.normal(size=(45, 8)).astype(np.float32)
    others[30:40] = others[:10]  # ties
    expected = evaluate(exact_cosines(features, others), query, gallery, "cc")
    monkeypatch.setattr(similarity, "BLOCK_VALUES", block_values)
    monkeypatch.setattr(similarity, "BLOCK_ROWS", 1)
    scores = evaluate_features(features * 1e200, others, query, gallery, "cc")
    assert scores.per_query_ap.tolist() == expected.per_query_ap.tolist()
    assert scores.cmc.tolist() == expected.cmc.tolist()


@pytest.mark.filterwarnings("error")
def test_features_may_be_reversed_transposed_or_read_only():
    rng = np.random.default_rng(5)
    query, gallery = random_labels(rng, 20), random_labels(rng, 45)
    features, others = rng.normal(size=(20, 8)).astype(np.float32), rng.normal(size=(45, 8)).astype(np.float32)
    expected = evaluate_features(features, others, query, gallery, "cc").per_query_ap.tolist()
    fixed = features.copy()
    fixed.flags.writeable = False
    for other in (fixed, features[::-1].copy()[::-1], np.asfortranarray(features), features.astype(">f4")):
        assert evaluate_features(other, others, query, gallery, "cc").per_query_ap.tolist() == expected
    assert (features == fixed).all()


def test_no_whole_matrix_is_held(monkeypatch):
    rng = np.random.default_rng(2)
    query, gallery = random_labels(rng, 1500), random_labels(rng, 1500)
    features = rng.normal(size=(1500, 4)).astype(np.float32)
    monkeypatch.setattr(similarity, "BLOCK_VALUES", 150_000)
    monkeypatch.setattr(similarity, "BLOCK_ROWS", 1)
    tracemalloc.start()
    try:
        evaluate_features(features, features, query, gallery, "cc")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # the matrix alone has 18 MB, all that ranking it needs 90 MB


def test_labels_of_equal_numbers_are_kept_and_taken():
    labels = Labels([3, 1], np.array([2, 2], dtype=np.uint8), (0, 1))
    assert len(labels) == 2
    assert labels.take([1]).subjects.tolist() == [1]
    assert labels.subjects.dtype == labels.cameras.dtype == np.int64


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1], [1, 2]), r"equal lengths, got \(2, 1, 2\)"),
        (([1.0], [1], [1]), "subjects must be integers, got float64"),
        (([1], ["a"], [1]), "clothes must be integers"),
        (([1], [1], [[1]]), "cameras must be one-dimensional"),
    ],
)
def test_wrong_labels_are_named(columns, message):
    with pytest.raises(ValueError, match=message):
        Labels(*columns)


ONE, TWO, NONE = Labels([0], [0], [0]), Labels([0, 1], [1, 1], [1, 1]), Labels([], [], [])


@pytest.mark.parametrize(
    ("values", "query", "gallery", "setting", "message"),
    [
        (np.zeros((1, 2)), ONE, TWO, "CC", "setting must be one of cc, sc, general, got 'CC'"),
        (np.zeros(2), ONE, TWO, "cc", r"similarity must be numbers of shape \[Q, G\]"),
        (np.full((1, 2), "a"), ONE, TWO, "cc", "similarity must be numbers"),
        (np.zeros((0, 2)), NONE, TWO, "cc", "similarity is empty"),
        (np.zeros((1, 0)), ONE, NONE, "cc", "similarity is empty"),
        (np.zeros((2, 2)), ONE, TWO, "cc", "query holds the labels of 1 images, expected 2"),
        (np.zeros((1, 3)), ONE, TWO, "cc", "gallery holds the labels of 2 images, expected 3"),
        (np.array([[0, np.nan]]), ONE, TWO, "cc", "similarity must not be NaN, but row 0"),
        (np.zeros((1, 2)), ONE, Labels([1, 2], [0, 0], [1, 1]), "cc", "no query has a correct gallery image"),
        (np.zeros((1, 2)), ([0], [0], [0]), TWO, "cc", "query must be Labels"),
    ],
)
def test_wrong_arguments_are_named(values, query, gallery, setting, message):
    with pytest.raises(ValueError, match=message):
        evaluate(values, query, gallery, setting)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (np.ones((1, 3)), np.ones((2, 4)), "equally many columns, got 3 and 4"),
        (np.ones((1, 3)), np.ones((3, 3)), "gallery_labels holds the labels of 2 images, expected 3"),
        (np.ones(3), np.ones((2, 3)), r"query must be numbers of shape \[N, D\]"),
        (np.ones((1, 3)), np.array([[1.0, 1, 1], [1, np.inf, 1]]), "gallery must be finite, but row 1"),
        (np.ones((1, 0)), np.ones((2, 0)), "query is empty"),
    ],
)
def test_wrong_features_are_named(query, gallery, message):
    with pytest.raises(ValueError, match=message):
        evaluate_features(query, gallery, ONE, TWO, "cc")
