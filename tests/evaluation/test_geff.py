"""GEFF against a literal transcription with loops, and that no query meets itself or its own label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.evaluation import (
    SETTINGS,
    Faces,
    Labels,
    Side,
    enrich,
    evaluate,
    evaluate_features,
    evaluate_refined,
    evaluate_refined_similarity,
    geff,
    geff_blocks,
    geff_similarity,
    refine,
    refine_geff,
    refine_similarity,
)
from dlcr.params import Geff


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return round(float(a @ b / lengths), 12) if lengths else 0.0


def face(faces, i, threshold):
    return faces.embeddings[i] * (faces.scores[i] >= threshold)


def chosen_by(faces, labels, setting, parameters):
    """For each query the gallery image that it joins, or None."""
    chosen = []
    for i in range(len(labels[0])):
        best, found = parameters.enrichment_similarity, None
        for j in range(len(labels[1])):
            if labels[0].cameras[i] == labels[1].cameras[j]:
                continue
            if setting == "cc" and labels[0].clothes[i] == labels[1].clothes[j]:
                continue
            threshold = parameters.enrichment_detection
            value = cosine(face(faces[0], i, threshold), face(faces[1], j, threshold))
            if value >= best and (found is None or value > best):
                best, found = value, j
        chosen.append(found)
    return chosen


def transcription(sources, features, faces, labels, setting, parameters):
    """d(q, g) and the final distance as in the module's docstring, of one source a query; no face: cosine 0."""
    query, gallery = features
    chosen = chosen_by(faces, labels, setting, parameters)
    final = np.empty((len(query), len(gallery)))
    for i in range(len(query)):
        for j in range(len(gallery)):
            d = -cosine(sources[i], gallery[j])
            for e in range(len(query)):
                if e == i or chosen[e] is None:
                    continue
                if parameters.attach == "subject":
                    attached = labels[1].subjects[chosen[e]] == labels[1].subjects[j]
                else:
                    attached = chosen[e] == j
                if attached:
                    d = min(d, -cosine(sources[i], query[e]))
            threshold = parameters.inference_detection
            d_face = 1 - cosine(face(faces[0], i, threshold), face(faces[1], j, threshold))
            final[i, j] = parameters.alpha * d + (1 - parameters.alpha) * d_face
    return final


def random_faces(rng, n):
    """A third has none; scores and directions are few, so that there are ties and values on the thresholds."""
    scores = rng.choice([0.6, 0.7, 0.75, 0.8, 0.9], n)
    embeddings = rng.integers(-1, 2, (n, 3)).astype(np.float32)
    embeddings[~embeddings.any(axis=1)] = 1
    missing = rng.random(n) < 0.33
    scores[missing], embeddings[missing] = 0, 0
    return Faces(scores, embeddings)


def random_case(seed, q, g, cameras=3, each=None):
    """Features, faces and labels of both sides, and variants; the gallery lacks a subject of the queries."""
    rng = np.random.default_rng(seed)
    features = [rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in (q, g)]
    for rows in features:
        rows[~rows.any(axis=1)] = 1
    features[0][q // 2 :] = features[0][: q - q // 2]  # queries that look like each other's copies
    labels = [
        Labels(rng.integers(0, 4 + extra, n), rng.integers(0, 4, n), rng.integers(0, cameras, n))
        for n, extra in ((q, 1), (g, 0))
    ]
    faces = [random_faces(rng, n) for n in (q, g)]
    return features, faces, labels, rng.normal(size=(q, each or 0, 4))


def sides(features, faces, labels):
    return [Side(*side) for side in zip(features, labels, faces, strict=True)]


PARAMETERS = st.builds(
    Geff,
    enrichment_detection=st.sampled_from([0.7, 0.8]),
    enrichment_similarity=st.sampled_from([0.5, 0.9, 1.0]),
    inference_detection=st.sampled_from([0.0, 0.7]),
    alpha=st.sampled_from([0.0, 0.3, 0.75, 1.0]),
    attach=st.sampled_from(["subject", "image"]),
)
SEEDS, QUERIES, GALLERY, CAMERAS = (
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.integers(1, 10),
    st.integers(1, 3),
)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(SEEDS, QUERIES, GALLERY, CAMERAS, st.integers(0, 2), st.sampled_from(SETTINGS), PARAMETERS)
def test_is_its_transcription(seed, q, g, cameras, each, setting, parameters):
    features, faces, labels, variants = random_case(seed, q, g, cameras, each)
    joined = enrich(*sides(features, faces, labels), setting, parameters)
    assert joined.tolist() == [-1 if j is None else j for j in chosen_by(faces, labels, setting, parameters)]
    constant = 1 - parameters.alpha
    expected = constant - transcription(features[0], features, faces, labels, setting, parameters)
    similarity = geff_similarity(*sides(features, faces, labels), setting, parameters)
    assert similarity.dtype == np.float64
    np.testing.assert_allclose(similarity, expected, atol=1e-11)
    for rows, own, made in geff_blocks(*sides(features, faces, labels), setting, parameters, variants):
        np.testing.assert_array_equal(own, similarity[rows])
        assert made.shape == (q, each, g)
        for k in range(each):
            expected = constant - transcription(variants[:, k], features, faces, labels, setting, parameters)
            np.testing.assert_allclose(made[:, k], expected[rows], atol=1e-11)


def unit(*angles):
    return np.array([[np.cos(a), np.sin(a)] for a in np.deg2rad(angles)])


def test_a_case_by_hand():
    """Query 0 shows its face and joins subject 7; query 1, in the same clothes and without a face, profits."""
    features = unit(90, 80), unit(0, 150, 10)
    labels = Labels([7, 7], [1, 1], [1, 1]), Labels([7, 8, 7], [0, 2, 0], [0, 0, 0])
    faces = Faces([0.8, 0.0], [[1, 0], [0, 0]]), Faces([0.9, 0.9, 0.0], [[1, 1], [0, 1], [0, 0]])
    both = sides(features, faces, labels)
    assert enrich(*both).tolist() == [0, -1]
    near = np.cos(np.deg2rad(10))  # of the two queries
    half = np.sqrt(0.5)  # the faces of query 0 and gallery image 0
    expected = [
        [0.75 * 0 + 0.25 * half, 0.75 * 0.5, 0.75 * np.cos(np.deg2rad(80))],
        [0.75 * near, 0.75 * np.cos(np.deg2rad(70)), 0.75 * near],
    ]
    similarity = geff_similarity(*both, parameters=Geff(attach="subject"))
    np.testing.assert_allclose(similarity, expected, atol=1e-9)
    to_image = geff_similarity(*both)  # as the release
    expected[1][2] = 0.75 * np.cos(np.deg2rad(70))
    np.testing.assert_allclose(to_image, expected, atol=1e-9)


@pytest.mark.parametrize("attach", ["subject", "image"])
def test_a_query_never_meets_its_own_copy(attach):
    """Each query joins the gallery, and alone: nothing changes for it, whatever it chose."""
    features, faces, labels, _ = random_case(0, 6, 9)
    seen = Faces(np.ones(6), np.ones((6, 3))), Faces(np.ones(9), np.ones((9, 3)))
    labels[0] = Labels(labels[0].subjects, labels[0].clothes + 9, labels[0].cameras + 9)
    parameters = Geff(alpha=1.0, attach=attach)
    plain = geff_similarity(*sides(features, faces, labels), "cc", Geff(alpha=1.0, enrichment_detection=1.0))
    query, gallery = sides(features, seen, labels)
    for i in range(6):
        one = slice(i, i + 1)
        assert enrich(query.take(one), gallery).tolist() == [0]
        np.testing.assert_array_equal(geff_similarity(query.take(one), gallery, "cc", parameters), plain[one])
        ((_, _, made),) = geff_blocks(query.take(one), gallery, "cc", parameters, variants=features[0][one, None])
        np.testing.assert_array_equal(made[0], plain[one])  # a variant that is the query itself
    assert (geff_similarity(*sides(features, seen, labels), "cc", parameters) > plain).any()


def test_copies_are_no_gallery_images():
    """A query without a match stays unmatched, though its copy joined the gallery under its own subject."""
    labels = Labels([1, 1], [5, 6], [5, 6]), Labels([1, 2], [5, 7], [7, 7])
    faces = Faces([1.0, 1.0], [[1, 0], [1, 0]]), Faces([1.0, 1.0], [[1, 0], [0, 1]])
    features = unit(0, 10), unit(90, 50)
    similarity = geff_similarity(*sides(features, faces, labels), "cc")
    assert enrich(*sides(features, faces, labels), "cc").tolist() == [-1, 0]
    assert similarity.shape == (2, 2)
    scores = evaluate(similarity, *labels, "cc")
    assert (scores.query_index.tolist(), scores.unmatched) == ([1], 1)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(SETTINGS), PARAMETERS)
def test_whom_the_queries_show_changes_nothing(seed, setting, parameters):
    features, faces, labels, variants = random_case(seed, 7, 9, each=1)
    other = Labels(np.random.default_rng(seed).integers(0, 9, 7), labels[0].clothes, labels[0].cameras)
    np.testing.assert_array_equal(
        enrich(*sides(features, faces, labels), setting, parameters),
        enrich(*sides(features, faces, (other, labels[1])), setting, parameters),
    )
    for a, b in zip(
        geff_blocks(*sides(features, faces, labels), setting, parameters, variants),
        geff_blocks(*sides(features, faces, (other, labels[1])), setting, parameters, variants),
        strict=True,
    ):
        np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_array_equal(a[2], b[2])


def test_the_same_clothes_setting_does_not_tell_subjects_apart():
    """Clothes are numbered by subject: leaving out other clothes would leave the right subject only."""
    features, faces, labels, _ = random_case(5, 30, 40)
    labels = [Labels(x.subjects, 10 * x.subjects + x.clothes, x.cameras) for x in labels]
    found = enrich(*sides(features, faces, labels), "sc")
    assert found.tolist() == enrich(*sides(features, faces, labels), "general").tolist()
    joined = found >= 0
    assert (labels[1].subjects[found[joined]] != labels[0].subjects[joined]).any()


@settings(derandomize=True, max_examples=30, deadline=None)
@given(SEEDS)
def test_leaving_out_the_same_clothes_never_corrects_a_choice(seed):
    features, faces, labels, _ = random_case(seed, 12, 20)
    labels = [Labels(x.subjects, 10 * x.subjects + x.clothes, x.cameras) for x in labels]
    right = [
        (found >= 0) & (labels[1].subjects[found] == labels[0].subjects)
        for found in (enrich(*sides(features, faces, labels), setting) for setting in ("general", "cc"))
    ]
    every = enrich(*sides(features, faces, labels), "general") >= 0
    assert not (right[1] & ~right[0] & every).any()


def nobody(n):
    return Faces(np.zeros(n), np.zeros((n, 3), np.float32))


def test_without_faces_it_is_the_model_alone():
    rng = np.random.default_rng(2)
    features, _, labels, _ = random_case(2, 20, 40)
    features = [rng.normal(size=x.shape) for x in features]
    variants = rng.normal(size=(20, 3, 4))
    faces = nobody(20), nobody(40)
    assert (enrich(*sides(features, faces, labels)) == -1).all()
    plain = evaluate_features(*features, *labels, "cc")
    found = evaluate(geff_similarity(*sides(features, faces, labels)), *labels, "cc")
    assert found.per_query_ap.tolist() == plain.per_query_ap.tolist()
    present = rng.random((20, 3)) < 0.7
    refined = refine(features[0], variants, features[1], *labels, present=present)
    query, gallery = sides(features, faces, labels)
    similarity, again = refine_geff(query, variants, gallery, present=present)
    assert again.subjects.tolist() == refined.subjects.tolist()
    assert again.prediction.tolist() == refined.prediction.tolist()
    np.testing.assert_allclose(again.scores, refined.scores, atol=1e-5)
    expected = evaluate_refined(query, gallery, refined)
    assert (
        evaluate_refined_similarity(similarity, again, *labels).per_query_ap.tolist() == expected.per_query_ap.tolist()
    )


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_blocks_change_nothing(monkeypatch, rows):
    features, faces, labels, variants = random_case(7, 11, 13, each=2)
    present = np.random.default_rng(7).random((11, 2)) < 0.6
    query, gallery = sides(features, faces, labels)
    ((everything, own, made),) = geff_blocks(*sides(features, faces, labels), variants=variants)
    assert everything == slice(0, 11)
    whole = refine_similarity(own, made, *labels, m=3, present=present)
    monkeypatch.setattr(geff, "BLOCK_VALUES", 1)
    monkeypatch.setattr(geff, "BLOCK_ROWS", 3 * rows)
    assert len(list(geff_blocks(*sides(features, faces, labels), variants=variants))) == -(-11 // rows)
    similarity, refined = refine_geff(query, variants, gallery, m=3, present=present)
    np.testing.assert_array_equal(similarity, own)
    np.testing.assert_array_equal(refined.subjects, whole.subjects)
    np.testing.assert_array_equal(refined.scores, whole.scores)
    assert refined.prediction.tolist() == whole.prediction.tolist()
    np.testing.assert_array_equal(geff_similarity(*sides(features, faces, labels)), own)


ONE, TWO = Labels([0], [0], [0]), Labels([0, 1], [1, 1], [1, 1])
FACE, PAIR = Faces([0.9], np.ones((1, 3))), Faces([0.9, 0.0], [[1, 1, 1], [0, 0, 0]])
QUERY_SIDE, GALLERY_SIDE = Side(np.ones((1, 4)), ONE, FACE), Side(np.ones((2, 4)), TWO, PAIR)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"setting": "all"}, "setting must be one of"),
        ({"query": Side(np.ones((1, 3)), ONE, FACE)}, "equally many columns"),
        ({"query": Side(np.full((1, 4), np.nan), ONE, FACE)}, "query must be finite"),
        ({"query": Side(np.ones((1, 4)), ONE, PAIR)}, "query_labels holds the labels of 1 images, expected 2"),
        (
            {"gallery": Side(np.ones((2, 4)), TWO, (PAIR.scores, PAIR.embeddings))},
            r"gallery.faces must be Faces\(scores, embeddings\)",
        ),
        ({"gallery": Side(np.ones((2, 4)), TWO)}, r"gallery.faces must be Faces\(scores, embeddings\), got NoneType"),
        ({"gallery": Side(np.ones((2, 4)), TWO, Faces([0.9, 0.9], np.ones((2, 2))))}, "equally many columns"),
        ({"query": Side(np.ones((1, 4)), TWO, FACE)}, "query_labels holds the labels of 2 images, expected 1"),
        ({"variants": np.ones((1, 4))}, r"variants must have shape \[1, l, 4\], got \(1, 4\)"),
        ({"variants": np.ones((2, 1, 4))}, "variants must have shape"),
        ({"variants": np.full((1, 1, 4), np.nan)}, "variants must be finite"),
    ],
)
def test_wrong_arguments_are_named_at_once(changed, message):
    arguments = {"query": QUERY_SIDE, "gallery": GALLERY_SIDE}
    with pytest.raises(ValueError, match=message):
        geff_blocks(**(arguments | changed))


@pytest.mark.parametrize(
    ("scores", "embeddings", "message"),
    [
        ([[0.5]], [[1.0]], r"scores must be numbers \[N\]"),
        ([0.5], [1.0], r"embeddings must be numbers \[1, E\]"),
        ([0.5], [[1.0], [1.0]], r"embeddings must be numbers \[1, E\]"),
        ([1.5], [[1.0]], "between 0 and 1"),
        ([np.nan], [[1.0]], "between 0 and 1"),
        ([0.5], [[np.inf]], "must be finite"),
        ([0.5, 0.5], [[1.0], [0.0]], "row 1 must have a score and an embedding"),
        ([0.0], [[1.0]], "row 0 must have a score and an embedding"),
    ],
)
def test_wrong_faces_are_named(scores, embeddings, message):
    with pytest.raises(ValueError, match=message):
        Faces(scores, embeddings)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 1.1}, "alpha\n  Input should be less than or equal to 1"),
        ({"enrichment_similarity": 0.0}, "enrichment_similarity\n  Input should be greater than 0"),
        ({"attach": "camera"}, "attach\n  Input should be 'subject' or 'image'"),
    ],
)
def test_wrong_parameters_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        Geff(**changed)


def test_presence_is_checked_for_all_queries_at_once():
    with pytest.raises(ValueError, match=r"present must be bool \(1, 2\), got shape \(1, 1\)"):
        refine_geff(QUERY_SIDE, np.ones((1, 2, 4)), GALLERY_SIDE, present=[[True]])
