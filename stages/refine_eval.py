"""Stage refine-eval: a run's models on a dataset's queries and gallery, with and without prediction
refinement.

    python -m stages.refine_eval NAME      # an evaluation of params.yaml

Reads data/<dataset>, runs/<run>/seed-* and generated/<queries>; writes evaluations/<NAME>/metrics.json
(percent), per_query.parquet (every seed) and rankings.parquet (the first seed's ten best gallery images of
each query).
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import typer

from dlcr.data import Generated, Images, load_manifest, open_generated, open_images
from dlcr.evaluation import (
    SINGLE_SHOT,
    TEST_SPLITS,
    Refined,
    Scores,
    SingleShot,
    evaluate_features,
    evaluate_refined,
    extract_features,
    refine,
    single_shot,
    tracklet_features,
    tracklet_of,
)
from dlcr.evaluation.runs import Comparison, comparisons, per_query_table, rankings_table, summary
from dlcr.params import load_params, lookup
from dlcr.reid import load_model
from dlcr.runtime import determinism, timing
from dlcr.runtime.files import atomic_path, write_json
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)
BATCH = 64
FRAMES = 20_000  # whose features are held before they are averaged to tracklets


@dataclass
class Cost:
    """Seconds and images of feature extraction and of Algorithm 1, over all seeds."""

    feature_seconds: float = 0.0
    feature_images: int = 0
    refine_seconds: float = 0.0
    refine_queries: int = 0


@dataclass(frozen=True)
class Test:
    """What is compared: a row a tracklet, or an image that belongs to none, and all their frames.

    `tracklet` int64 [frames] says which row of `rows` a frame belongs to; `rows` holds the first frame of each.
    """

    reader: str
    rows: pd.DataFrame
    frames: pd.DataFrame
    tracklet: np.ndarray


@app.command()
def main(name: str) -> None:
    """Evaluate NAME: every seed of its run, on its dataset, refined where it names a set of query
    variants."""
    start = time.monotonic()
    params = load_params()
    evaluation = lookup(params.evaluations, "evaluations", name)
    determinism.set_up()
    test = read_test(evaluation.dataset, params.datasets[evaluation.dataset].reader)
    images = open_images(Path("data", evaluation.dataset, "images"))
    variants = None
    if evaluation.queries != "none":
        variants = open_generated(Path("generated", evaluation.queries), params.quality.minimum())
    cost, scores, queries, rankings = Cost(), {}, [], []
    for seed, folder in seed_folders(Path("runs", evaluation.run)).items():
        scores[seed], table, ranking = evaluate_seed(folder, test, images, variants, params.refine.m, cost)
        queries.append(table.assign(seed=np.int64(seed)))
        rankings.append(ranking)
    write(Path("evaluations", name), summary(scores), pd.concat(queries), rankings[0])
    record(name, cost, time.monotonic() - start)


def read_test(dataset: str, reader: str) -> Test:
    """The queries and the gallery of a packed dataset."""
    manifest = load_manifest(Path("data", dataset))
    frames = manifest[manifest["split"].isin(TEST_SPLITS)].reset_index(drop=True)
    tracklet = tracklet_of(frames)
    first = np.unique(tracklet, return_index=True)[1]
    return Test(reader, frames.iloc[first].reset_index(drop=True), frames, tracklet)


def seed_folders(run: Path) -> dict[int, Path]:
    """The folders seed-<s> of a run by their seed, ascending. FileNotFoundError if there is none."""
    names = ((re.fullmatch(r"seed-(-?\d+)", path.name), path) for path in run.glob("seed-*"))
    found = {int(match[1]): path for match, path in names if match}
    if not found:
        raise FileNotFoundError(f"{run}: holds no folder seed-<s>; run `python -m stages.train {run.name}` first")
    return dict(sorted(found.items()))


def evaluate_seed(
    folder: Path, test: Test, images: Images, variants: Generated | None, m: int, cost: Cost
) -> tuple[dict[str, Scores | SingleShot], pd.DataFrame, pd.DataFrame]:
    """Scores by setting, the table of all queries and the first ten of the rankings, for one trained
    model."""
    model = load_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    features = features_of(model, images, test.frames["image_id"].tolist(), test.tracklet, str(folder), cost)
    cases = comparisons(test.rows, features, test.reader)
    scores: dict[str, Scores | SingleShot] = {}
    tables = []
    for setting, case in cases.items():
        scores[setting] = evaluate_features(*case.features, *case.labels, setting)
        tables.append(per_query_table(case, scores[setting], test.rows, refined=False))
    setting, case = next(iter(cases.items()))  # "cc" unless the dataset's clothes are unknown
    rankings = [rankings_table(case, test.rows, None)]
    if test.reader in SINGLE_SHOT:
        scores[f"{setting}_single_shot"] = single_shot(*case.features, *case.labels, setting)
    if variants is not None:
        queries = np.flatnonzero(test.rows["split"] == "query")
        made, present = variant_features(model, variants, test, queries, features.shape[1], cost)
        for setting, case in cases.items():
            if not np.isin(case.queries, queries).all():
                continue  # queries in the same clothes have no variants
            rows = np.searchsorted(queries, case.queries)
            refined = refine_case(case, made[rows], present[rows], m, cost)
            scores[f"{setting}_refined"] = found = evaluate_refined(*case.features, refined, *case.labels, setting)
            tables.append(per_query_table(case, found, test.rows, refined=True))
            if len(rankings) == 1:
                rankings.append(rankings_table(case, test.rows, refined))
    return scores, pd.concat(tables), pd.concat(rankings)


def refine_case(case: Comparison, variants: np.ndarray, present: np.ndarray, m: int, cost: Cost) -> Refined:
    """Algorithm 1 for the queries of a setting; variants that were skipped take no part."""
    start = time.monotonic()
    query, gallery = case.features
    refined = refine(query, variants, gallery, *case.labels, m=m, setting=case.setting, present=present)
    cost.refine_seconds += time.monotonic() - start
    cost.refine_queries += len(query)
    return refined


def variant_features(
    model: torch.nn.Module, variants: Generated, test: Test, queries: np.ndarray, dims: int, cost: Cost
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [Q, l, D] of the variants of some rows of the test, and which exist, bool [Q, l].

    A tracklet's are the means of those of its frames. Zeros where all were skipped.
    """
    frames = np.flatnonzero(np.isin(test.tracklet, queries))
    image_ids = test.frames["image_id"].iloc[frames].tolist()
    missing = sorted(set(image_ids) - set(variants.image_ids))
    if missing:
        raise ValueError(f"{variants.folder}: {len(missing)} queries lack variants, the first is {missing[0]!r}")
    table = variants.table(["image_id", "variant", "skipped"])
    made = table[table["skipped"] == ""]
    exist = set(zip(made["image_id"], made["variant"].astype(int), strict=True))
    keys, owners = [], []
    for image_id, row in zip(image_ids, np.searchsorted(queries, test.tracklet[frames]), strict=True):
        for variant in range(variants.variants):
            if (image_id, variant) in exist:
                keys.append((image_id, variant))
                owners.append(row * variants.variants + variant)
    features = np.zeros((len(queries) * variants.variants, dims), dtype=np.float32)
    present = np.isin(np.arange(len(features)), owners)
    if keys:
        number = np.cumsum(present)[owners] - 1  # from 0, of those that exist
        features[present] = features_of(model, variants, keys, number, str(variants.folder), cost)
    return features.reshape(len(queries), -1, dims), present.reshape(len(queries), -1)


def features_of(
    model: torch.nn.Module, images: Images | Generated, keys: list, tracklet: np.ndarray, desc: str, cost: Cost
) -> np.ndarray:
    """Features float32 [T, D] of tracklets, the means of those of the images of `keys`, at the model's image size."""
    start = time.monotonic()
    order = np.argsort(tracklet, kind="stable")
    counts = np.bincount(tracklet)
    ends = np.cumsum(counts)
    borders = [] if len(counts) == len(keys) else np.flatnonzero(np.diff(ends // FRAMES)) + 1
    parts = []
    for part in np.split(np.arange(len(counts)), borders):
        own = order[ends[part[0]] - counts[part[0]] : ends[part[-1]]]
        found = extract_features(model, images, model.size, BATCH, keys=[keys[i] for i in own], desc=desc)
        parts.append(tracklet_features(found, tracklet[own] - part[0]))
    cost.feature_seconds += time.monotonic() - start
    cost.feature_images += len(keys)
    return np.concatenate(parts)


def write(folder: Path, metrics: dict, queries: pd.DataFrame, rankings: pd.DataFrame) -> None:
    """The stage's three files; the metrics last, so that they never stand beside older tables."""
    columns = ["seed", "setting", "refined", "image_id", "subject", "hit", "ap"]
    for name, table in (("per_query", queries[columns]), ("rankings", rankings)):
        with atomic_path(folder / f"{name}.parquet") as part:
            table.to_parquet(part, index=False)
    write_json(folder / "metrics.json", metrics)


def record(name: str, cost: Cost, seconds: float) -> None:
    """Keep the time and memory of the stage (images: those with features) and of Algorithm 1 (queries)."""
    timing.record(
        "refine-eval",
        name,
        seconds=seconds,
        images=cost.feature_images,
        images_per_second=cost.feature_images / cost.feature_seconds,
        peak_memory_mb=timing.peak_memory_mb(),
    )
    if cost.refine_queries:
        timing.record_images("refine", name, cost.refine_seconds, cost.refine_queries)


if __name__ == "__main__":
    run_stage(app)
