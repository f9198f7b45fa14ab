"""Figure A4: what DLCR and the baseline find first."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dlcr.reporting.figures.style import GREEN, RED, panel, ratio, style, to_bytes, write
from dlcr.reporting.parts import Picture
from dlcr.reporting.sheets import CATEGORIES, RETRIEVAL_RULE, TOP, Retrieval

WIDTH, GAP, MARK, HEAD, BETWEEN = 0.75, 0.1, 0.28, 0.42, 0.35
QUERY = WIDTH + 0.36  # the query's column, with room for the names of the rows beside it
BLOCK = QUERY + TOP * (WIDTH + GAP)


def retrievals(lines: Sequence[Retrieval], counts: Mapping[str, int]) -> Picture | None:
    """Blocks of a query with the best gallery images of DLCR above the baseline's, one band per category; None without
    lines.

    counts: as from `sheets.retrieval_counts`. Right ones have a solid green frame and a tick, wrong ones a dashed red
    frame and a cross.
    """
    if not lines:
        return None
    bands = {name: [line for line in lines if line.category == name] for name in CATEGORIES}
    bands = {name: band for name, band in bands.items() if band}
    height = WIDTH * ratio(lines[0].query)
    band_height = HEAD + 2 * (height + MARK) + 0.15
    columns = max(len(band) for band in bands.values())
    with style():
        figure = Figure(figsize=(GAP + columns * BLOCK + (columns - 1) * BETWEEN, len(bands) * band_height))
        for number, (name, band) in enumerate(bands.items()):
            top = number * band_height
            heading = (
                f"{CATEGORIES[name][0].upper()}{CATEGORIES[name][1:]}: {counts[name]} of {counts['queries']} queries"
            )
            write(figure, GAP, top + 0.12, heading, fontsize=11, weight="bold")
            for place, line in enumerate(band):
                _block(figure, GAP + place * (BLOCK + BETWEEN), top + HEAD, height, line)
        content = to_bytes(figure)
    said = "; ".join(f"{line.image_id}, {CATEGORIES[line.category]}" for line in lines)
    return Picture(
        "fig-a4",
        f"Figure A4: the first {TOP} of DLCR and of the baseline",
        content,
        f"Queries with the first {TOP} gallery images of DLCR and of the baseline, marked as right or wrong: {said}.",
        f"Query, and the first {TOP} gallery images of DLCR with refinement (above) and of the baseline (below). "
        f"Green, solid, tick: the right person; red, dashed, cross: another. {RETRIEVAL_RULE}",
    )


def _block(figure: Figure, left: float, top: float, height: float, line: Retrieval) -> None:
    panel(figure, left, top + (height + MARK) / 2, WIDTH, height, line.query, "query")
    for row, (name, found) in enumerate((("DLCR", line.after), ("baseline", line.before))):
        for rank, (image, correct) in enumerate(found):
            place = (left + QUERY + rank * (WIDTH + GAP), top + row * (height + MARK))
            _found(figure, place, height, image, correct, name if rank == 0 else "")


def _found(
    figure: Figure, place: tuple[float, float], height: float, image: np.ndarray, correct: bool, name: str
) -> None:
    axes = panel(figure, *place, WIDTH, height, image, "✓" if correct else "✗")
    axes.set_ylabel(name)
    axes.xaxis.labelpad = 1
    axes.xaxis.label.set(color=GREEN if correct else RED, fontsize=11, weight="bold")
    for spine in axes.spines.values():
        spine.set(color=GREEN if correct else RED, linewidth=2.5, linestyle="-" if correct else (0, (2, 1)))
        spine.set_capstyle("butt")  # the default fills the gaps between dashes
