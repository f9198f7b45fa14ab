"""CCFA's three ablations (its slides) with all their rows: `group`, `row`, its key, and `what` it is.

The slides repeat phase I and the whole model in several groups: so do the lines. Differences are to phase I, which
augments nothing. The slides give top-1 alone; `paper_sc_top1`, `sc_top1` and `sc_top1_std` are those in the setting of
same clothes. The row CAL stands in the slides' main table alone.
"""

import numpy as np
import pandas as pd

from dlcr.params import Params
from dlcr.reporting.cells import paper_number, row_compared, score
from dlcr.reporting.measured import means
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Mark
from dlcr.reporting.results import Result
from dlcr.reporting.tables.specs import Line, Sources, Spec, compared

ROWS = {
    "augmentation generation": {
        "phase-1": "baseline without augmentation",
        "normal": "samples of N(0, Sigma_c)",
        "all": "learned generator",
    },
    "augmentation strategy": {"phase-1": "baseline", "uncorrelated": "id-uncorrelated", "all": "id-correlated"},
    "generator losses": {
        "no-cciu": "without L_cciu",
        "clo-only": "L_cciu with the D_clo term only",
        "id-only": "L_cciu with the D_id term only",
        "no-sta": "without L_sta",
        "no-adv-g": "without L_adv^G",
        "no-adv-d": "without L_adv^D",
        "no-adv": "without L_adv^G and L_adv^D",
        "all": "all",
    },
}
"""By group the rows' keys in params.yaml, and how the slides' tables name them."""
SAME_CLOTHES = ("sc_top1", "sc_top1_std")


def lines(params: Params) -> list[Line]:
    cited = paper_table("ccfa_ablations_prcc").set_index(["group", "setting"]).to_dict("index")
    found = []
    for group, settings in ROWS.items():
        for key, what in settings.items():
            line = cited[group, what]
            columns = {"group": group, "row": key, "what": what, "paper_sc_top1": float(line["sc_rank1"])}
            found.append(Line(columns, key, "phase-1", {"top1": line["cc_rank1"]}))
    return found


def numbers(sources: Sources) -> pd.DataFrame:
    table = compared(SPEC, sources)
    found = [in_setting(sources.results.get(name), "sc") for name in table["evaluation"]]
    return table.assign(**{column: [scores.get(column, np.nan) for scores in found] for column in SAME_CLOTHES})


def view(row: dict, mark: Mark) -> dict:
    shown = row_compared(row, SPEC.headings, SPEC.base, mark)
    del shown["Paper mAP"]
    return shown | {
        "Paper top-1, same clothes": paper_number(row["paper_sc_top1"]),
        "This run top-1, same clothes": score(row, "sc_top1", mark),
    }


def in_setting(result: Result | None, setting: str) -> dict:
    """An evaluation's means and deviations in one setting, their names headed by it; {} if it does not have it."""
    if result is None or setting not in result.scores["mean"]:
        return {}
    found = means(result, setting)
    return {f"{setting}_{name}": found[name] for name in found if name != "seeds"}


SPEC = Spec(
    name="ccfa",
    place=120,
    title="CCFA: three ablations",
    numbers=numbers,
    view=view,
    group="Methods and models",
    lines=lines,
    more_keys=("CAL",),
    headings={"group": "Ablation", "what": "Setting"},
    columns=("group", "row", "what", "paper_sc_top1", *SAME_CLOTHES),
    base="phase I",
    paper="CCFA's on PRCC",
    notes=[
        "Differences are to phase I, which augments nothing. As in the slides, phase I and the whole model stand in "
        "several groups."
    ],
)
