"""Evaluation: features, top-1 / mAP / CMC in three settings, prediction refinement (Algorithm 1), intervals
and tests.

    from dlcr.evaluation import Labels, evaluate
    scores = evaluate(similarity, Labels(subjects, clothes, cameras), Labels(...), "cc")
"""

from dlcr.evaluation.features import extract_features
from dlcr.evaluation.labels import SETTINGS, Labels
from dlcr.evaluation.metrics import Scores, evaluate, evaluate_features
from dlcr.evaluation.protocols import (
    SINGLE_SHOT,
    TEST_SPLITS,
    SingleShot,
    compared_rows,
    joint_labels,
    single_shot,
    tracklet_features,
    tracklet_of,
)
from dlcr.evaluation.refinement import Refined, evaluate_refined, refine
from dlcr.evaluation.reranking import rerank
from dlcr.evaluation.statistics import Difference, Interval, bootstrap_interval, paired_difference

__all__ = [
    "SETTINGS",
    "SINGLE_SHOT",
    "TEST_SPLITS",
    "Difference",
    "Interval",
    "Labels",
    "Refined",
    "Scores",
    "SingleShot",
    "bootstrap_interval",
    "compared_rows",
    "evaluate",
    "evaluate_features",
    "evaluate_refined",
    "extract_features",
    "joint_labels",
    "paired_difference",
    "refine",
    "rerank",
    "single_shot",
    "tracklet_features",
    "tracklet_of",
]
