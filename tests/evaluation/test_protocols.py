"""Which rows are compared, joint labels, and the single-shot protocol."""

import numpy as np
import pandas as pd
import pytest

from dlcr.evaluation import (
    Labels,
    Side,
    compared_rows,
    evaluate_features,
    joint_labels,
    junk_rule,
    single_shot,
)
from dlcr.evaluation.metrics import evaluate_sides
from dlcr.evaluation.protocols import comparisons
from dlcr.evaluation.tracklets import tracklet_features, tracklet_of


def manifest(rows):
    return pd.DataFrame(rows, columns=["subject", "clothes", "camera", "split"])


PRCC = manifest(
    [
        ("2", "2a", "A", "gallery"),
        ("10", "10a", "A", "gallery"),
        ("2", "2a", "B", "query_sc"),
        ("2", "2b", "C", "query"),
        ("10", "10b", "C", "query"),
        ("3", "3a", "A", "train"),
    ]
)


def test_prcc_has_clothes_changing_same_clothes_and_pooled_queries():
    rows = compared_rows(PRCC, "prcc")
    assert {setting: (q.tolist(), g.tolist()) for setting, (q, g) in rows.items()} == {
        "cc": ([3, 4], [0, 1]),
        "sc": ([2], [0, 1]),
        "general": ([2, 3, 4], [0, 1]),
    }


def test_what_the_dataset_lacks_is_not_compared():
    assert list(compared_rows(PRCC[PRCC["split"] != "query_sc"], "ltcc")) == ["cc", "general"]
    assert list(compared_rows(PRCC.assign(clothes=""), "last")) == ["general"]
    with pytest.raises(ValueError, match="no split 'gallery': it has query"):
        compared_rows(PRCC[PRCC["split"] == "query"], "prcc")


VC_CLOTHES = manifest(
    [
        ("1", "1-01", "2", "query"),
        ("1", "1-01", "3", "query"),
        ("1", "1-02", "4", "query"),
        ("1", "1-01", "1", "gallery"),
        ("1", "1-01", "2", "gallery"),
        ("1", "1-01", "3", "gallery"),
        ("1", "1-02", "4", "gallery"),
    ]
)


def test_vc_clothes_compares_pairs_of_cameras():
    rows = compared_rows(VC_CLOTHES, "vc-clothes")
    assert {setting: (q.tolist(), g.tolist()) for setting, (q, g) in rows.items()} == {
        "cc": ([1, 2], [5, 6]),
        "sc": ([0, 1], [4, 5]),
        "general": ([0, 1, 2], [3, 4, 5, 6]),
    }
    assert list(compared_rows(VC_CLOTHES[VC_CLOTHES["camera"] != "2"], "vc-clothes")) == ["cc", "sc", "general"]
    assert list(compared_rows(VC_CLOTHES[VC_CLOTHES["camera"] < "3"], "vc-clothes")) == ["sc", "general"]


def test_vc_clothes_leaves_out_the_camera_alone():
    """CAL's `vcclothes_cc` and `vcclothes_sc` are cameras: what is worn there removes nothing."""
    table = manifest(
        [
            ("1", "1-01", "3", "query"),
            ("1", "1-01", "3", "gallery"),
            ("1", "1-01", "4", "gallery"),
            ("2", "2-01", "4", "gallery"),
        ]
    )
    case = comparisons(table, Side(np.eye(4)[:, :2] + 1, joint_labels(table)), "vc-clothes")["cc"]
    assert (case.setting, case.junk) == ("cc", "general")
    scores = evaluate_sides(case.query, case.gallery, case.junk)
    assert (scores.queries, scores.unmatched) == (1, 0)
    with pytest.raises(ValueError, match="no query has a correct gallery image"):
        evaluate_sides(case.query, case.gallery, "cc")
    assert [junk_rule(setting, "ltcc") for setting in ("cc", "sc", "general")] == ["cc", "sc", "general"]


def test_every_setting_on_every_kind_of_dataset_is_the_definition():
    """Rows, labels and metrics together, on random manifests, against the datasets' protocols in plain words."""
    rng = np.random.default_rng(3)
    for reader in ("prcc", "ltcc", "vc-clothes", "last", "ccvid"):
        for _ in range(20):
            table = random_manifest(rng, reader)
            features = rng.normal(size=(len(table), 6))
            labels = joint_labels(table)
            for setting, (queries, gallery) in compared_rows(table, reader).items():
                expected = plain_words(table, features, reader, setting)
                arguments = features[queries], features[gallery], labels.take(queries), labels.take(gallery)
                rule = junk_rule(setting, reader)
                if not expected:
                    with pytest.raises(ValueError, match="no query has a correct gallery image"):
                        evaluate_features(*arguments, rule)
                    continue
                scores = evaluate_features(*arguments, rule)
                assert queries[scores.query_index].tolist() == list(expected)
                np.testing.assert_allclose(scores.per_query_ap, list(expected.values()), atol=1e-12)


def random_manifest(rng, reader):
    """40 test images with the labels that the dataset has, and some of other splits between them."""
    subject = rng.integers(0, 4, 50).astype(str)
    suit = rng.integers(0, 3, 50).astype(str)
    camera = rng.integers(1, 5, 50).astype(str)
    split = rng.choice(["query", "gallery", "gallery", "train"], 50).astype(object)
    split[:2] = "query", "gallery"
    if reader == "prcc":
        camera = rng.choice(["A", "B", "C"], 50)
        split = np.array([{"A": "gallery", "B": "query_sc", "C": "query"}[c] for c in camera], dtype=object)
        suit = np.where(camera == "C", "c", "ab")
    clothes = np.char.add(np.char.add(subject, "-"), suit)
    if reader == "last":
        camera, clothes = np.full(50, ""), np.where(split == "train", clothes, "")
    return manifest(list(zip(subject, clothes, camera, split, strict=True)))


def plain_words(table, features, reader, setting):
    """{row of a counted query: average precision}, one comparison at a time."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    result = {}
    rows = table.to_dict("records")
    for i, query in enumerate(rows):
        wanted = {"cc": ["query"], "sc": ["query_sc"], "general": ["query", "query_sc"]}[setting]
        cameras = None
        if reader == "vc-clothes":
            wanted, cameras = ["query"], {"cc": "34", "sc": "23", "general": "1234"}[setting]
        if query["split"] not in wanted or (cameras and query["camera"] not in cameras):
            continue
        kept = []
        for j, image in enumerate(rows):
            if image["split"] != "gallery" or (cameras and image["camera"] not in cameras):
                continue
            same = image["subject"] == query["subject"]
            if same and reader != "last" and image["camera"] == query["camera"]:
                continue
            by_clothes = same and reader != "vc-clothes"  # there the cameras alone make the setting, as in CAL
            if by_clothes and setting == "cc" and image["clothes"] == query["clothes"]:
                continue
            if by_clothes and setting == "sc" and image["clothes"] != query["clothes"]:
                continue
            kept.append((-unit[i] @ unit[j], same))
        hits = [same for _, same in sorted(kept)]
        ranks = [rank for rank, same in enumerate(hits, 1) if same]
        if ranks:
            result[i] = np.mean([n / rank for n, rank in enumerate(ranks, 1)])
    return result


def test_frames_of_a_tracklet_are_averaged():
    table = pd.DataFrame(
        {
            "tracklet": ["b", "", "a", "b", "", "b"],
            "image_id": ["b/1", "b", "a/1", "b/2", "x", "b/3"],
        }
    )
    tracklet = tracklet_of(table)
    assert tracklet.tolist() == [0, 1, 2, 0, 3, 0]
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    made = tracklet_features(features, tracklet)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[0], features[[0, 3, 5]].mean(axis=0), rtol=1e-6)
    assert (made[1:] == features[[1, 2, 4]]).all()
    assert tracklet_of(table.assign(tracklet="")).tolist() == list(range(6))


def test_labels_are_numbered_by_sorted_name_over_all_rows():
    labels = joint_labels(PRCC)
    assert labels.subjects.tolist() == [1, 0, 1, 1, 0, 2]  # "10" < "2" < "3"
    assert labels.cameras.tolist() == [0, 0, 1, 2, 2, 0]
    assert labels.clothes.tolist() == [2, 0, 2, 3, 1, 4]


def test_unknown_cameras_are_never_the_same():
    labels = joint_labels(PRCC.assign(camera=""))
    assert len(set(labels.cameras.tolist())) == len(PRCC)


def test_single_shot_is_the_mean_over_galleries_of_one_image_a_subject():
    rng = np.random.default_rng(0)
    query = Labels(np.arange(12) % 4, np.full(12, 9), np.full(12, 2))
    gallery = Labels(np.repeat(np.arange(4), 3), np.zeros(12, int), np.zeros(12, int))
    features, others = rng.normal(size=(12, 3)), rng.normal(size=(12, 3))
    found = single_shot(Side(features, query), Side(others, gallery), draws=400)
    top1 = []
    for choice in np.ndindex(3, 3, 3, 3):  # every gallery there is
        rows = [3 * subject + image for subject, image in enumerate(choice)]
        top1.append(evaluate_features(features, others[rows], query, gallery.take(rows), "cc").top1)
    assert found.top1 == pytest.approx(np.mean(top1), abs=0.03)
    assert found.top1_std == pytest.approx(np.std(top1), abs=0.03)
    assert found.map >= found.top1  # with one correct image, AP is 1 / its rank


def test_single_shot_draws_are_seeded():
    rng = np.random.default_rng(1)
    query = Labels(np.arange(9) % 3, np.ones(9, int), np.ones(9, int))
    gallery = Labels(np.repeat(np.arange(3), 10), np.zeros(30, int), np.zeros(30, int))
    arguments = Side(rng.normal(size=(9, 3)), query), Side(rng.normal(size=(30, 3)), gallery)
    assert single_shot(*arguments, seed=1) == single_shot(*arguments, seed=1)
    assert single_shot(*arguments, seed=1) != single_shot(*arguments, seed=2)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        single_shot(*arguments, draws=0)
