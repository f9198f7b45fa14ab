"""Table A5: concatenated data against progressive learning; seconds of an epoch and top-1, the paper's beside this
run's, and the difference to concatenation."""

import numpy as np
import pandas as pd

from dlcr.params import Params
from dlcr.reporting.cells import NONE, difference, found, paper_number, score, timed
from dlcr.reporting.formats import interval, number
from dlcr.reporting.measured import ENDS
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Mark
from dlcr.reporting.results import timing_of
from dlcr.reporting.tables.specs import Line, Sources, Spec


def lines(params: Params) -> list[Line]:
    cited = paper_table("tableA5_progressive_learning_prcc").to_dict("records")
    return [Line({"row": key}, key, "concat", line) for key, line in zip(("concat", "progressive"), cited, strict=True)]


def numbers(sources: Sources) -> pd.DataFrame:
    params, rows = sources.params, []
    for line in lines(params):
        place = params.report.evaluation(f"a5/{line.key}")
        run = params.evaluation(place).run if place else ""
        scores = sources.compare(sources.ranked(f"a5/{line.key}"), sources.ranked(f"a5/{line.base}"))
        rows.append(
            {
                **line.what,
                "progressive_learning": line.paper["progressive_learning"],
                "evaluation": scores["evaluation"],
                "paper_epoch_seconds": float(line.paper["epoch_seconds"]),
                "epoch_seconds": timing_of(sources.timings, "train", run).get("epoch_seconds", np.nan),
                "epochs": params.recipes[params.runs[run].recipe].epochs if run else np.nan,
                "paper_top1": float(line.paper["top1"]),
                **{f"top1{end}": scores.get(f"top1{end}", np.nan) for end in ENDS},
            }
        )
    return pd.DataFrame(rows)


def view(row: dict, mark: Mark) -> dict:
    return {
        "Progressive learning": row["progressive_learning"],
        "Paper: seconds an epoch": paper_number(row["paper_epoch_seconds"], 0),
        "This run: seconds an epoch": timed(row["epoch_seconds"], mark),
        "This run: epochs": number(row["epochs"], 0, gap=NONE),
        "Paper top-1": paper_number(row["paper_top1"]),
        "This run top-1": score(row, "top1", mark),
        "95 % interval top-1": found(row, interval(row["top1_low"], row["top1_high"]), mark),
        "Difference to concatenation top-1": found(row, difference(row, "top1"), mark),
    }


SPEC = Spec(
    name="a5",
    place=80,
    title="Table A5: progressive learning against concatenated data",
    numbers=numbers,
    view=view,
    folder="timings",
    lines=lines,
    paper="CAL's on PRCC",
    notes=[
        "Table A5's top-1 without progressive learning is 64.0; Table A1's row 4 is 62.9. Here row 4 pairs "
        "each image with one of all K variants, while Table A5 concatenates them: two runs, two numbers.",
    ],
)
