"""Trained runs and folders of pictures that are made in a moment."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from dlcr.reid import ReidModel, build_model
from dlcr.reid.checkpoints import Progress, write_outputs

SIZE = (48, 24)
OWNERS = [0, 0, 1, 1, 2, 2]


def write_run(folder: Path, name: str = "cal-mini", spoil: bool = False) -> ReidModel:
    """Write what stage train leaves of a model with random weights; spoil: one of them is NaN. Returns the model."""
    torch.manual_seed(0)
    model = build_model(name, 3, OWNERS).eval()
    if spoil:
        next(model.body.parameters()).data.view(-1)[0] = torch.nan
    samples = SimpleNamespace(subjects=np.array([0, 1, 2]), owners=OWNERS, present=[])
    recipe, run = SimpleNamespace(model=name, settings={}, size=SIZE), SimpleNamespace(mode="none", own_code=None)
    write_outputs(folder, model, samples, recipe, run, 0, "0" * 64, Progress([{"epoch": 0, "identity": 1.0}]))
    model.size = SIZE
    return model


def write_pictures(folder: Path, names: list[str], seed: int = 0) -> None:
    """Pictures of large blocks in random colours, so that features differ."""
    rng = np.random.default_rng(seed)
    for name in names:
        blocks = rng.integers(0, 256, (6, 3, 3), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks.repeat(10, axis=0).repeat(10, axis=1)).save(folder / name)
