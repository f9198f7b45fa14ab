"""Every evaluation in every setting that it has: evaluation, setting, seeds, mean and standard deviation (percent)."""

import pandas as pd

from dlcr.evaluation.runs import KINDS
from dlcr.reporting.cells import score, setting_name
from dlcr.reporting.measured import means
from dlcr.reporting.parts import Mark, Table
from dlcr.reporting.tables.specs import Results, Sources, Spec

SETTINGS = tuple(main + end for main in ("cc", "sc", "general") for end in (*KINDS.values(), "_single_shot"))
SCORES = ("top1", "top1_std", "map", "map_std")


def make(spec: Spec, sources: Sources) -> Table:
    numbers = numbers_of(sources.results)
    return spec.table(numbers, view(numbers, sources.mark), spec.notes)


def numbers_of(results: Results) -> pd.DataFrame:
    rows = []
    for name, result in results.items():
        for setting in SETTINGS if result else ():
            if setting in result.metrics["mean"]:
                rows.append({"evaluation": name, "setting": setting} | means(result, setting))
    return pd.DataFrame(rows, columns=["evaluation", "setting", "seeds", *SCORES])


def view(numbers: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Evaluation": row["evaluation"],
                "Setting": setting_name(row["setting"]),
                "Seeds": str(row["seeds"]),
                "Top-1": score(row, "top1", mark),
                "mAP": score(row, "map", mark),
            }
            for row in numbers.to_dict("records")
        ],
        columns=["Evaluation", "Setting", "Seeds", "Top-1", "mAP"],
    )


SPEC = Spec(
    name="settings",
    place=150,
    title="Every evaluation in every setting",
    make=make,
    group="Everything",
    metrics=("evaluation", "setting"),
    scores=SCORES,
    notes=["Top-1 and mAP in percent; ± is the standard deviation over training seeds."],
)
