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
from PIL import Image

BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072b2", "#e69f00", "#009e73", "#c83200", "#cc79a7", "#56b4e9"
"""Okabe and Ito's palette (red darkened): told apart by people with colour blindness. For grey every figure has a
second sign: markers, dashes, hatches."""
GREY, PALE = "#555555", "#dddddd"
DARK = {
    "#ffffff": "#191f24",
    "#000000": "#e5e9ec",
    GREY: "#a5b0b8",
    PALE: "#36414a",
    BLUE: "#4c9be6",
    SKY: "#b5e2ff",
    GREEN: "#35c79c",
    RED: "#ff8a5c",
}
"""What a colour becomes where a reader prefers dark; the others are readable on both grounds."""
WIDTH = 1.0
"""Of a panel with a person, in inches: 96 of a browser's pixels, MiniCC's 48 twice, so that pixels stay even."""
PIXELS = 96
"""The most in width that a picture in a panel keeps."""
STYLE = {
    "svg.hashsalt": "dlcr",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
}


def style():
    """The context in which figures are made and drawn."""
    return mpl.rc_context(STYLE)


def to_bytes(figure: Figure) -> bytes:
    """The figure as SVG, for light and dark grounds; the same bytes for the same figure."""
    FigureCanvasAgg(figure)
    _settle(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return buffer.getvalue().replace(b"</style>", f"{dark_rules()}</style>".encode(), 1)


def dark_rules() -> str:
    """CSS for a file of matplotlib's, which writes every colour but black text's into the element."""
    rules = [f"svg{{fill:{DARK['#000000']}}}"]
    for light, dark in DARK.items():
        rules += [f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for kind in ("fill", "stroke")]
    return "@media (prefers-color-scheme: dark){" + "".join(rules) + "}"


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
        axes.imshow(_smaller(image), interpolation="none")  # the file then holds the pixels as they are
    axes.set_xlabel(below, labelpad=3)
    return axes


def _smaller(image: np.ndarray) -> np.ndarray:
    """The image at most `PIXELS` wide."""
    if image.shape[1] <= PIXELS:
        return image
    size = (PIXELS, max(1, round(image.shape[0] * PIXELS / image.shape[1])))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


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
