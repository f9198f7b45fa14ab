"""Stage refine-eval: a run's models on a dataset's queries and gallery, with and without prediction refinement.

    python -m stages.refine_eval NAME      # an evaluation of params.yaml

Reads data/<dataset>, runs/<run>/seed-*, generated/<queries> and, where the evaluation names some, faces/<faces>. Writes
evaluations/<NAME>.json, the headline for `dvc metrics`, and in evaluations/<NAME> scores.json (every seed, percent),
per_query.parquet (every seed), history.csv (the run's losses by epoch, means over the seeds) and, of the first seed,
rankings.parquet (the ten best gallery images of each query), votes.parquet (who votes in refinement, where there are
variants) and features.parquet (of five subjects, if asked for). Of a run with ablations, the same in
evaluations/<NAME>/<ablation>. With faces the model is wrapped in GEFF, without votes and features. Git holds all of
this, but for private evaluations, which are in evaluations/private.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from dlcr.data import load_manifest, open_generated, open_images
from dlcr.evaluation.runs import Cost, Evaluated, Trial, evaluate_model
from dlcr.evaluation.sides import Faces
from dlcr.evaluation.tables import headline, mean_history, summary
from dlcr.evaluation.tracklets import Tracklets, compared_tracklets
from dlcr.faces import open_faces
from dlcr.params import Evaluation, Params, evaluation_folder, load_params, lookup
from dlcr.runtime import determinism, timing
from dlcr.runtime.files import atomic_path, write_json
from dlcr.runtime.jobs import run_jobs
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Evaluate NAME: every seed of its run, on its dataset, refined where it names a set of query
    variants."""
    start = time.monotonic()
    params = load_params()
    evaluation = lookup(params.evaluations, "evaluations", name)
    determinism.set_up()
    run, folder, cost = params.runs[evaluation.run], evaluation_folder(params, name), Cost()
    headlines, written = {}, set()
    for part in params.recipes[run.recipe].ablations or [""]:
        models = seed_folders(Path("runs", evaluation.run, part))
        found = evaluate_seeds(name, models, cost)
        headlines[part] = write(folder / part, found, mean_history(models.values()), written)
    write_json(folder.with_name(f"{name}.json"), headlines.get("", headlines))
    for path in folder.rglob("*"):  # of an earlier evaluation: DVC leaves it there
        if path.is_file() and path not in written:
            path.unlink()
    record(name, cost, time.monotonic() - start)


def open_trial(params: Params, evaluation: Evaluation) -> Trial:
    """The data of an evaluation, and how it is done."""
    folder, reader = Path("data", evaluation.dataset), params.datasets[evaluation.dataset].reader
    tracklets = compared_tracklets(load_manifest(folder))
    variants = faces = None
    if evaluation.queries != "none":
        variants = open_generated(Path("generated", evaluation.queries), params.quality.minimum())
    if evaluation.faces != "none":
        faces = read_faces(Path("faces", evaluation.faces, "faces.parquet"), tracklets)
    images = open_images(folder / "images")
    asked = (evaluation.rerank, evaluation.features)
    return Trial(tracklets, reader, images, variants, faces, params.geff, params.refine.m, *asked)


def read_faces(path: Path, tracklets: Tracklets) -> Faces:
    """The faces of all images. ValueError for tracklets."""
    if len(tracklets.rows) < len(tracklets.frames):
        raise ValueError(f"{path}: the dataset has tracklets, and GEFF compares single images only: name no faces")
    return Faces(*open_faces(path, tracklets.frames).of(tracklets.rows["image_id"].tolist()))


def evaluate_seeds(name: str, models: dict[int, Path], cost: Cost) -> dict[int, Evaluated]:
    """What the models, by their seed, are worth in the evaluation NAME; several side by side where there are cores."""
    workers = determinism.worker_count(len(models))
    jobs = [(name, folder, number % workers == 0) for number, folder in enumerate(models.values())]
    found = run_jobs(evaluate_seed, jobs, workers, lambda message: None)
    for _, one in found:
        for total, part in ((cost.features, one.features), (cost.refinement, one.refinement)):
            total.items, total.seconds = total.items + part.items, total.seconds + part.seconds / workers
    return {seed: evaluated for seed, (evaluated, _) in zip(models, found, strict=True)}


def evaluate_seed(name: str, folder: Path, shown: bool, send: Callable[[object], None]) -> tuple[Evaluated, Cost]:
    """What the model in a folder is worth in the evaluation NAME, and what that took. shown: with a progress bar, which
    of several models side by side only one has."""
    import torch

    from dlcr.reid import load_model

    determinism.set_up()
    params, cost = load_params(), Cost()
    evaluation = lookup(params.evaluations, "evaluations", name)
    model = load_model(folder, params.runs[evaluation.run].own_code is not None)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trial = open_trial(params, evaluation)
    return evaluate_model(model.to(device), trial, cost, str(folder) if shown else None), cost


def seed_folders(run: Path) -> dict[int, Path]:
    """The folders seed-<s> of a run by their seed, ascending. FileNotFoundError if there is none."""
    names = ((re.fullmatch(r"seed-(-?\d+)", path.name), path) for path in run.glob("seed-*"))
    found = {int(match[1]): path for match, path in names if match}
    if not found:
        raise FileNotFoundError(f"{run}: holds no folder seed-<s>; run `python -m stages.train {run.name}` first")
    return dict(sorted(found.items()))


def write(folder: Path, found: dict[int, Evaluated], history: pd.DataFrame, written: set[Path]) -> dict:
    """The stage's files, the scores last, so that they never stand beside older tables. Returns the headline, and adds
    the files' paths to `written`."""
    queries = pd.concat([one.per_query.assign(seed=np.int32(seed)) for seed, one in found.items()])
    columns = ["seed", "setting", "kind", "image_id", "subject", "rank", "ap"]
    tables = {"per_query": queries[columns]} | next(iter(found.values())).tables
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)
    with atomic_path(folder / "history.csv") as part:
        history.to_csv(part, index=False, float_format="%.6g")
    scores = summary({seed: one.scores for seed, one in found.items()})
    write_json(folder / "scores.json", scores)
    written |= {folder / name for name in ("scores.json", "history.csv", *(f"{name}.parquet" for name in tables))}
    return headline(scores)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A table as Parquet, as small as may be: Git keeps every version of it."""
    bare = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    with atomic_path(path) as part:
        pq.write_table(bare, part, compression="zstd", compression_level=19, store_schema=False)


def record(name: str, cost: Cost, seconds: float) -> None:
    """Keep the time and memory of the stage (images: those with features) and of Algorithm 1 (queries)."""
    timing.record(
        "refine-eval",
        name,
        seconds=seconds,
        images=cost.features.items,
        images_per_second=cost.features.items / cost.features.seconds,
        peak_memory_mb=timing.peak_memory_mb(),
    )
    if cost.refinement.items:
        timing.record_images("refine", name, cost.refinement.seconds, cost.refinement.items)


if __name__ == "__main__":
    run_stage(app)
