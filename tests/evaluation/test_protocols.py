"""Which rows are compared, joint labels, and the single-shot protocol."""

import numpy as np
import pandas as pd
import pytest

from dlcr.evaluation import Labels, compared_rows, evaluate_features, joint_labels, single_shot


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
    rows = compared_rows(PRCC)
    assert {setting: (q.tolist(), g.tolist()) for setting, (q, g) in rows.items()} == {
        "cc": ([3, 4], [0, 1]),
        "sc": ([2], [0, 1]),
        "general": ([2, 3, 4], [0, 1]),
    }


def test_what_the_dataset_lacks_is_not_compared():
    assert list(compared_rows(PRCC[PRCC["split"] != "query_sc"])) == ["cc", "general"]
    assert list(compared_rows(PRCC.assign(clothes=""))) == ["general"]
    with pytest.raises(ValueError, match="no split 'gallery': it has query"):
        compared_rows(PRCC[PRCC["split"] == "query"])


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
    found = single_shot(features, others, query, gallery, draws=400)
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
    arguments = rng.normal(size=(9, 3)), rng.normal(size=(30, 3)), query, gallery
    assert single_shot(*arguments, seed=1) == single_shot(*arguments, seed=1)
    assert single_shot(*arguments, seed=1) != single_shot(*arguments, seed=2)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        single_shot(*arguments, draws=0)
