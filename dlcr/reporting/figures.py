"""The figures: Table A1 as bars, a sheet of generated samples (Fig. A3), retrievals before and after (Fig.
A4).

Every function returns the file's bytes, the same for the same input: matplotlib draws without display, dates
or random IDs. Model texts are drawn as they are, never as formulas.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlcr.reporting.formats import is_gap
from dlcr.reporting.paper import ORACLE

BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#c83200"
"""Okabe and Ito's palette (red darkened): told apart by people with colour blindness, and in grey."""
STYLE = {
    "svg.hashsalt": "dlcr",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Sample:
    """One line of the sample sheet: uint8 [H, W, 3] images, the mask bool [H, W], the variants with their
    prompts."""

    image_id: str
    original: np.ndarray
    mask: np.ndarray
    variants: list[np.ndarray | None]
    prompts: list[str]


@dataclass(frozen=True)
class Retrieval:
    """One query and its best gallery images; `before` and `after` hold (image uint8 [H, W, 3], correct) by
    rank."""

    title: str
    image_id: str
    query: np.ndarray
    before: list[tuple[np.ndarray, bool]]
    after: list[tuple[np.ndarray, bool]]


def _bytes(figure: Figure, kind: str) -> bytes:
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=metadata, facecolor="white", dpi=110)
    return buffer.getvalue()


def bars(table: pd.DataFrame) -> bytes:
    """Table A1 (`tables.table_a1`) as SVG: this run's top-1 with its 95 % interval, the paper's as
    diamonds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(table.to_dict("records")):
            oracle = row["row"] == ORACLE
            if is_gap(row["top1"]):
                axes.text(0.5, place, "not run", va="center", color="#555555", style="italic")
            else:
                axes.barh(
                    place,
                    row["top1"],
                    height=0.62,
                    color="#bbbbbb" if oracle else BLUE,
                    hatch="//" if oracle else None,
                    edgecolor="#555555" if oracle else BLUE,
                )
                axes.plot(
                    [row["top1_low"], row["top1_high"]],
                    [place, place],
                    color="black",
                    linewidth=1.4,
                    marker="|",
                    markersize=8,
                )
                axes.text(102, place, f"{row['top1']:.1f}", va="center", weight="bold")
            if not is_gap(row["paper_top1"]):
                axes.plot(
                    row["paper_top1"],
                    place,
                    marker="D",
                    markersize=6,
                    color=ORANGE,
                    markeredgecolor="black",
                    linestyle="none",
                )
        axes.set_yticks(range(len(table)), [_bar_label(row) for row in table.to_dict("records")])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("Top-1 in %. Bar: this run, with 95 % interval. Diamond: paper, on PRCC.", loc="right")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        return _bytes(figure, "svg")


def _bar_label(row: dict) -> str:
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


def sample_sheet(samples: Sequence[Sample]) -> bytes:
    """Original, original with mask, and variants with their prompts underneath, one line an image, as PNG."""
    columns = 2 + max(len(sample.variants) for sample in samples)
    with mpl.rc_context(STYLE | {"font.size": 8}):
        sheet = _Sheet([1.0] * columns, _ratio(samples[0].original), len(samples), gap=0.22, below=0.75)
        for line, sample in enumerate(samples):
            sheet.panel(line, 0, sample.original, "original")
            sheet.panel(line, 1, overlay(sample.original, sample.mask), "mask")
            for column, (image, prompt) in enumerate(zip(sample.variants, sample.prompts, strict=True), 2):
                sheet.panel(line, column, image, prompt.replace("|", "\n"))
        return _bytes(sheet.figure, "png")


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with what the mask marks tinted orange; uint8 [H, W, 3]."""
    tint = np.array([230, 159, 0])
    return np.where(mask[..., None], (0.35 * image + 0.65 * tint).round(), image).astype(np.uint8)


def retrieval_sheet(retrievals: Sequence[Retrieval], before: str, after: str) -> bytes:
    """Query, best gallery images before and after, with green (correct, tick) and red (wrong, cross) frames,
    as PNG."""
    count = max(len(item.before) for item in retrievals)
    widths = [0.8, 0.15, *[0.8] * count, 0.15, *[0.8] * count]
    with mpl.rc_context(STYLE | {"font.size": 8}):
        sheet = _Sheet(widths, _ratio(retrievals[0].query), len(retrievals), gap=0.1, below=0.45, above=0.3)
        for column, heading in ((0, "query"), (2, before), (3 + count, after)):
            sheet.heading(column, heading)
        for line, item in enumerate(retrievals):
            sheet.panel(line, 0, item.query, item.title)
            for start, found in ((2, item.before), (3 + count, item.after)):
                for column, (image, correct) in enumerate(found, start):
                    axes = sheet.panel(line, column, image, "✓" if correct else "✗")
                    colour = GREEN if correct else RED
                    axes.xaxis.label.set(color=colour, fontsize=12, weight="bold")
                    for spine in axes.spines.values():
                        spine.set(color=colour, linewidth=3)
        return _bytes(sheet.figure, "png")


def _ratio(image: np.ndarray) -> float:
    """Height over width of a sheet's panels; images of another shape keep theirs inside the panel."""
    return float(np.clip(image.shape[0] / image.shape[1], 1, 3))


class _Sheet:
    """A grid of images with texts below, lengths in inches. Placed by hand: layout engines take seconds."""

    def __init__(
        self, widths: list[float], ratio: float, lines: int, gap: float, below: float, above: float = 0.1
    ) -> None:
        self.widths, self.above, self.height = widths, above, max(widths) * ratio
        self.lefts = [gap + sum(widths[:column]) + gap * column for column in range(len(widths))]
        self.line = self.height + below
        self.total = (self.lefts[-1] + widths[-1] + gap, above + lines * self.line)
        self.figure = Figure(figsize=self.total)

    def panel(self, line: int, column: int, image: np.ndarray | None, text: str) -> Axes:
        """An image, or "skipped" for None, with a text of at most five short lines below."""
        width, height = self.total
        bottom = height - self.above - line * self.line - self.height
        box = (self.lefts[column] / width, bottom / height, self.widths[column] / width, self.height / height)
        axes = self.figure.add_axes(box, xticks=[], yticks=[])
        if image is None:
            axes.text(0.5, 0.5, "skipped", ha="center", va="center", transform=axes.transAxes)
        else:
            axes.imshow(image, interpolation="nearest")
        texts = [part for item in text.split("\n") for part in textwrap.wrap(item.strip(), 16)[:2]]
        axes.set_xlabel("\n".join(texts[:5]), labelpad=3)
        return axes

    def heading(self, column: int, text: str) -> None:
        """A text above a column."""
        width, height = self.total
        self.figure.text(self.lefts[column] / width, 1 - 0.2 / height, text, fontsize=9)


def curves(histories: dict[str, pd.DataFrame], models: dict[str, str]) -> bytes:
    """The identity loss over the epochs of every run (columns epoch, identity) as SVG, a panel for each of the `models`
    that the runs train; in it each run has its own colour and dash."""
    colours = [BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9", "#000000"]
    dashes = ["-", "--", "-.", ":"]
    names = list(dict.fromkeys(models[run] for run in histories))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.6 * len(names)), layout="constrained")
        panels = figure.subplots(len(names), squeeze=False)[:, 0]
        for name, axes in zip(names, panels, strict=True):
            runs = [run for run in histories if models[run] == name]
            for number, run in enumerate(runs):
                axes.plot(
                    histories[run]["epoch"],
                    histories[run]["identity"],
                    label=run,
                    color=colours[number % len(colours)],
                    linestyle=dashes[number % len(dashes)],
                    linewidth=1.6,
                )
            axes.set_title(name, loc="left")
            axes.set_ylabel("Identity loss, mean over seeds")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#dddddd")
            axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        panels[-1].set_xlabel("Epoch")
        return _bytes(figure, "svg")
