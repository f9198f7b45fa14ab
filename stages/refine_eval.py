"""Stage refine-eval: a run's models on a dataset's queries and gallery, with and without prediction
refinement.

    python -m stages.refine_eval NAME      # an evaluation of params.yaml

Reads data/<dataset>, runs/<run>/seed-*, generated/<queries> and, where the evaluation names some, faces/<faces>; writes
evaluations/<NAME>/metrics.json (percent), per_query.parquet (every seed) and, of the first seed, rankings.parquet (the
ten best gallery images of each query), votes.parquet (what each variant adds to the subjects' scores, where there are
variants) and features.parquet (of five subjects). Of a run with ablations, the same in evaluations/<NAME>/<ablation>.
With faces the model is wrapped in GEFF, and only the first three are written.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import typer

from dlcr.data import Generated, Images, find_reader, load_manifest, open_generated, open_images
from dlcr.evaluation import (
    TEST_SPLITS,
    Faces,
    Scores,
    SingleShot,
    count_votes,
    evaluate,
    evaluate_features,
    evaluate_refined,
    evaluate_refined_similarity,
    extract_features,
    extract_tracklet_features,
    find_voters,
    geff_similarity,
    refine_geff,
    rerank,
    single_shot,
    tracklet_features,
    tracklet_of,
)
from dlcr.evaluation.runs import (
    KINDS,
    Comparison,
    comparisons,
    features_table,
    per_query_table,
    rankings_table,
    similarity_rankings,
    summary,
    votes_table,
)
from dlcr.faces import open_faces
from dlcr.params import Evaluation, Geff, Params, load_params, lookup
from dlcr.reid import load_model
from dlcr.runtime import determinism, timing
from dlcr.runtime.files import atomic_path, write_json
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)
Details = Callable[[], dict[str, pd.DataFrame]]
"""Makes the tables that only the first setting of the first seed is asked for, by their files' names."""
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


@dataclass(frozen=True)
class Inputs:
    """What every seed of an evaluation is tried on, and how: `faces` None without GEFF, `variants` None without
    refinement, `own_code` if the run names a file of one's own for its model."""

    test: Test
    images: Images
    variants: Generated | None
    faces: Faces | None
    geff: Geff
    m: int
    rerank: bool
    own_code: bool


@app.command()
def main(name: str) -> None:
    """Evaluate NAME: every seed of its run, on its dataset, refined where it names a set of query
    variants."""
    start = time.monotonic()
    params = load_params()
    evaluation = lookup(params.evaluations, "evaluations", name)
    determinism.set_up()
    inputs, cost = read_inputs(params, evaluation), Cost()
    ablations = params.train[params.runs[evaluation.run].model].ablations
    for part in ablations or [""]:
        evaluate_run(Path("runs", evaluation.run, part), Path("evaluations", name, part), inputs, cost)
    record(name, cost, time.monotonic() - start)


def evaluate_run(run: Path, output: Path, inputs: "Inputs", cost: Cost) -> None:
    """Evaluate the model of every seed of a run and write the output's files."""
    scores, queries, first = {}, [], {}
    for seed, folder in seed_folders(run).items():
        scores[seed], table, found = evaluate_seed(folder, inputs, cost)
        queries.append(table.assign(seed=np.int64(seed)))
        first = first or found
    write(output, summary(scores), {"per_query": pd.concat(queries)} | first)


def read_test(dataset: str, reader: str) -> Test:
    """The queries and the gallery of a packed dataset."""
    manifest = load_manifest(Path("data", dataset))
    frames = manifest[manifest["split"].isin(TEST_SPLITS)].reset_index(drop=True)
    tracklet = tracklet_of(frames)
    order = np.lexsort((frames["frame"], tracklet))  # clips are made of frames in their order
    frames, tracklet = frames.iloc[order].reset_index(drop=True), tracklet[order]
    first = np.unique(tracklet, return_index=True)[1]
    return Test(reader, frames.iloc[first].reset_index(drop=True), frames, tracklet)


def seed_folders(run: Path) -> dict[int, Path]:
    """The folders seed-<s> of a run by their seed, ascending. FileNotFoundError if there is none."""
    names = ((re.fullmatch(r"seed-(-?\d+)", path.name), path) for path in run.glob("seed-*"))
    found = {int(match[1]): path for match, path in names if match}
    if not found:
        raise FileNotFoundError(f"{run}: holds no folder seed-<s>; run `python -m stages.train {run.name}` first")
    return dict(sorted(found.items()))


def read_inputs(params: Params, evaluation: Evaluation) -> Inputs:
    """The data of an evaluation. ValueError for GEFF on tracklets, which does not exist."""
    dataset = evaluation.dataset
    test = read_test(dataset, params.datasets[dataset].reader)
    variants = faces = None
    if evaluation.queries != "none":
        variants = open_generated(Path("generated", evaluation.queries), params.quality.minimum())
    if evaluation.faces != "none":
        if len(test.rows) < len(test.frames):
            raise ValueError(
                f"{dataset} has tracklets: GEFF compares single images only, so its evaluations name no faces"
            )
        found = open_faces(Path("faces", evaluation.faces, "faces.parquet"), test.frames)
        faces = Faces(*found.of(test.rows["image_id"].tolist()))
    return Inputs(
        test,
        open_images(Path("data", dataset, "images")),
        variants,
        faces,
        params.geff,
        params.refine.m,
        evaluation.rerank,
        params.runs[evaluation.run].own_code is not None,
    )


def evaluate_seed(
    folder: Path, inputs: Inputs, cost: Cost
) -> tuple[dict[str, Scores | SingleShot], pd.DataFrame, dict[str, pd.DataFrame]]:
    """Of one trained model: scores by setting and kind, the table of all queries, and what `Details` gives for the
    first setting."""
    test = inputs.test
    model = load_model(folder, inputs.own_code).to("cuda" if torch.cuda.is_available() else "cpu")
    features = features_of(model, inputs.images, test.frames["image_id"].tolist(), test.tracklet, str(folder), cost)
    cases = comparisons(test.rows, features, test.reader)
    made = present = None
    # refinement is for queries in other clothes: those in the same ones have no variants
    queries = np.flatnonzero(test.rows["split"] == "query")
    if inputs.variants is not None:
        made, present = variant_features(model, inputs.variants, test, queries, features.shape[1], cost)
    scores: dict[str, Scores | SingleShot] = {}
    tables, shown = [], {}
    for setting, case in cases.items():
        variants = None
        if made is not None and np.isin(case.queries, queries).all():
            rows = np.searchsorted(queries, case.queries)
            variants = made[rows], present[rows]
        first = not scores  # "cc" unless the dataset's clothes are unknown
        score = plain_scores if inputs.faces is None else face_scores
        found, details = score(case, variants, inputs, cost)
        if inputs.rerank and first:
            found["reranked"] = evaluate(rerank(*case.features), *case.labels, case.junk)
        for kind, result in found.items():
            scores[setting + KINDS[kind]] = result
            tables.append(per_query_table(case, result, test.rows, kind))
        if first:
            shown = details()
            if inputs.faces is None and find_reader(test.reader).single_shot:
                scores[f"{setting}_single_shot"] = single_shot(*case.features, *case.labels, case.junk)
    return scores, pd.concat(tables), shown


def plain_scores(
    case: Comparison, variants: tuple[np.ndarray, np.ndarray] | None, inputs: Inputs, cost: Cost
) -> tuple[dict[str, Scores], Details]:
    """Scores by kind of the model alone; `variants` and which exist, or None."""
    found = {"plain": evaluate_features(*case.features, *case.labels, case.junk)}
    test, seed = inputs.test.rows, seed_of("embedding", inputs.test.reader)
    if variants is None:
        return found, lambda: {
            "rankings": rankings_table(case, test, None),
            "features": features_table(case, test, seed),
        }
    query, gallery = case.features
    start = time.monotonic()
    voters = find_voters(query, variants[0], gallery, *case.labels, inputs.m, case.junk, variants[1])
    refined = count_votes(voters, case.labels[1])
    cost.refine_seconds += time.monotonic() - start
    cost.refine_queries += len(query)
    found["refined"] = evaluate_refined(*case.features, refined, *case.labels, case.junk)
    return found, lambda: {
        "rankings": pd.concat([rankings_table(case, test, None), rankings_table(case, test, refined)]),
        "votes": votes_table(case, test, voters, refined),
        "features": features_table(case, test, seed),
    }


def face_scores(
    case: Comparison, variants: tuple[np.ndarray, np.ndarray] | None, inputs: Inputs, cost: Cost
) -> tuple[dict[str, Scores], Details]:
    """Scores by kind of the model within GEFF."""

    def details() -> dict[str, pd.DataFrame]:
        return {"rankings": similarity_rankings(case, inputs.test.rows, similarity)}

    if variants is None:
        similarity = geff_similarity(*case.features, *faces_of(case, inputs), *case.labels, case.junk, inputs.geff)
        return {"plain": evaluate(similarity, *case.labels, case.junk)}, details
    query, gallery = case.features
    start = time.monotonic()
    similarity, refined = refine_geff(
        query,
        variants[0],
        gallery,
        *faces_of(case, inputs),
        *case.labels,
        inputs.m,
        case.junk,
        variants[1],
        inputs.geff,
    )
    cost.refine_seconds += time.monotonic() - start
    cost.refine_queries += len(query)
    found = {
        "plain": evaluate(similarity, *case.labels, case.junk),
        "refined": evaluate_refined_similarity(similarity, refined, *case.labels, case.junk),
    }
    return found, details


def faces_of(case: Comparison, inputs: Inputs) -> tuple[Faces, Faces]:
    """The faces of the queries and of the gallery of a setting."""
    scores, embeddings = inputs.faces.scores, inputs.faces.embeddings
    return tuple(Faces(scores[rows], embeddings[rows]) for rows in (case.queries, case.gallery))


def variant_features(
    model: torch.nn.Module, variants: Generated, test: Test, queries: np.ndarray, dims: int, cost: Cost
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [Q, l, D] of the variants of some rows of the test, and which exist, bool [Q, l].

    A tracklet's are made of those of its frames that have the variant (`features_of`). Zeros where all were skipped.
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
    """Features float32 [T, D] of tracklets whose frames are `keys`, at the model's image size.

    A model of clips sees clips of them; of a model of images they are the means of the frames' features.
    """
    start = time.monotonic()
    order = np.argsort(tracklet, kind="stable")
    counts = np.bincount(tracklet)
    ends = np.cumsum(counts)
    cost.feature_images += len(keys)
    if model.frames > 1:
        frames = [[keys[i] for i in own] for own in np.split(order, ends[:-1])]
        found = extract_tracklet_features(model, images, frames, model.size, BATCH, desc=desc)
        cost.feature_seconds += time.monotonic() - start
        return found
    borders = [] if len(counts) == len(keys) else np.flatnonzero(np.diff(ends // FRAMES)) + 1
    parts = []
    for part in np.split(np.arange(len(counts)), borders):
        own = order[ends[part[0]] - counts[part[0]] : ends[part[-1]]]
        found = extract_features(model, images, model.size, BATCH, keys=[keys[i] for i in own], desc=desc)
        parts.append(tracklet_features(found, tracklet[own] - part[0]))
    cost.feature_seconds += time.monotonic() - start
    return np.concatenate(parts)


def write(folder: Path, metrics: dict, tables: dict[str, pd.DataFrame]) -> None:
    """The stage's files; the metrics last, so that they never stand beside older tables."""
    columns = ["seed", "setting", "kind", "image_id", "subject", "hit", "ap"]
    for name, table in (tables | {"per_query": tables["per_query"][columns]}).items():
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
