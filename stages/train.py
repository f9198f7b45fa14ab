"""Stage train: one Re-ID model for each seed, on real images and, by the run's mode, generated ones (Sec. 3.2.1).

    python -m stages.train NAME            # a run of params.yaml

Reads data/<dataset> and generated/<set>; writes in runs/<NAME>/seed-<s> the files model.safetensors,
config.json, history.csv and DVCLive's curves in live/; for a recipe with ablations in runs/<NAME>/<ablation>/seed-<s>.
"""

from pathlib import Path

import typer

from dlcr.evaluation.validation import load_validation
from dlcr.params import load_params, lookup
from dlcr.reid.train import train_run
from dlcr.runtime import determinism
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Train the run NAME."""
    params = load_params()
    run = lookup(params.runs, "runs", name)
    entry = lookup(params.recipes, "train", run.recipe)
    determinism.set_up()
    seeds = params.seeds if run.seeds is None else run.seeds
    dataset, generated = Path("data", run.dataset), Path("generated", run.generated)
    validate = load_validation(dataset) if entry.select == "validation" else None
    folders = (dataset, generated, seeds, Path("runs", name))
    train_run(name, run, entry.each(run.recipe), *folders, params.quality.minimum(), validate)


if __name__ == "__main__":
    run_stage(app)
