"""Which share of the oracle's gain inpainting reaches: a row per measure, as fractions from 0 to 1."""

import pandas as pd

from dlcr.reporting.cells import NONE, TITLES
from dlcr.reporting.formats import GAP, interval, is_gap
from dlcr.reporting.measured import MEASURES
from dlcr.reporting.oracle import gain_shares
from dlcr.reporting.paper import ORACLE
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.tables.specs import Sources, Spec

COLUMNS = ("measure", "share", "low", "high", "evaluation")


def numbers(sources: Sources) -> pd.DataFrame:
    rows = {row: sources.ranked(f"a1/{row}")[0] for row in ("1", "5", ORACLE)}
    shares = gain_shares(rows)
    found = [
        {"measure": measure, **shares.get(measure, {}), "evaluation": rows["5"].name if shares else None}
        for measure in MEASURES
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def view(row: dict, mark: Mark) -> dict:
    title = {"Measure": TITLES[row["measure"]]}
    if is_gap(row["evaluation"]):
        return title | {"Share": Cell(GAP, "not run"), "95 % interval": Cell(NONE)}
    share = "undefined" if is_gap(row["share"]) else f"{100 * row['share']:.0f} %"
    ends = interval(*(end if is_gap(end) else 100 * end for end in (row["low"], row["high"])), 0, "undetermined")
    return title | {"Share": Cell(share, mark, row["evaluation"]), "95 % interval": Cell(ends, mark, row["evaluation"])}


SPEC = Spec(
    name="oracle",
    place=55,
    title="Share of the oracle's gain that inpainting reaches",
    group="What each part contributes",
    numbers=numbers,
    view=view,
    notes=[
        "(row 5 - row 1) / (oracle - row 1) of Table A1, without refinement. Undefined where the oracle gains nothing; "
        "the interval is undetermined where it is not shown to gain."
    ],
)
