"""`refine` against a literal transcription of Algorithm 1, and what a refined ranking means."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.evaluation import (
    SETTINGS,
    Labels,
    Refined,
    Side,
    count_votes,
    evaluate,
    evaluate_features,
    evaluate_refined,
    evaluate_refined_similarity,
    find_voters,
    refine,
    refine_similarity,
    refinement,
)


def cosine(a, b):
    return round(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), 12)


def is_junk(query, gallery, i, j, setting):
    if query.subjects[i] != gallery.subjects[j]:
        return False
    same = query.clothes[i] == gallery.clothes[j]
    return query.cameras[i] == gallery.cameras[j] or {"cc": same, "sc": not same, "general": False}[setting]


def votes(feature, features, kept, subjects, m):
    """Subjects of the top m in order of appearance, each with its sum of similarity / largest similarity."""
    top = sorted(kept, key=lambda j: (-cosine(feature, features[j]), j))[:m]
    sums = {int(subjects[j]): 0.0 for j in top}
    largest = max((cosine(feature, features[j]) for j in top), default=0)
    if largest > 0:
        for j in top:
            sums[int(subjects[j])] += cosine(feature, features[j]) / largest
    return sums


def algorithm_1(query, variants, gallery, labels, gallery_labels, m, setting, present):
    """Algorithm 1 (Sec. 3.2.2), one query at a time: a list of (subject, score), best first."""
    results = []
    for i in range(len(query)):
        kept = [j for j in range(len(gallery)) if not is_junk(labels, gallery_labels, i, j, setting)]
        score = votes(query[i], gallery, kept, gallery_labels.subjects, m)
        for v in range(variants.shape[1]):
            if present[i, v]:
                for subject, more in votes(variants[i, v], gallery, kept, gallery_labels.subjects, m).items():
                    if subject in score:
                        score[subject] += more
        results.append(sorted(score.items(), key=lambda item: -round(item[1], 9)))
    return results


# seed, queries, gallery images, variants, m and setting
random_sizes = given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 4),
    st.integers(1, 7),
    st.sampled_from(SETTINGS),
)


def random_case(rng, q, g, n_variants, dims=4):
    labels, gallery_labels = (
        Labels(rng.integers(0, 5, n), rng.integers(0, 3, n), rng.integers(0, 3, n)) for n in (q, g)
    )
    query, variants, gallery = (rng.normal(size=(*n, dims)) for n in ((q,), (q, n_variants), (g,)))
    return query, variants, gallery, labels, gallery_labels


@random_sizes
@settings(derandomize=True, max_examples=150, deadline=None)
def test_equals_algorithm_1(seed, q, g, n_variants, m, setting):
    rng = np.random.default_rng(seed)
    query, variants, gallery, labels, gallery_labels = random_case(rng, q, g, n_variants)
    gallery[g // 2 :] = gallery[: g - g // 2]  # ties
    present = rng.random((q, n_variants)) < 0.8
    variants[~present] = np.nan
    refined = refine(query, variants, gallery, labels, gallery_labels, m, setting)
    expected = algorithm_1(query, variants, gallery, labels, gallery_labels, m, setting, present)
    assert refined.subjects.shape == refined.scores.shape == (q, m)
    for i, pairs in enumerate(expected):
        assert refined.subjects[i].tolist() == [s for s, _ in pairs] + [-1] * (m - len(pairs))
        np.testing.assert_allclose(refined.scores[i], [x for _, x in pairs] + [0] * (m - len(pairs)), atol=1e-5)
        assert refined.prediction[i] == (pairs[0][0] if pairs else -1)
    explicit = refine(
        query,
        np.where(present[..., None], variants, 7.0),
        gallery,
        labels,
        gallery_labels,
        m,
        setting,
        present=present,
    )
    assert explicit.subjects.tolist() == refined.subjects.tolist()


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_similarities_too_close_for_float32_vote_as_in_float64(spread, dtype):
    rng = np.random.default_rng(11)
    query, variants, gallery, labels, gallery_labels = random_case(rng, 25, 60, 3, dims=48)
    gallery = gallery[:1] + spread * gallery + rng.normal(size=(1, 48))
    query, variants, gallery = (x.astype(dtype) for x in (query, variants, gallery))
    refined = refine(query, variants, gallery, labels, gallery_labels, 5)
    exact = [x.astype(np.float64) for x in (query, variants, gallery)]
    expected = algorithm_1(*exact, labels, gallery_labels, 5, "cc", np.ones((25, 3), bool))
    for found, pairs in zip(refined.subjects, expected, strict=True):
        assert found[found >= 0].tolist() == [subject for subject, _ in pairs]


def unit(*angles):
    return np.array([[np.cos(a), np.sin(a)] for a in np.deg2rad(angles)])


def test_a_case_by_hand():
    # The query prefers subject 1, both variants subject 2 of S; subject 3 is not in S and cannot win.
    labels, gallery_labels = Labels([2], [0], [0]), Labels([1, 2, 3], [1, 2, 3], [1, 1, 1])
    query, gallery = unit(0), unit(10, 20, 60)
    variants = unit(20, 60)[None]
    refined = refine(query, variants, gallery, labels, gallery_labels, m=2)
    one = 1 + np.cos(np.deg2rad(10))
    two = np.cos(np.deg2rad(20)) / np.cos(np.deg2rad(10)) + 1 + np.cos(np.deg2rad(40))
    assert refined.prediction.tolist() == [2]
    assert refined.subjects.tolist() == [[2, 1]]
    np.testing.assert_allclose(refined.scores, [[two, one]], rtol=1e-6)


def test_junk_neither_votes_nor_takes_a_place_among_the_top_m():
    labels, gallery_labels = Labels([1], [0], [0]), Labels([1, 2], [1, 2], [0, 0])  # the first has its camera
    refined = refine(unit(0), unit(0)[None], unit(0, 50), labels, gallery_labels, m=1)
    assert refined.subjects.tolist() == [[2]]


def test_a_query_with_nothing_but_junk_has_no_prediction():
    refined = refine(unit(0), unit(0)[None], unit(0), Labels([1], [0], [0]), Labels([1], [0], [0]), m=2)
    assert refined.prediction.tolist() == [-1]
    assert refined.subjects.tolist() == [[-1, -1]]
    assert refined.scores.tolist() == [[0, 0]]


def test_sources_that_resemble_nothing_add_nothing():
    labels, gallery_labels = Labels([1], [0], [0]), Labels([1, 2], [1, 1], [1, 1])
    gallery = unit(100, 110)
    refined = refine(unit(0), np.zeros((1, 0, 2)), gallery, labels, gallery_labels, m=2)  # all similarities < 0
    assert refined.subjects.tolist() == [[1, 2]]  # the original order
    assert refined.scores.tolist() == [[0, 0]]
    refined = refine(unit(0), np.stack([unit(110, -90)]), gallery, labels, gallery_labels, m=2)
    assert refined.prediction.tolist() == [2]  # the variant decides; the other one, opposite of all, is ignored
    assert refine(np.zeros((1, 2)), unit(110)[None], gallery, labels, gallery_labels).prediction.tolist() == [2]


@pytest.mark.parametrize("block_values", [1, 500, 10**6])
def test_does_not_depend_on_scale_blocks_or_float32(monkeypatch, block_values):
    query, variants, gallery, labels, gallery_labels = random_case(np.random.default_rng(3), 12, 40, 3)
    expected = refine(query, variants, gallery, labels, gallery_labels)
    monkeypatch.setattr(refinement, "BLOCK_VALUES", block_values)
    refined = refine(query * 1e3, variants * 0.1, gallery * 5, labels, gallery_labels)
    # A sum of ratios to a small similarity is as large as that is small, and so is its error in float32.
    np.testing.assert_allclose(refined.scores, expected.scores, rtol=1e-4, atol=1e-5)
    single = refine(query, variants.astype(np.float32), gallery, labels, gallery_labels)
    assert refined.subjects.tolist() == single.subjects.tolist() == expected.subjects.tolist()


@given(st.integers(0, 2**32 - 1), st.sampled_from(SETTINGS))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_refined_scores_follow_the_stated_rule(seed, setting):
    rng = np.random.default_rng(seed)
    query, variants, gallery, labels, gallery_labels = random_case(rng, 8, 60, 2)
    refined = refine(query, variants, gallery, labels, gallery_labels, 4, setting)
    scores = evaluate_refined(Side(query, labels), Side(gallery, gallery_labels), refined, setting)
    assert (scores.per_query_rank == 1).tolist() == (refined.prediction == labels.subjects)[scores.query_index].tolist()
    for i, ap in zip(scores.query_index, scores.per_query_ap, strict=True):
        place = {s: p for p, s in enumerate(refined.subjects[i].tolist()) if s >= 0}
        kept = [j for j in range(60) if not is_junk(labels, gallery_labels, i, j, setting)]
        kept.sort(key=lambda j: (place.get(gallery_labels.subjects[j], 99), -cosine(query[i], gallery[j]), j))
        ranks = [r for r, j in enumerate(kept, 1) if gallery_labels.subjects[j] == labels.subjects[i]]
        assert ap == pytest.approx(np.mean([n / r for n, r in enumerate(ranks, 1)]))


def test_nothing_in_s_leaves_the_ranking():
    query, _, gallery, labels, gallery_labels = random_case(np.random.default_rng(4), 5, 50, 0)
    nothing = Refined(np.full(5, -1), np.full((5, 3), -1), np.zeros((5, 3)))
    plain = evaluate_features(query, gallery, labels, gallery_labels, "cc")
    refined = evaluate_refined(Side(query, labels), Side(gallery, gallery_labels), nothing)
    assert refined.per_query_ap.tolist() == plain.per_query_ap.tolist()


def cosines(rows, gallery):
    return np.array([[cosine(a, b) for b in gallery] for a in rows.reshape(-1, gallery.shape[1])])


@random_sizes
@settings(derandomize=True, max_examples=100, deadline=None)
def test_on_cosines_it_is_refine(seed, q, g, n_variants, m, setting):
    rng = np.random.default_rng(seed)
    query, variants, gallery, labels, gallery_labels = random_case(rng, q, g, n_variants)
    gallery[g // 2 :] = gallery[: g - g // 2]  # ties
    if n_variants:
        variants[:, 0] = query  # and of scores
    present = rng.random((q, n_variants)) < 0.8
    variants[~present] = 7.0
    similarity, made = cosines(query, gallery), cosines(variants, gallery).reshape(q, n_variants, g)
    arguments = labels, gallery_labels, m, setting
    expected = refine(query, variants, gallery, *arguments, present)
    refined = refine_similarity(similarity, made, *arguments, present)
    assert refined.subjects.tolist() == expected.subjects.tolist()
    assert refined.prediction.tolist() == expected.prediction.tolist()
    # A sum of ratios to a small similarity is as large as that is small, and so is its error in float32.
    np.testing.assert_allclose(refined.scores, expected.scores, rtol=1e-4, atol=1e-5)
    exact = algorithm_1(query, variants, gallery, *arguments, present)
    for found, pairs in zip(refined.scores, exact, strict=True):
        np.testing.assert_allclose(found, [x for _, x in pairs] + [0] * (m - len(pairs)), atol=1e-11)
    made[~present] = np.nan
    assert refine_similarity(similarity, made, *arguments).scores.tolist() == refined.scores.tolist()
    correct = labels.subjects[:, None] == gallery_labels.subjects
    for i in range(q):
        for j in range(g):
            correct[i, j] &= not is_junk(labels, gallery_labels, i, j, setting)
    if correct.any():
        a = evaluate_refined(Side(query, labels), Side(gallery, gallery_labels), expected, setting)
        b = evaluate_refined_similarity(similarity, refined, labels, gallery_labels, setting)
        assert a.query_index.tolist() == b.query_index.tolist()
        assert a.per_query_rank.tolist() == b.per_query_rank.tolist()
        assert a.per_query_ap.tolist() == b.per_query_ap.tolist()
        assert a.cmc.tolist() == b.cmc.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_refinement_of_given_numbers(dtype):
    """Weights are ratios to the largest of a source, and a source without a positive one adds nothing."""
    labels, gallery_labels = Labels([2], [0], [0]), Labels([1, 2, 3], [1, 2, 3], [1, 1, 1])
    similarity = np.array([[8, 4, 2]], dtype)
    variants = np.array([[[1, 4, 2], [-1, 0, -2], [-3, -1, -2]]], dtype)
    refined = refine_similarity(similarity, variants, labels, gallery_labels, m=2)
    assert refined.subjects.tolist() == [[2, 1]]
    assert refined.scores.tolist() == [[1.5, 1.0]]
    assert refine_similarity(similarity, variants, labels, gallery_labels, m=3).scores.tolist() == [[1.5, 1.25, 0.75]]
    assert evaluate_refined_similarity(similarity, refined, labels, gallery_labels).top1 == 1
    assert evaluate(similarity, labels, gallery_labels, "cc").top1 == 0


@pytest.mark.parametrize("block_values", [1, 150])
def test_given_similarities_do_not_depend_on_blocks(monkeypatch, block_values):
    query, variants, gallery, labels, gallery_labels = random_case(np.random.default_rng(5), 9, 30, 2)
    similarity, made = cosines(query, gallery), cosines(variants, gallery).reshape(9, 2, 30)
    expected = refine_similarity(similarity, made, labels, gallery_labels)
    scores = evaluate_refined_similarity(similarity, expected, labels, gallery_labels)
    monkeypatch.setattr(refinement, "BLOCK_VALUES", block_values)
    refined = refine_similarity(similarity, made, labels, gallery_labels)
    assert refined.scores.tolist() == expected.scores.tolist()
    assert refined.subjects.tolist() == expected.subjects.tolist()
    monkeypatch.setattr("dlcr.evaluation.similarity.BLOCK_VALUES", block_values)
    again = evaluate_refined_similarity(similarity, refined, labels, gallery_labels)
    assert again.per_query_ap.tolist() == scores.per_query_ap.tolist()


ONE, TWO = Labels([0], [0], [0]), Labels([0, 1], [1, 1], [1, 1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"m": 0}, "m must be an integer of at least 1, got 0"),
        ({"m": 2.0}, "m must be an integer"),
        ({"setting": "all"}, "setting must be one of"),
        ({"variants": np.ones((1, 3))}, r"variants must have shape \[1, l, 3\], got \(1, 3\)"),
        ({"variants": np.ones((2, 1, 3))}, "variants must have shape"),
        ({"variants": np.ones((1, 1, 4))}, "variants must have shape"),
        ({"variants": np.array([[[1, np.nan, 1]]])}, "variants must be finite, but variant 0 of query 0"),
        ({"variants": np.full((1, 1, 3), np.nan), "present": np.array([[True]])}, "variants must be finite"),
        ({"variants": np.full((1, 1, 3), "a")}, "variants must be numbers"),
        ({"present": np.array([[1]])}, "present must be bool"),
        ({"present": np.array([True])}, "present must be bool"),
        ({"query": np.array([[1, np.nan, 1]])}, "query must be finite"),
        ({"gallery": np.ones((2, 4))}, "equally many columns"),
        ({"gallery_labels": ONE}, "gallery_labels holds the labels of 1 images, expected 2"),
        ({"gallery_labels": Labels([-1, 0], [0, 0], [1, 1])}, "must be 0 or more"),
    ],
)
def test_wrong_arguments_are_named(changed, message):
    arguments = {
        "query": np.ones((1, 3)),
        "variants": np.ones((1, 1, 3)),
        "gallery": np.ones((2, 3)),
        "query_labels": ONE,
        "gallery_labels": TWO,
    }
    with pytest.raises(ValueError, match=message):
        refine(**(arguments | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"m": 0}, "m must be an integer of at least 1, got 0"),
        ({"setting": "all"}, "setting must be one of"),
        ({"similarity": np.ones(2)}, r"similarity must be numbers of shape \[Q, G\], got float64 of shape \(2,\)"),
        ({"similarity": np.ones((0, 2))}, "similarity must be numbers of shape"),
        ({"similarity": np.array([["a", "b"]])}, "similarity must be numbers of shape"),
        ({"similarity": np.array([[1, np.inf]])}, "similarity must be finite, but row 0 is not"),
        ({"variants": np.ones((1, 3))}, r"variants must have shape \[1, l, 2\], got \(1, 3\)"),
        ({"variants": np.array([[[1, np.nan]]])}, "variants must be finite, but variant 0 of query 0"),
        ({"variants": np.array([[[1, -np.inf]]])}, "variants must be finite, but variant 0 of query 0"),
        ({"present": np.array([[1]])}, "present must be bool"),
        ({"query_labels": TWO}, "query_labels holds the labels of 2 images, expected 1"),
        ({"gallery_labels": ONE}, "gallery_labels holds the labels of 1 images, expected 2"),
        ({"gallery_labels": Labels([-1, 0], [0, 0], [1, 1])}, "must be 0 or more"),
    ],
)
def test_wrong_similarities_are_named(changed, message):
    arguments = {
        "similarity": np.ones((1, 2)),
        "variants": np.ones((1, 1, 2)),
        "query_labels": ONE,
        "gallery_labels": TWO,
    }
    with pytest.raises(ValueError, match=message):
        refine_similarity(**(arguments | changed))


def test_a_refinement_of_other_queries_is_named():
    refined = refine_similarity(np.ones((1, 2)), np.ones((1, 0, 2)), ONE, TWO)
    two = Labels([0, 1], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="refined holds 1 queries, expected 2"):
        evaluate_refined_similarity(np.ones((2, 2)), refined, two, TWO)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(0, 4), st.integers(1, 7), st.sampled_from(SETTINGS))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_votes_of_the_voters_add_up_to_the_scores(seed, g, n_variants, m, setting):
    """Each source's voters are its nearest images without junk, and a subject of S has the sum of its images' votes."""
    case = random_case(np.random.default_rng(seed), 3, g, n_variants)
    query, variants, gallery, labels, gallery_labels = case
    voters = find_voters(Side(query, labels), variants, Side(gallery, gallery_labels), m, setting)
    refined = refine(*case, m, setting)
    for i in range(len(query)):
        kept = [j for j in range(g) if not is_junk(labels, gallery_labels, i, j, setting)]
        for source, feature in enumerate([query[i], *variants[i]]):
            nearest = sorted(kept, key=lambda j: (-cosine(feature, gallery[j]), j))[:m]
            there = voters.similarities[i, source] > -np.inf
            assert voters.images[i, source][there].tolist() == nearest
            assert voters.similarities[i, source][there] == pytest.approx(
                [cosine(feature, gallery[j]) for j in nearest], abs=1e-5
            )
        votes = np.where(voters.similarities[i] > -np.inf, voters.votes()[i], 0)
        for subject, score in zip(refined.subjects[i], refined.scores[i], strict=True):
            of = gallery_labels.subjects[voters.images[i]] == subject
            assert score == pytest.approx(votes[of].sum() if subject >= 0 else 0, abs=1e-6)
    again = count_votes(voters, gallery_labels)
    assert (again.subjects == refined.subjects).all()
    assert (again.prediction == refined.prediction).all()
