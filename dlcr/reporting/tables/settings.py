"""Every evaluation in every setting that it has: evaluation, setting, seeds, mean and standard deviation (percent)."""

import pandas as pd

from dlcr.evaluation.runs import KINDS
from dlcr.reporting.cells import score, setting_name
from dlcr.reporting.measured import means
from dlcr.reporting.parts import Mark
from dlcr.reporting.tables.specs import Sources, Spec

SETTINGS = tuple(main + end for main in ("cc", "sc", "general") for end in (*KINDS.values(), "_single_shot"))
SCORES = ("top1", "top1_std", "map", "map_std")
HEADINGS = ("Evaluation", "Setting", "Seeds", "Top-1", "mAP")


def numbers(sources: Sources) -> pd.DataFrame:
    rows = [
        {"evaluation": name, "setting": setting} | means(result, setting)
        for name, result in sources.results.items()
        for setting in SETTINGS
        if result and setting in result.scores["mean"]
    ]
    return pd.DataFrame(rows, columns=["evaluation", "setting", "seeds", *SCORES])


def view(row: dict, mark: Mark) -> dict:
    shown = (row["evaluation"], setting_name(row["setting"]), str(row["seeds"]))
    return dict(zip(HEADINGS, (*shown, score(row, "top1", mark), score(row, "map", mark)), strict=True))


SPEC = Spec(
    name="settings",
    place=150,
    title="Every evaluation in every setting",
    numbers=numbers,
    view=view,
    shown=HEADINGS,
    group="Everything",
    notes=["Top-1 and mAP in percent; ± is the standard deviation over training seeds."],
)
