"""Tables of numbers made into tables of cells, for readers of Markdown, LaTeX and the page alike.

`mark` is what this run's results are: measured or smoke (`report.mark`). A cell without a result says so, never zero.
"""

from collections.abc import Callable, Mapping

import pandas as pd

from dlcr.reporting.formats import GAP, equals, interval, is_gap, number, signed, spread
from dlcr.reporting.measured import MEASURES
from dlcr.reporting.parts import Cell, Mark

NONE = "–"
"""What stands where there is nothing to show, which is not the same as not run."""
TITLES = {"top1": "top-1", "map": "mAP"}
NOT_TIMED = "not timed here"


def view_compared(table: pd.DataFrame, titles: Mapping[str, str], base: str, mark: Mark) -> pd.DataFrame:
    """A table of evaluations (`measured.joined`), beside the paper's numbers where it has some.

    titles: the columns that say what a row is, and their headings. base: what the differences are to.
    """
    headings = list(titles.values())
    for measure in MEASURES:
        headings += [] if table[f"paper_{measure}"].isna().all() else [f"Paper {TITLES[measure]}"]
        headings += [f"{what} {TITLES[measure]}" for what in ("This run", "95 % interval", f"Difference to {base}")]
    return pd.DataFrame([row_compared(row, titles, base, mark) for row in table.to_dict("records")], columns=headings)


def row_compared(row: dict, titles: Mapping[str, str], base: str, mark: Mark) -> dict[str, str | Cell]:
    """A row of such a table, by heading."""
    view = {title: text(row[column]) for column, title in titles.items()}
    for measure in MEASURES:
        ends = interval(row[f"{measure}_low"], row[f"{measure}_high"])
        view |= {
            f"Paper {TITLES[measure]}": paper_number(row[f"paper_{measure}"]),
            f"This run {TITLES[measure]}": score(row, measure, mark),
            f"95 % interval {TITLES[measure]}": found(row, ends, mark),
            f"Difference to {base} {TITLES[measure]}": found(row, difference(row, measure), mark),
        }
    return view


def text(value: object) -> str:
    """A text as it is, `NONE` where there is none."""
    return NONE if is_gap(value) else str(value)


def paper_number(value: object, digits: int = 1) -> Cell:
    """A number of the paper."""
    return Cell(NONE) if is_gap(value) else Cell(f"{float(value):,.{digits}f}", "paper")


def counted(value: object, mark: Mark, gap: str, digits: int = 0) -> Cell:
    """A count or a rate of this run, its thousands set apart; `gap` where there is none."""
    if is_gap(value):
        return Cell(gap, "not run" if gap == GAP else "")
    return Cell(f"{value:,.{digits}f}", mark)


def timed(value: object, mark: Mark, shown: Callable[[float], str] = number) -> Cell:
    """A time, a rate or a size of this machine."""
    return Cell(NOT_TIMED, "not run") if is_gap(value) else Cell(shown(value), mark)


def score(row: dict, measure: str, mark: Mark) -> Cell:
    """A row's mean ± deviation. A gap is `not run`, but nothing where this project has no way to run the row."""
    if not is_gap(row[measure]):
        return Cell(spread(row[measure], row[f"{measure}_std"]), mark, row["evaluation"])
    if str(row.get("source")).endswith(" only"):
        return Cell(NONE)
    return Cell(NONE) if not is_gap(row["evaluation"]) else Cell(GAP, "not run")


def found(row: dict, shown: str, mark: Mark) -> Cell:
    """An interval or a difference of a row's evaluation."""
    return Cell(NONE) if shown == NONE else Cell(shown, mark, row["evaluation"])


def difference(row: dict, measure: str) -> str:
    """A row's difference in a measure with interval and p value, `NONE` where there is none."""
    if is_gap(row[f"{measure}_difference"]):
        return NONE
    ends = interval(row[f"{measure}_difference_low"], row[f"{measure}_difference_high"])
    return f"{signed(row[f'{measure}_difference'])} ({ends}; {probability(row[f'{measure}_p'])})"


def probability(value: float) -> str:
    """A p value as `p = 0.012` or `p < 0.001`, which no line break tears apart."""
    return f"p {equals(value)}".replace(" ", "\u00a0")


def setting_name(setting: str) -> str:
    """A setting in words, as in "clothes-changing, single-shot"."""
    main, _, kind = setting.partition("_")
    names = {"cc": "clothes-changing", "sc": "same clothes", "general": "general"}
    return names[main] + (f", {kind.replace('_', '-')}" if kind else "")


def pair(cells: list[Cell]) -> Cell:
    """Top-1 and mAP in one cell; one gap for both."""
    first = cells[0]
    return first if first.mark in ("", "not run") else Cell(" / ".join(map(str, cells)), first.mark, first.source)
