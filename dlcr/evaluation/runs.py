"""A trained model on a dataset's queries and gallery: every setting, alone or within GEFF, refined and re-ranked.

trial = Trial(compared_tracklets(manifest), "minicc", images, variants)
found = evaluate_model(model, trial, Cost(), "progressive")
print(found.scores["cc_refined"].top1)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dlcr.data.readers import find_reader
from dlcr.evaluation.centralization import average, centralize
from dlcr.evaluation.geff import geff_similarity, refine_geff
from dlcr.evaluation.metrics import Scores, evaluate, evaluate_sides
from dlcr.evaluation.protocols import Comparison, SingleShot, comparisons, joint_labels, single_shot
from dlcr.evaluation.refinement import (
    Refined,
    Voters,
    count_votes,
    evaluate_refined,
    evaluate_refined_similarity,
    find_voters,
)
from dlcr.evaluation.reranking import rerank
from dlcr.evaluation.sides import Faces, Side
from dlcr.evaluation.tables import features_table, per_query_table, rankings_table, similarity_rankings, votes_table
from dlcr.evaluation.tracklets import Tracklets, Variants, features_of, variant_features, variant_frames
from dlcr.params import Geff
from dlcr.runtime.seeds import seed_of

if TYPE_CHECKING:
    import torch

    from dlcr.data import Generated, Images

# How a ranking came about, by the end of its setting's name in the metrics: similarities alone, Algorithm 1,
# k-reciprocal re-ranking, the mean of a query's and its variants' features, neighbour feature centralization.
KINDS = {
    "plain": "",
    "refined": "_refined",
    "reranked": "_reranked",
    "averaged": "_averaged",
    "centralized": "_centralized",
}


@dataclass(frozen=True)
class Trial:
    """What models are tried on, and how: the dataset's test, its reader and images, and the variants of its queries (of
    split "query"; None: nothing is refined). With `faces`, those of `tracklets.rows`, the model is wrapped in GEFF.
    `rerank`, `features`: as in `dlcr.params.Evaluation`."""

    tracklets: Tracklets
    reader: str
    images: Images
    variants: Generated | None = None
    faces: Faces | None = None
    geff: Geff = field(default_factory=Geff)
    m: int = 5
    rerank: bool = False
    features: bool = False


@dataclass
class Watch:
    """The time of work that is done in several parts."""

    seconds: float = 0.0
    items: int = 0

    @contextmanager
    def over(self, items: int) -> Iterator[None]:
        """Count the time of a block, which works on so many items."""
        start = time.monotonic()
        yield
        self.seconds += time.monotonic() - start
        self.items += items


@dataclass
class Cost:
    """What evaluations took: features (of images) and Algorithm 1 (on queries)."""

    features: Watch = field(default_factory=Watch)
    refinement: Watch = field(default_factory=Watch)


@dataclass(frozen=True)
class Evaluated:
    """What one model is worth.

    scores     by setting and the end of its kind ("cc", "cc_refined"); of PRCC and MiniCC "cc_single_shot" too
    per_query  `per_query_table` of all of them
    tables     of the first setting, "cc" unless the dataset's clothes are unknown: "rankings" and, without faces,
               "features" if they are asked for and, where it is refined, "votes" (`dlcr.evaluation.tables`)
    """

    scores: dict[str, Scores | SingleShot]
    per_query: pd.DataFrame
    tables: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Ranked:
    """One setting's scores by kind, and what led to them: GEFF's similarities, Algorithm 1's votes and result."""

    scores: dict[str, Scores]
    similarity: np.ndarray | None = None
    voters: Voters | None = None
    refined: Refined | None = None


def evaluate_model(model: torch.nn.Module, trial: Trial, cost: Cost, desc: str | None) -> Evaluated:
    """Scores of a model in every setting that the dataset allows; `desc` names the progress bar, None: there is none.

    Settings are refined if all their queries have variants. Re-ranking, NFC and the single-shot protocol are of the
    first.
    """
    tracklets, reader = trial.tracklets, find_reader(trial.reader)
    keys = tracklets.frames["image_id"].tolist()
    with cost.features.over(len(keys)):
        features = features_of(model, trial.images, keys, tracklets.number, desc)
    variants = None if trial.variants is None else _variants(model, trial, features.shape[1], cost, desc)
    scores: dict[str, Scores | SingleShot] = {}
    per_query, tables = [], {}
    side = Side(features, joint_labels(tracklets.rows), trial.faces)
    for setting, case in comparisons(tracklets.rows, side, trial.reader).items():
        made = None if variants is None else variants.of(case.query_rows)
        if trial.faces is None:
            ranked = rank(case, made, trial.m, cost.refinement)
        else:
            ranked = rank_within_geff(case, made, trial.m, trial.geff, cost.refinement)
        first = not scores
        if first:
            tables = _tables(case, ranked, trial)
        if trial.rerank and first:  # what knows all queries and the whole gallery
            similarity = rerank(case.query.features, case.gallery.features)
            ranked.scores["reranked"] = evaluate(similarity, case.query.labels, case.gallery.labels, case.junk)
            ranked.scores["centralized"] = evaluate_centralized(case)
        for kind, found in ranked.scores.items():
            scores[setting + KINDS[kind]] = found
            per_query.append(per_query_table(case, found, tracklets.rows, kind))
        if reader.single_shot and first and trial.faces is None:
            scores[f"{setting}_single_shot"] = single_shot(case.query, case.gallery, case.junk)
    return Evaluated(scores, pd.concat(per_query), tables)


def rank(case: Comparison, variants: Variants | None, m: int, watch: Watch) -> Ranked:
    """The model alone, and with variants refined (Algorithm 1) and averaged. watch: over Algorithm 1."""
    query, gallery = case.query, case.gallery
    scores = {"plain": evaluate_sides(query, gallery, case.junk)}
    if variants is None:
        return Ranked(scores)
    with watch.over(len(query)):
        voters = find_voters(query, variants.features, gallery, m, case.junk, variants.present)
        refined = count_votes(voters, gallery.labels)
    scores["refined"] = evaluate_refined(query, gallery, refined, case.junk)
    means = average(query.features, variants.features, variants.present)
    scores["averaged"] = evaluate_sides(Side(means, query.labels), gallery, case.junk)
    return Ranked(scores, voters=voters, refined=refined)


def evaluate_centralized(case: Comparison) -> Scores:
    """Scores after NFC of queries and gallery, each among themselves (`centralize`)."""
    query, gallery = (Side(centralize(side.features), side.labels) for side in (case.query, case.gallery))
    return evaluate_sides(query, gallery, case.junk)


def rank_within_geff(case: Comparison, variants: Variants | None, m: int, parameters: Geff, watch: Watch) -> Ranked:
    """The model within GEFF, and with variants refined."""
    query, gallery, labels = case.query, case.gallery, (case.query.labels, case.gallery.labels)
    if variants is None:
        similarity = geff_similarity(query, gallery, case.junk, parameters)
        return Ranked({"plain": evaluate(similarity, *labels, case.junk)}, similarity)
    with watch.over(len(query)):
        similarity, refined = refine_geff(query, variants.features, gallery, m, case.junk, variants.present, parameters)
    scores = {
        "plain": evaluate(similarity, *labels, case.junk),
        "refined": evaluate_refined_similarity(similarity, refined, *labels, case.junk),
    }
    return Ranked(scores, similarity, refined=refined)


def _variants(model: torch.nn.Module, trial: Trial, dims: int, cost: Cost, desc: str | None) -> Variants:
    """Of queries in other clothes: those in the same ones have none."""
    rows = np.flatnonzero(trial.tracklets.rows["split"] == "query")
    keys, owners = variant_frames(trial.variants, trial.tracklets, rows)
    with cost.features.over(len(keys)):
        return variant_features(model, trial.variants, keys, owners, rows, dims, desc and str(trial.variants.folder))


def _tables(case: Comparison, ranked: Ranked, trial: Trial) -> dict[str, pd.DataFrame]:
    test = trial.tracklets.rows
    if ranked.similarity is not None:
        return {"rankings": similarity_rankings(case, test, ranked.similarity)}
    tables = {"rankings": rankings_table(case, test, None)}
    if trial.features:
        tables["features"] = features_table(case, test, seed_of("embedding", trial.reader))
    if ranked.voters is not None:
        tables["rankings"] = pd.concat([tables["rankings"], rankings_table(case, test, ranked.refined)])
        tables["votes"] = votes_table(case, test, ranked.voters)
    return tables
