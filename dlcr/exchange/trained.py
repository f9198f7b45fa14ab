"""Trained models by their names: runs of this repository and exported folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dlcr.params import load_params

if TYPE_CHECKING:
    from dlcr.reid import ReidModel

RUNS = Path("runs")


def find_run(name: str) -> Path:
    """The folder of a trained model: NAME, NAME/seed-S or NAME/ABLATION/seed-S of runs/, with or without `runs/`, or
    any folder with config.json and model.safetensors. Without a seed it is the first one that is there.

    Raises FileNotFoundError, which lists the runs that are there.
    """
    for place in (Path(name), RUNS / name):
        for folder in (place, *_seeds(place)):
            if all((folder / file).is_file() for file in ("config.json", "model.safetensors")):
                return folder
    there = sorted({path.parent.parent.relative_to(RUNS).as_posix() for path in RUNS.glob("**/seed-*/config.json")})
    known = f"{RUNS}/ holds {', '.join(there)}" if there else f"{RUNS}/ holds none"
    raise FileNotFoundError(f"RUN {name}: no trained model; {known}, and a folder that was exported will do")


def open_model(name: str) -> tuple[Path, ReidModel]:
    """The folder of a trained model and the model, on the GPU if there is one.

    The model's own code is run only where params.yaml names it for this run. Raises what `find_run` and
    `dlcr.reid.load_model` raise.
    """
    from dlcr.reid import load_model  # with torch and transformers: seconds
    from dlcr.runtime.networks import device

    folder = find_run(name)
    return folder, load_model(folder, names_code(folder)).to(device())


def open_image_model(name: str) -> tuple[Path, ReidModel]:
    """`open_model` for pictures. Raises ValueError for a model of clips."""
    folder, model = open_model(name)
    if model.frames > 1:
        raise ValueError(f"{folder}: a model of clips, {model.frames} frames each; single pictures need another")
    return folder, model


def run_of(folder: Path) -> str:
    """The run that a folder below runs/ belongs to, as RUN or RUN/ABLATION; "" for a folder elsewhere."""
    place, runs = folder.resolve(), RUNS.resolve()
    return place.parent.relative_to(runs).as_posix() if place.is_relative_to(runs) else ""


def names_code(folder: Path) -> bool:
    """Whether params.yaml names a file of your own as the code of the run in a folder."""
    name = run_of(folder).partition("/")[0]
    if not name or not Path("params.yaml").is_file():
        return False
    run = load_params().runs.get(name)
    return run is not None and run.own_code is not None


def _seeds(place: Path) -> list[Path]:
    """The folders seed-S of a run, ascending."""
    found = [path for path in place.glob("seed-*") if re.fullmatch(r"seed--?\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("seed-")))
