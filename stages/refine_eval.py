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
    TEST_SPLITS,
    Refined,
    Scores,
    SingleShot,
    evaluate_features,
    evaluate_refined,
    extract_features,
    refine,
    single_shot,
)
from dlcr.evaluation.runs import Comparison, comparisons, per_query_table, rankings_table, summary
from dlcr.params import load_params, lookup
from dlcr.reid import load_model
from dlcr.runtime import determinism, timing
from dlcr.runtime.files import atomic_path, write_json
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)
BATCH = 64


@dataclass
class Cost:
    """Seconds and images of feature extraction and of Algorithm 1, over all seeds."""

    feature_seconds: float = 0.0
    feature_images: int = 0
    refine_seconds: float = 0.0
    refine_queries: int = 0


@app.command()
def main(name: str) -> None:
    """Evaluate NAME: every seed of its run, on its dataset, refined where it names a set of query
    variants."""
    start = time.monotonic()
    params = load_params()
    evaluation = lookup(params.evaluations, "evaluations", name)
    determinism.set_up()
    manifest = load_manifest(Path("data", evaluation.dataset))
    test = manifest[manifest["split"].isin(TEST_SPLITS)].reset_index(drop=True)
    images = open_images(Path("data", evaluation.dataset, "images"))
    variants = open_generated(Path("generated", evaluation.queries)) if evaluation.queries != "none" else None
    cost, scores, queries, rankings = Cost(), {}, [], []
    for seed, folder in seed_folders(Path("runs", evaluation.run)).items():
        scores[seed], table, ranking = evaluate_seed(folder, test, images, variants, params.refine.m, cost)
        queries.append(table.assign(seed=np.int64(seed)))
        rankings.append(ranking)
    write(Path("evaluations", name), summary(scores), pd.concat(queries), rankings[0])
    record(name, cost, time.monotonic() - start)


def seed_folders(run: Path) -> dict[int, Path]:
    """The folders seed-<s> of a run by their seed, ascending. FileNotFoundError if there is none."""
    names = ((re.fullmatch(r"seed-(-?\d+)", path.name), path) for path in run.glob("seed-*"))
    found = {int(match[1]): path for match, path in names if match}
    if not found:
        raise FileNotFoundError(f"{run}: holds no folder seed-<s>; run `python -m stages.train {run.name}` first")
    return dict(sorted(found.items()))


def evaluate_seed(
    folder: Path, test: pd.DataFrame, images: Images, variants: Generated | None, m: int, cost: Cost
) -> tuple[dict[str, Scores | SingleShot], pd.DataFrame, pd.DataFrame]:
    """Scores by setting, the table of all queries and the first ten of the rankings, for one trained
    model."""
    model = load_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    cases = comparisons(test, features_of(model, images, test["image_id"].tolist(), str(folder), cost))
    scores: dict[str, Scores | SingleShot] = {}
    tables = []
    for setting, case in cases.items():
        scores[setting] = evaluate_features(*case.features, *case.labels, setting)
        tables.append(per_query_table(case, scores[setting], test, refined=False))
    setting, case = next(iter(cases.items()))  # "cc" unless the dataset's clothes are unknown
    rankings = [rankings_table(case, test, None)]
    scores[f"{setting}_single_shot"] = single_shot(*case.features, *case.labels, setting)
    if variants is not None:
        refined = refine_case(model, case, test, variants, m, cost)
        found = evaluate_refined(*case.features, refined, *case.labels, setting)
        scores[f"{setting}_refined"] = found
        tables.append(per_query_table(case, found, test, refined=True))
        rankings.append(rankings_table(case, test, refined))
    return scores, pd.concat(tables), pd.concat(rankings)


def refine_case(
    model: torch.nn.Module, case: Comparison, test: pd.DataFrame, variants: Generated, m: int, cost: Cost
) -> Refined:
    """Algorithm 1 for the queries of a setting; variants that were skipped take no part."""
    image_ids = test["image_id"].iloc[case.queries].tolist()
    features, present = variant_features(model, variants, image_ids, case.features[0].shape[1], cost)
    start = time.monotonic()
    query, gallery = case.features
    refined = refine(query, features, gallery, *case.labels, m=m, setting=case.setting, present=present)
    cost.refine_seconds += time.monotonic() - start
    cost.refine_queries += len(query)
    return refined


def variant_features(
    model: torch.nn.Module, variants: Generated, image_ids: list[str], dims: int, cost: Cost
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [Q, l, D] of variants (zeros where skipped), and which exist, bool [Q, l]."""
    missing = sorted(set(image_ids) - set(variants.image_ids))
    if missing:
        raise ValueError(f"{variants.folder}: {len(missing)} queries lack variants, the first is {missing[0]!r}")
    table = variants.table(["image_id", "variant", "skipped"])
    made = table[table["skipped"] == ""]
    exist = set(zip(made["image_id"], made["variant"].astype(int), strict=True))
    present = np.array([[(i, v) in exist for v in range(variants.variants)] for i in image_ids])
    features = np.zeros((*present.shape, dims), dtype=np.float32)
    keys = [(image_ids[row], int(variant)) for row, variant in np.argwhere(present)]
    if keys:
        features[present] = features_of(model, variants, keys, str(variants.folder), cost)
    return features, present


def features_of(model: torch.nn.Module, images: Images | Generated, keys: list, desc: str, cost: Cost) -> np.ndarray:
    """Features float32 [N, D] of the images of `keys` at the size that the model was trained on."""
    start = time.monotonic()
    features = extract_features(model, images, model.size, BATCH, keys=keys, desc=desc)
    cost.feature_seconds += time.monotonic() - start
    cost.feature_images += len(keys)
    return features


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
