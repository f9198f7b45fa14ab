"""What all figures share: colours, fonts, panels with images, and bytes that are the same for the same figure.

matplotlib draws without display, dates or random IDs. Model texts are drawn as they are, never as formulas.
"""

import textwrap
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072b2", "#e69f00", "#009e73", "#c83200", "#cc79a7", "#56b4e9"
"""Okabe and Ito's palette (red darkened): told apart by people with colour blindness. For grey every figure has a
second sign: markers, dashes, hatches."""
GREY, PALE = "#555555", "#dddddd"
DPI = 110
WIDTH = 96 / DPI
"""Of a panel with a person, in inches: MiniCC's 48 pixels twice, so that pixels stay even."""
STYLE = {
    "svg.hashsalt": "dlcr",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
}


def style(size: float = 9):
    """The context in which figures are made and drawn, with the font size in points."""
    return mpl.rc_context(STYLE | {"font.size": size})


def to_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file of this kind (svg or png); the same bytes for the same figure."""
    FigureCanvasAgg(figure)
    _settle(figure)
    buffer = BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=metadata, facecolor="white", dpi=DPI)
    return buffer.getvalue()


def _settle(figure: Figure) -> None:
    """Lay the figure out once and round where its axes stand.

    The layout's solver orders its variables by address: the last bits differ between calls, and with them the IDs that
    SVG files are given for clipping.
    """
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position().bounds, 4))


def tidy(axes: Axes, grid: str = "both") -> None:
    """A pale grid behind the data, no frame above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=PALE)
    axes.set_axisbelow(True)


def ratio(image: np.ndarray) -> float:
    """Height over width of panels for images like this; those of another shape keep theirs inside the panel."""
    return float(np.clip(image.shape[0] / image.shape[1], 1, 3))


def panel(
    figure: Figure, left: float, top: float, width: float, height: float, image: np.ndarray | str, below: str = ""
) -> Axes:
    """An image uint8 [H, W, 3], or a word in its place, with a text below.

    Lengths in inches from the figure's upper left corner. Panels are placed by hand: layout engines take seconds.
    """
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high), xticks=[], yticks=[])
    if isinstance(image, str):
        axes.text(0.5, 0.5, image, ha="center", va="center", style="italic", color=GREY, transform=axes.transAxes)
    else:
        # pixels of small images as they are: smoothed, the files are twice as large
        axes.imshow(image, interpolation="nearest" if len(image) < height * DPI else "antialiased")
    axes.set_xlabel(below, labelpad=3)
    return axes


def write(figure: Figure, left: float, top: float, text: str, **kwargs) -> None:
    """A text whose first line begins at this place, in inches from the figure's upper left corner."""
    wide, high = figure.get_size_inches()
    figure.text(left / wide, 1 - top / high, text, va="top", **kwargs)


def short_lines(text: str, width: int = 16) -> str:
    """A model's text, items divided by `|`, as at most five lines of `width` characters, two per item."""
    items = [" ".join(item.split()) for item in text.split("|")]
    lines = [line for item in items for line in textwrap.wrap(item, width, max_lines=2, placeholder="…") if item]
    return "\n".join(lines[:5])


def one_line(text: str, length: int) -> str:
    """A model's text on one line of at most `length` characters."""
    line = ", ".join(" ".join(item.split()) for item in text.split("|"))
    return line if len(line) <= length else line[: length - 1] + "…"
