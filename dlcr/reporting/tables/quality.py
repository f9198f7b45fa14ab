"""The quality gate: of each generated set, what was not made, what was dropped, and the measures of what was made.

One row a set: `set`, `variants`, `not_made`, `dropped` by the gate, `reasons` (the counts of each), and by measure the
value that one variant in a hundred does not reach (`<measure>_1`) and the median (`<measure>_50`).
"""

import numpy as np
import pandas as pd

from dlcr.reporting.cells import NONE
from dlcr.reporting.formats import is_gap, number
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.survey import QUALITY
from dlcr.reporting.tables.specs import Sources, Spec

COUNTS = {"variants": "Variants", "not_made": "Not made", "dropped": "Dropped by the gate"}
HEADINGS = {measure: f"{measure}: 1st percentile, median" for measure in QUALITY}


def numbers(sources: Sources) -> pd.DataFrame:
    measures = [f"{measure}_{end}" for measure in QUALITY for end in (1, 50)]
    found = sources.survey["sets"]
    rows = [
        {"set": name, **{key: found[name][key] for key in COUNTS}}
        | {"reasons": ", ".join(f"{reason} {count}" for reason, count in found[name]["reasons"].items())}
        | {key: found[name].get(key, np.nan) for key in measures}
        for name in (*sources.params.generated, *sources.params.imported)
        if name in found
    ]
    return pd.DataFrame(rows, columns=["set", *COUNTS, "reasons", *measures])


def view(row: dict, mark: Mark) -> dict:
    shown = {"Set": row["set"]} | {title: Cell(str(row[name]), mark) for name, title in COUNTS.items()}
    shown["Reasons"] = row["reasons"] or NONE
    for measure, heading in HEADINGS.items():
        ends = [number(row[f"{measure}_{end}"], 3) for end in (1, 50)]
        shown[heading] = Cell(NONE) if is_gap(row[f"{measure}_50"]) else Cell(", ".join(ends), mark)
    return shown


SPEC = Spec(
    name="quality",
    place=160,
    title="Generated sets and the quality gate",
    group="",
    numbers=numbers,
    view=view,
    shown=("Set", *COUNTS.values(), "Reasons", *HEADINGS.values()),
)
