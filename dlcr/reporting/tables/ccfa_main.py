"""The main table of CCFA's slides: its methods with the slides' numbers on PRCC and LTCC, and this run's of CAL and
CCFA's phases in every setting that their evaluation has. Its rows are those of table `ccfa`.

Columns `method`, `modality`, `source`, the slides' (`paper_prcc_cc_map`, ...), `evaluation`, `seeds`, `queries`, and by
setting top-1 and mAP with deviation (`sc_top1`, `sc_top1_std`, ...); in the setting of changed clothes also the 95 %
interval and the difference to CAL (`cc_top1_low`, ..., `cc_map_p`).
"""

import numpy as np
import pandas as pd

from dlcr.reporting.cells import NONE, TITLES, difference, found, pair, score, setting_name
from dlcr.reporting.formats import interval, is_gap, number
from dlcr.reporting.measured import ENDS, MEASURES
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.tables.ccfa import in_setting
from dlcr.reporting.tables.specs import Sources, Spec

METHODS = {"CAL": "CAL", "CCFA (phase I)": "phase-1", "CCFA (phase III)": "all"}
"""Methods of the slides that this project runs, and their rows of table `ccfa`."""
SETTINGS = ("cc", "sc", "general")
KEPT = ("evaluation", "seeds", "queries")


def numbers(sources: Sources) -> pd.DataFrame:
    rows = []
    for line in paper_table("ccfa_table_main").to_dict("records"):
        method, modality = line.pop("method"), line.pop("modality")
        key = METHODS.get(method)
        row = {"method": method, "modality": modality, "source": "cited" if key else "cited only"}
        row |= {f"paper_{name}": float(value or "nan") for name, value in line.items()}
        ranked = sources.ranked(f"ccfa/{key}")
        scores = sources.compare(ranked, sources.ranked("ccfa/CAL"))
        row |= {name if name in KEPT else f"{ranked[0].setting}_{name}": value for name, value in scores.items()}
        for setting in SETTINGS:
            row |= in_setting(ranked[0], setting)
        rows.append(row)
    ends = {"cc": ENDS, "sc": ENDS[:2], "general": ENDS[:2]}
    columns = [f"{setting}_{measure}{end}" for setting in ends for measure in MEASURES for end in ends[setting]]
    first = [name for name in rows[0] if name.startswith("paper_")]
    return pd.DataFrame(rows).reindex(
        columns=["method", "modality", "source", *first, *KEPT, *columns], fill_value=np.nan
    )


def view(row: dict, mark: Mark) -> dict:
    """Cells hold top-1 / mAP."""
    shown = {"Method": row["method"], "Modality": row["modality"], "Source": row["source"]}
    for dataset, setting in (("PRCC", "cc"), ("PRCC", "sc"), ("LTCC", "cc"), ("LTCC", "general")):
        values = [row[f"paper_{dataset.lower()}_{setting}_{measure}"] for measure in ("rank1", "map")]
        text = NONE if all(map(is_gap, values)) else " / ".join(number(value, gap=NONE) for value in values)
        shown[f"Paper {dataset}, {setting_name(setting)}"] = Cell(text, "" if text == NONE else "paper")
    for setting in SETTINGS:
        shown[f"This run, {setting_name(setting)}"] = pair(
            [score(row, f"{setting}_{measure}", mark) for measure in MEASURES]
        )
        if setting == "cc":
            ends = [interval(row[f"cc_{measure}_low"], row[f"cc_{measure}_high"]) for measure in MEASURES]
            shown["95 % interval, clothes-changing"] = pair([found(row, end, mark) for end in ends])
    for measure in MEASURES:
        shown[f"Difference to CAL {TITLES[measure]}"] = found(row, difference(row, f"cc_{measure}"), mark)
    return shown


SPEC = Spec(
    name="ccfa-main",
    place=110,
    title="CCFA: the main table of its slides",
    numbers=numbers,
    view=view,
    group="Methods and models",
    paper="on PRCC and LTCC",
    notes=[
        "Cells hold top-1 / mAP. Cited: the slides' number. Cited only: this project has no such model.",
        "RCSANet on PRCC is 48.6 top-1 and 50.2 mAP in the slides, 50.2 and 48.6 in DLCR's Table 2.",
        "CAL on LTCC is 40.1 top-1 in the slides, 39.5 in DLCR's Table 2.",
        "The slides have 3DSL's 51.3 and GI-ReID's 37.5 on PRCC under mAP; DLCR's Table 2 gives them as top-1, and so "
        "does this table.",
    ],
)
