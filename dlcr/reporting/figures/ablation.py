"""Table A1 as bars."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcr.reporting.figures.style import BLUE, GREY, ORANGE, style, tidy, to_bytes
from dlcr.reporting.formats import is_gap, number
from dlcr.reporting.paper import ORACLE
from dlcr.reporting.parts import Picture


def ablation(table: pd.DataFrame) -> Picture | None:
    """Table A1's numbers as bars: this run's top-1 with its 95 % interval, the paper's as diamonds; None if no row was
    run."""
    if table["top1"].isna().all():
        return None
    with style():
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.subplots()
        rows = table.to_dict("records")
        for place, row in enumerate(rows):
            _bar(axes, place, row)
        axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("Top-1 in %. Bar: this run, with 95 % interval. Diamond: paper, on PRCC.", loc="right")
        tidy(axes, "x")
        content = to_bytes(figure)
    said = "; ".join(f"{_label(row).replace(chr(10), ' ')}: {number(row['top1'])}" for row in rows)
    return Picture(
        "a1",
        "Table A1 as bars",
        content,
        f"Bar chart of top-1 in percent. {said}.",
        "Bars: top-1 of this run, with 95 % intervals over other people and seeds. Diamonds: the paper’s, on PRCC. "
        "Hatched: the oracle, rendered in the right clothes.",
    )


def _bar(axes: Axes, place: int, row: dict) -> None:
    oracle = row["row"] == ORACLE
    if is_gap(row["top1"]):
        axes.text(0.5, place, "not run", va="center", color=GREY, style="italic")
    else:
        axes.barh(
            place,
            row["top1"],
            height=0.62,
            color="#bbbbbb" if oracle else BLUE,
            hatch="//" if oracle else None,
            edgecolor=GREY if oracle else BLUE,
        )
        ends = [row["top1_low"], row["top1_high"]]
        axes.plot(ends, [place, place], color="black", linewidth=1.4, marker="|", markersize=8)
        axes.text(102, place, f"{row['top1']:.1f}", va="center", weight="bold")
    if not is_gap(row["paper_top1"]):
        axes.plot(row["paper_top1"], place, marker="D", markersize=6, color=ORANGE, markeredgecolor="black")


def _label(row: dict) -> str:
    if row["row"] == ORACLE:
        return "oracle (upper bound)"
    extra = [
        text
        for key, text in (("progressive_learning", "progressive"), ("prediction_refinement", "refined"))
        if row[key] == "yes"
    ]
    data = row["generated_data"].split(" (")[0].replace("id-preserving ", "")
    text = data + (" + " + " + ".join(extra) if extra else "")
    return f"{row['row']}  " + "\n".join(textwrap.wrap(text, 32))
