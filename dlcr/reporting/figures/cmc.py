"""The CMC curves of Table A1's rows."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dlcr.reporting.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, style, tidy, to_bytes
from dlcr.reporting.paper import ORACLE
from dlcr.reporting.parts import Picture

LOOKS = ((GREY, "o"), (PINK, "s"), (SKY, "^"), (GREEN, "D"), (ORANGE, "v"), (BLUE, "P"), (RED, "X"))


def cmc(found: Mapping[str, np.ndarray]) -> Picture | None:
    """Curves over the ranks from 1 on (percent), by row of Table A1; None without any."""
    if not found:
        return None
    with style():
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.subplots()
        for (colour, marker), (row, curve) in zip(LOOKS, found.items(), strict=False):
            label = f"{_name(row)}: {curve[0]:.1f}, {curve[4]:.1f}, {curve[9]:.1f}"
            dash = "--" if row == ORACLE else "-"
            ranks = range(1, len(curve) + 1)
            axes.plot(ranks, curve, label=label, color=colour, marker=marker, linestyle=dash, markersize=5)
        axes.set_xticks(range(1, len(next(iter(found.values()))) + 1))
        axes.set_xlabel("Rank")
        axes.set_ylabel("Queries whose person was found, in %")
        tidy(axes)
        outside = {"loc": "upper left", "bbox_to_anchor": (1, 1), "alignment": "left", "frameon": False}
        axes.legend(title="Ranks 1, 5 and 10", fontsize=8, **outside)
        content = to_bytes(figure)
    said = "; ".join(f"{_name(row)}: {curve[0]:.1f}, {curve[4]:.1f}, {curve[9]:.1f}" for row, curve in found.items())
    return Picture(
        "cmc",
        "CMC: the rows of Table A1 by rank",
        content,
        f"Line chart of the share of queries whose person was found, over ranks 1 to 10. At ranks 1, 5 and 10 {said}.",
        "Cumulative matching: the share of queries whose person is among the first gallery images, mean over the "
        "training seeds. Refinement ranks persons, all images of one in a row, so "
        "that its curve rises in steps. The axis does not begin at 0.",
    )


def _name(row: str) -> str:
    return row if row == ORACLE else f"row {row}"
