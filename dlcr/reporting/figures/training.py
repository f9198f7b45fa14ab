"""The training losses of all runs."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcr.params import Params
from dlcr.reporting.figures.style import BLUE, GREEN, ORANGE, PINK, RED, SKY, style, tidy, to_bytes
from dlcr.reporting.parts import Picture

COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, SKY, "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v")


def training(histories: Mapping[str, pd.DataFrame], params: Params) -> Picture | None:
    """The identity loss over the epochs of every run (columns epoch, identity), a panel for each model; None without
    histories.

    `histories` is by run, or RUN/ABLATION.
    """
    if not histories:
        return None
    models = {run: _model(run, params) for run in histories}
    names = list(dict.fromkeys(models.values()))
    runs = {name: [run for run in histories if models[run] == name] for name in names}
    heights = [max(2.6, 0.9 + 0.16 * len(runs[name])) for name in names]
    with style():
        figure = Figure(figsize=(7.2, sum(heights)), layout="constrained")
        panels = figure.subplots(len(names), squeeze=False, height_ratios=heights)[:, 0]
        for name, axes in zip(names, panels, strict=True):
            _curves(axes, {run: histories[run] for run in runs[name]})
            axes.set_title(name, loc="left")
        panels[-1].set_xlabel("Epoch")
        content = to_bytes(figure)
    said = "; ".join(f"{run}: {table['identity'].iloc[-1]:.2f}" for run, table in histories.items())
    return Picture(
        "training",
        "Training losses",
        content,
        f"Line charts of the identity loss over the epochs, a panel a model. In the last epoch {said}.",
        "Identity loss over the epochs, mean over the training seeds, a panel for each model. The values are in "
        "plots/training.",
    )


def _model(run: str, params: Params) -> str:
    entry = params.runs[run.split("/")[0]].recipe
    return params.recipes[entry].model or entry


def _curves(axes: Axes, histories: Mapping[str, pd.DataFrame]) -> None:
    for number, (run, table) in enumerate(histories.items()):
        axes.plot(
            table["epoch"],
            table["identity"],
            label=run,
            linewidth=1.6,
            markersize=3.5,
            markevery=0.1,
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)],
        )
    axes.set_ylabel("Identity loss")
    tidy(axes)
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
