"""The trained model behind an evaluation, for figures that look into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlcr.params import Params

if TYPE_CHECKING:
    from dlcr.reid import ReidModel


def load_first(root: Path, params: Params, evaluation: str | None) -> ReidModel | None:
    """The first seed's model of an evaluation (NAME or NAME/ABLATION), on the CPU in eval mode; None if there is none,
    or if it takes clips: the figures show images. Raises as `dlcr.reid.load_model`."""
    if evaluation is None:
        return None
    name = params.evaluation(evaluation).run
    run, ablation = params.runs[name], evaluation.partition("/")[2]
    seed = min(run.seeds or params.seeds)  # as the evaluation stage, for what it keeps of one seed
    folder = root / "runs" / name / ablation / f"seed-{seed}"
    if not (folder / "config.json").is_file():
        return None
    from dlcr.reid import load_model

    model = load_model(folder, run.own_code is not None)
    return model if model.frames == 1 else None
