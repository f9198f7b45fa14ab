"""Stage refine-eval: a run's models on a dataset's queries and gallery, with and without prediction refinement.

    python -m stages.refine_eval NAME      # an evaluation of params.yaml

Reads data/<dataset>, runs/<run>/seed-*, generated/<queries> and, where the evaluation names some, faces/<faces>; writes
evaluations/<NAME>/metrics.json (percent), per_query.parquet (every seed) and, of the first seed, rankings.parquet (the
ten best gallery images of each query), votes.parquet (what each variant adds to the subjects' scores, where there are
variants) and features.parquet (of five subjects). Of a run with ablations, the same in evaluations/<NAME>/<ablation>.
With faces the model is wrapped in GEFF, and only the first three are written.
"""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import typer

from dlcr.data import load_manifest, open_generated, open_images
from dlcr.evaluation.runs import Cost, Evaluated, Trial, evaluate_model
from dlcr.evaluation.sides import Faces
from dlcr.evaluation.tables import summary
from dlcr.evaluation.tracklets import Tracklets, compared_tracklets
from dlcr.faces import open_faces
from dlcr.params import Evaluation, Params, load_params, lookup
from dlcr.runtime import determinism, timing
from dlcr.runtime.files import atomic_path, write_json
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
    trial, cost = open_trial(params, evaluation), Cost()
    run = params.runs[evaluation.run]
    for part in params.recipes[run.recipe].ablations or [""]:
        folder = Path("runs", evaluation.run, part)
        found = evaluate_seeds(folder, run.own_code is not None, trial, cost)
        write(Path("evaluations", name, part), found)
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
    return Trial(tracklets, reader, images, variants, faces, params.geff, params.refine.m, evaluation.rerank)


def read_faces(path: Path, tracklets: Tracklets) -> Faces:
    """The faces of all images. ValueError for tracklets."""
    if len(tracklets.rows) < len(tracklets.frames):
        raise ValueError(f"{path}: the dataset has tracklets, and GEFF compares single images only: name no faces")
    return Faces(*open_faces(path, tracklets.frames).of(tracklets.rows["image_id"].tolist()))


def evaluate_seeds(run: Path, own_code: bool, trial: Trial, cost: Cost) -> dict[int, Evaluated]:
    """The models of all seeds of a run; `own_code`: the run names your own file for its model."""
    import torch

    from dlcr.reid import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        seed: evaluate_model(load_model(folder, own_code).to(device), trial, cost, str(folder))
        for seed, folder in seed_folders(run).items()
    }


def seed_folders(run: Path) -> dict[int, Path]:
    """The folders seed-<s> of a run by their seed, ascending. FileNotFoundError if there is none."""
    names = ((re.fullmatch(r"seed-(-?\d+)", path.name), path) for path in run.glob("seed-*"))
    found = {int(match[1]): path for match, path in names if match}
    if not found:
        raise FileNotFoundError(f"{run}: holds no folder seed-<s>; run `python -m stages.train {run.name}` first")
    return dict(sorted(found.items()))


def write(folder: Path, found: dict[int, Evaluated]) -> None:
    """The stage's files; the metrics last, so that they never stand beside older tables."""
    queries = pd.concat([one.per_query.assign(seed=np.int64(seed)) for seed, one in found.items()])
    columns = ["seed", "setting", "kind", "image_id", "subject", "hit", "ap"]
    for name, table in ({"per_query": queries[columns]} | next(iter(found.values())).tables).items():
        with atomic_path(folder / f"{name}.parquet") as part:
            table.to_parquet(part, index=False)
    write_json(folder / "metrics.json", summary({seed: one.scores for seed, one in found.items()}))


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
