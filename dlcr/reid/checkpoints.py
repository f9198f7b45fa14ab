"""Files of a training run: the checkpoint it resumes from, what it leaves behind, and loading that again."""

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from dlcr.reid.models import ReidModel, build_model, load_code
from dlcr.runtime.files import atomic_path, write_json, write_text

if TYPE_CHECKING:
    from dlcr.params import Recipe, Run
    from dlcr.reid.samples import Samples


@dataclass
class Progress:
    """How far a training has come.

    history: a row for each whole epoch. steps, losses: of the epoch that was begun. best, best_epoch, best_weights: the
    highest validation score, None without validation.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    losses: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int | None = None
    best_weights: dict[str, torch.Tensor] | None = None

    def end_epoch(self, row: dict[str, float]) -> None:
        """Add the row of the epoch that was begun; the next one is at its start."""
        self.history.append(row)
        self.steps, self.losses = 0, []

    def keep_best(self, score: float, epoch: int, model: ReidModel) -> None:
        """Keep the weights of the epoch if none before it had such a score."""
        if self.best is None or score > self.best:
            self.best, self.best_epoch = score, epoch
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def save_checkpoint(path: Path, model: ReidModel, optimizers: dict[str, Optimizer], progress: Progress) -> None:
    """Write the state after a step of the optimizers."""
    with atomic_path(path) as part:
        states = {group: optimizer.state_dict() for group, optimizer in optimizers.items()}
        torch.save({"model": model.state_dict(), "optimizers": states, "progress": vars(progress)}, part)


def load_checkpoint(path: Path, model: ReidModel, optimizers: dict[str, Optimizer]) -> Progress:
    """Restore model and optimizers in place and return how far they had come; nowhere when there is no checkpoint.

    Raises ValueError naming the file when it is damaged or of another model.
    """
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for group, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][group])
        return Progress(**state["progress"])
    except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{path}: damaged checkpoint, or that of another model ({reason}); delete it to train this seed again"
        ) from error


def write_outputs(
    folder: Path,
    model: ReidModel,
    samples: "Samples",
    recipe: "Recipe",
    run: "Run",
    seed: int,
    inputs: str,
    progress: Progress,
) -> None:
    """Write model.safetensors, config.json, history.csv, and model.py if the model is your own: no times in them, the
    same bytes each time. inputs: what settings and data are known by; the code that uses them, DVC knows."""
    weights = progress.best_weights or model.state_dict()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_path(folder / "model.safetensors") as part:
        save_file(weights, part)
    last = len(progress.history) - 1
    write_json(
        folder / "config.json",
        {
            "model": recipe.model,
            "subjects": int(samples.subjects.max()) + 1,
            "clothes": samples.owners,
            "settings": recipe.settings,
            "size": list(recipe.size),
            "seed": seed,
            "inputs": inputs,
            "mode": run.mode,
            "variants": len(samples.present),
            "epoch": last if progress.best_epoch is None else progress.best_epoch,
            "selected": "last" if progress.best_epoch is None else "validation",
        },
    )
    write_text(folder / "history.csv", pd.DataFrame(progress.history).to_csv(index=False, float_format="%.6g"))
    if run.own_code is not None:
        write_text(folder / "model.py", Path(run.own_code).read_text(encoding="utf-8"))


def load_model(folder: str | Path, run_code: bool = False) -> ReidModel:
    """The trained model of runs/<run>/seed-<s>, on the CPU, in eval mode, with its image `size` (height, width).

    run_code: run the folder's model.py first, the copy of your own model that the run keeps. Only for a run that
    names its own file as `code`, and whose maker you trust; else no file of the folder is run, whatever lies there.

    Raises FileNotFoundError naming a missing file, ValueError naming one that is damaged or of another model, or your
    own model without `run_code`.
    """
    folder = Path(folder)
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a folder that `stages.train` wrote")
    own = folder / "model.py"
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        if run_code:
            load_code(str(own))
        # where training started from does not matter any more
        settings = {**config["settings"], **({"weights": None} if "weights" in config["settings"] else {})}
        model = build_model(config["model"], config["subjects"], config["clothes"], **settings)
        model.size = tuple(config["size"])
    except (KeyError, TypeError, ValueError) as error:
        hint = "" if run_code or not own.is_file() else f" ({own} is run only for a run whose `code` names a file)"
        raise ValueError(f"{config_path}: not the description of a trained model: {error}{hint}") from error
    try:
        model.load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{weights_path}: not the weights of a {config['model']!r} model: {reason}") from error
    return model.eval()
