"""Figure A8: top-1 over K, the number of variants of every training image."""

import pandas as pd
from matplotlib.figure import Figure

from dlcr.reporting.figures.style import BLUE, GREY, style, tidy, to_bytes
from dlcr.reporting.formats import interval, is_gap, number
from dlcr.reporting.parts import Picture


def over_k(table: pd.DataFrame, note: str = "") -> Picture | None:
    """Top-1 with its 95 % interval over K, from columns k, top1, top1_low and top1_high; None if no K was run.

    The values of K stand evenly spaced, 0 among them. A K that was not run is named and breaks the line. note: a
    sentence for the caption, on how the runs train with the variants.
    """
    if table["top1"].isna().all():
        return None
    table = table.sort_values("k", ignore_index=True)
    with style():
        figure = Figure(figsize=(6.0, 3.4), layout="constrained")
        axes = figure.subplots()
        places = range(len(table))
        ends = [table["top1"] - table["top1_low"], table["top1_high"] - table["top1"]]
        axes.errorbar(
            places, table["top1"], ends, color=BLUE, ecolor="black", capsize=4, linewidth=1.6, marker="o", markersize=6
        )
        for place, row in enumerate(table.to_dict("records")):
            if is_gap(row["top1"]):
                across = axes.get_xaxis_transform()  # x in data, y as a share of the axes
                axes.text(place, 0.04, "not run", ha="center", style="italic", color=GREY, transform=across)
            else:
                above = (place, row["top1_high"])
                axes.annotate(f"{row['top1']:.1f}", above, (0, 5), textcoords="offset points", ha="center")
        axes.set_xticks(places, table["k"].astype(str))
        axes.set_xlim(-0.5, len(table) - 0.5)
        axes.margins(y=0.15)
        axes.set_xlabel("K, variants of every training image")
        axes.set_ylabel("Top-1 in %")
        tidy(axes, "y")
        content = to_bytes(figure)
    said = "; ".join(
        f"K = {row['k']}: {number(row['top1'])}"
        + ("" if is_gap(row["top1"]) else f" ({interval(row['top1_low'], row['top1_high'])})")
        for row in table.to_dict("records")
    )
    return Picture(
        "fig-a8",
        "Figure A8: top-1 over K",
        content,
        f"Line chart of top-1 in percent over the number of variants of a training image, with 95 % intervals. {said}.",
        "Top-1 over K, with 95 % intervals over other people and seeds. K = 0 is the baseline; the values of K are "
        "evenly spaced. The axis of top-1 does not begin at 0." + (f" {note}" if note else ""),
    )
