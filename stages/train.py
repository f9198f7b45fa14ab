"""Stage train: one Re-ID model a seed, on real images and, by the run's mode, generated ones (Sec. 3.2.1).

    python -m stages.train NAME            # a run of params.yaml

Reads data/<dataset> and generated/<set>; writes in runs/<NAME>/seed-<s> the files model.safetensors,
config.json, history.csv and DVCLive's curves in live/; for a recipe with ablations in runs/<NAME>/<ablation>/seed-<s>.
"""

from dataclasses import replace
from pathlib import Path

import typer

from dlcr.evaluation.validation import load_validation
from dlcr.params import load_params, lookup
from dlcr.reid.train import Recipe, train_ablations, train_run
from dlcr.runtime import determinism
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Train the run NAME."""
    params = load_params()
    run = lookup(params.runs, "runs", name)
    entry = lookup(params.train, "train", run.model)
    recipe = Recipe(
        model=entry.model or run.model,
        size=entry.size,
        epochs=entry.epochs,
        learning_rate=entry.learning_rate,
        weight_decay=entry.weight_decay,
        warmup=entry.warmup,
        milestones=tuple(entry.milestones),
        identities=entry.identities,
        images=entry.images,
        accumulate=entry.accumulate,
        clip=entry.clip,
        mode=run.mode,
        k=run.k,
        progressive_every=entry.progressive_every,
        precision=entry.precision,
        settings=entry.settings,
        code=run.own_code,
    )
    determinism.set_up()
    seeds = params.seeds if run.seeds is None else run.seeds
    dataset, generated = Path("data", run.dataset), Path("generated", run.generated)
    validate = load_validation(dataset) if entry.select == "validation" else None
    work = (dataset, generated, seeds, Path("runs", name), params.quality.minimum(), validate)
    if entry.ablations:
        recipes = {key: replace(recipe, settings=entry.settings | other) for key, other in entry.ablations.items()}
        train_ablations(name, recipes, *work)
    else:
        train_run(name, recipe, *work)


if __name__ == "__main__":
    run_stage(app)
