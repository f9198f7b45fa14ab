"""How various the clothes of each generated set are, beside the training images' own (`dlcr.reporting.diversity`)."""

import numpy as np
import pandas as pd

from dlcr.reporting.cells import NONE
from dlcr.reporting.formats import is_gap, number
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.tables.specs import Sources, Spec

ITEMS = ("upper", "lower", "footwear")
HEADINGS = {
    "prompts": "Different prompts",
    **{item: f"Effective number of texts, {item}" for item in ITEMS},
    "colours": "Effective number of colours",
}


def numbers(sources: Sources) -> pd.DataFrame:
    sets, datasets = sources.survey["sets"], sources.survey["datasets"]
    rows = [{"set": f"{name} (real)", "colours": datasets[name].get("colours", np.nan)} for name in datasets]
    for name in (*sources.params.generated, *sources.params.imported):
        if name in sets:
            found = sets[name]
            items = dict(zip(ITEMS, found.get("items", []), strict=False))
            row = {"set": name, "prompts": found.get("prompts", np.nan), "colours": found.get("colours", np.nan)}
            rows.append(row | items)
    return pd.DataFrame(rows, columns=["set", *HEADINGS])


def view(row: dict, mark: Mark) -> dict:
    cells = {"Set": row["set"]}
    for column, heading in HEADINGS.items():
        text = number(row[column], 0 if column == "prompts" else 1, NONE)
        cells[heading] = Cell(NONE) if is_gap(row[column]) else Cell(text, mark)
    return cells


SPEC = Spec(
    name="diversity",
    place=162,
    title="How various the clothes of each set are",
    group="Prompts",
    numbers=numbers,
    view=view,
    shown=("Set", *HEADINGS.values()),
    notes=[
        "The effective number is the exponential of Shannon's entropy: as various as so many that occur equally often. "
        "Colours are means over the clothes' mask, in bins of 20 of L, a and b."
    ],
)
