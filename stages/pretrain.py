"""Stage pretrain: trains the mini models that come with the repository, on MiniCC's pretraining stream only.

    python -m stages.pretrain          # all of them
    python -m stages.pretrain NAME     # backbone | parser | faces | describer | instructblip | summarizer | inpainter |
                                       # adapter

The stage is frozen in dvc.yaml: run it by hand, then `dvc commit pretrain`. Scores go to models/mini/NAME/scores.json.
"""

import importlib
import time
from pathlib import Path
from typing import Annotated

import typer

from dlcr.runtime import determinism, timing
from dlcr.runtime.files import write_json
from dlcr.runtime.stage import run_stage

MODULES = {
    "backbone": "dlcr.pretrain.backbone",
    "parser": "dlcr.pretrain.parser",
    "faces": "dlcr.pretrain.faces",
    "describer": "dlcr.pretrain.describer",
    "instructblip": "dlcr.pretrain.instructblip",
    "summarizer": "dlcr.pretrain.summarizer",
    "inpainter": "dlcr.pretrain.diffusion",
    "adapter": "dlcr.pretrain.adapter",
}

app = typer.Typer(add_completion=False)


@app.command()
def main(name: Annotated[str | None, typer.Argument()] = None) -> None:
    """Train the mini model NAME, or all in the order in which they need each other."""
    if name is not None and name not in MODULES:
        raise ValueError(f"no mini model {name!r}; there are {', '.join(MODULES)}")
    determinism.set_up()
    for model in MODULES if name is None else [name]:
        train(model)


def train(name: str) -> None:
    """Train one mini model and keep its scores."""
    folder = Path("models", "mini", name)
    start = time.monotonic()
    scores = importlib.import_module(MODULES[name]).pretrain(folder, {})
    write_json(folder / "scores.json", scores)
    timing.record("pretrain", name, seconds=time.monotonic() - start, peak_memory_mb=timing.peak_memory_mb())
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in scores.items()))


if __name__ == "__main__":
    run_stage(app)
