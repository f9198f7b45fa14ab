"""Files of a training run: the checkpoint it resumes from, what it leaves behind, and loading that again."""

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from dlcr.reid.models import ReidModel, build_model
from dlcr.runtime.files import atomic_path, write_json, write_text

if TYPE_CHECKING:
    from dlcr.reid.samples import Samples
    from dlcr.reid.train import Recipe


def save_checkpoint(
    path: Path, model: ReidModel, optimizers: dict[str, Optimizer], history: list[dict[str, float]]
) -> None:
    """Write the state after a whole epoch; `history` has one row for each epoch so far."""
    with atomic_path(path) as part:
        states = {group: optimizer.state_dict() for group, optimizer in optimizers.items()}
        torch.save({"model": model.state_dict(), "optimizers": states, "history": history}, part)


def load_checkpoint(path: Path, model: ReidModel, optimizers: dict[str, Optimizer]) -> list[dict[str, float]]:
    """Restore model and optimizers in place and return the history; [] when there is no checkpoint.

    Raises ValueError naming the file when it is damaged.
    """
    if not path.exists():
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: damaged checkpoint; delete it to train this seed again") from error
    model.load_state_dict(state["model"])
    for group, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][group])
    return state["history"]


def write_outputs(
    folder: Path, model: ReidModel, samples: "Samples", recipe: "Recipe", seed: int, history: pd.DataFrame
) -> None:
    """Write model.safetensors, config.json and history.csv: no times in them, the same bytes each time."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as part:
        save_file(weights, part)
    write_json(
        folder / "config.json",
        {
            "model": recipe.model,
            "subjects": int(samples.subjects.max()) + 1,
            "clothes": samples.owners,
            "settings": recipe.settings,
            "size": list(recipe.size),
            "seed": seed,
            "mode": recipe.mode,
            "variants": len(samples.present),
        },
    )
    write_text(folder / "history.csv", history.to_csv(index=False, float_format="%.6g"))


def load_model(folder: str | Path) -> ReidModel:
    """The trained model of runs/<run>/seed-<s>, on the CPU, in eval mode, with its image `size` (height,
    width).

    Raises FileNotFoundError naming a missing file, ValueError naming one that is damaged or of another model.
    """
    folder = Path(folder)
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a folder that `stages.train` wrote")
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        # where training started from does not matter any more
        settings = {**config["settings"], **({"weights": None} if "weights" in config["settings"] else {})}
        model = build_model(config["model"], config["subjects"], config["clothes"], **settings)
        model.size = tuple(config["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{config_path}: not the description of a trained model: {error}") from error
    try:
        model.load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{weights_path}: not the weights of a {config['model']!r} model: {reason}") from error
    return model.eval()
