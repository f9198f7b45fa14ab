"""Evaluation: features, top-1 / mAP / CMC in three settings, prediction refinement (Algorithm 1), GEFF,
intervals and tests.

    from dlcr.evaluation import Labels, evaluate
    scores = evaluate(similarity, Labels(subjects, clothes, cameras), Labels(...), "cc")
"""

from dlcr.evaluation.centralization import average, centralize
from dlcr.evaluation.features import extract_features, extract_tracklet_features
from dlcr.evaluation.geff import (
    enrich,
    geff_blocks,
    geff_similarity,
    refine_geff,
)
from dlcr.evaluation.labels import SETTINGS, Labels
from dlcr.evaluation.metrics import Scores, evaluate, evaluate_features
from dlcr.evaluation.protocols import (
    TEST_SPLITS,
    SingleShot,
    compared_rows,
    joint_labels,
    junk_rule,
    single_shot,
)
from dlcr.evaluation.refinement import (
    Refined,
    Voters,
    count_votes,
    evaluate_refined,
    evaluate_refined_similarity,
    find_voters,
    refine,
    refine_similarity,
)
from dlcr.evaluation.reranking import rerank
from dlcr.evaluation.sides import Faces, Side
from dlcr.evaluation.statistics import Estimate, mean_estimate, paired_difference

__all__ = [
    "SETTINGS",
    "TEST_SPLITS",
    "Estimate",
    "Faces",
    "Labels",
    "Refined",
    "Scores",
    "Side",
    "SingleShot",
    "Voters",
    "average",
    "centralize",
    "compared_rows",
    "count_votes",
    "enrich",
    "evaluate",
    "evaluate_features",
    "evaluate_refined",
    "evaluate_refined_similarity",
    "extract_features",
    "extract_tracklet_features",
    "find_voters",
    "geff_blocks",
    "geff_similarity",
    "joint_labels",
    "junk_rule",
    "mean_estimate",
    "paired_difference",
    "refine",
    "refine_geff",
    "refine_similarity",
    "rerank",
    "single_shot",
]
