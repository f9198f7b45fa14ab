"""Tables of numbers made into tables of cells, for readers of Markdown, LaTeX and the page alike.

`mark` is what this run's results are: measured or smoke (`report.mark`). A cell without a result says so, never zero.
"""

from collections.abc import Callable

import pandas as pd

from dlcr.reporting.formats import GAP, duration, interval, is_gap, number, p_value, signed, spread
from dlcr.reporting.measured import MEASURES
from dlcr.reporting.parts import Cell, Mark

NONE = "–"
"""What stands where there is nothing to show, which is not the same as not run."""
TITLES = {"top1": "top-1", "map": "mAP"}
NOT_TIMED = "not timed here"


def view_compared(table: pd.DataFrame, titles: dict[str, str], base: str, mark: Mark) -> pd.DataFrame:
    """A table of evaluations (`measured.joined`), beside the paper's numbers where it has some.

    titles: the columns that say what a row is, and their headings. base: what the differences are to.
    """
    headings = list(titles.values())
    for measure in MEASURES:
        headings += [] if table[f"paper_{measure}"].isna().all() else [f"Paper {TITLES[measure]}"]
        headings += [f"{what} {TITLES[measure]}" for what in ("This run", "95 % interval", f"Difference to {base}")]
    rows = []
    for row in table.to_dict("records"):
        view = {title: text(row[column]) for column, title in titles.items()}
        for measure in MEASURES:
            ends = interval(row[f"{measure}_low"], row[f"{measure}_high"])
            view |= {
                f"Paper {TITLES[measure]}": reported(row[f"paper_{measure}"]),
                f"This run {TITLES[measure]}": score(row, measure, mark),
                f"95 % interval {TITLES[measure]}": found(row, ends, mark),
                f"Difference to {base} {TITLES[measure]}": found(row, difference(row, measure), mark),
            }
        rows.append(view)
    return pd.DataFrame(rows, columns=headings)


def view_ccfa(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """CCFA's ablations (`comparisons.table_ccfa`), the setting of same clothes at the end."""
    view = view_compared(table, {"group": "Ablation", "what": "Setting"}, "phase I", mark)
    rows = table.to_dict("records")
    view["Paper top-1, same clothes"] = [reported(row["paper_sc_top1"]) for row in rows]
    view["This run top-1, same clothes"] = [score(row, "sc_top1", mark) for row in rows]
    return view


def view_ccfa_main(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """The main table of CCFA's slides (`comparisons.table_ccfa_main`); cells hold top-1 / mAP."""
    rows = []
    for row in table.to_dict("records"):
        view = {"Method": row["method"], "Modality": row["modality"], "Source": row["source"]}
        for dataset, setting in (("PRCC", "cc"), ("PRCC", "sc"), ("LTCC", "cc"), ("LTCC", "general")):
            values = [row[f"paper_{dataset.lower()}_{setting}_{measure}"] for measure in ("rank1", "map")]
            shown = NONE if all(map(is_gap, values)) else " / ".join(number(value, gap=NONE) for value in values)
            view[f"Paper {dataset}, {setting_name(setting)}"] = Cell(shown, "" if shown == NONE else "paper")
        for setting in ("cc", "sc", "general"):
            scores = [score(row, f"{setting}_{measure}", mark) for measure in MEASURES]
            view[f"This run, {setting_name(setting)}"] = _pair(scores)
            if setting == "cc":
                ends = [interval(row[f"cc_{measure}_low"], row[f"cc_{measure}_high"]) for measure in MEASURES]
                view["95 % interval, clothes-changing"] = _pair([found(row, end, mark) for end in ends])
        for measure in MEASURES:
            view[f"Difference to CAL {TITLES[measure]}"] = found(row, difference(row, f"cc_{measure}"), mark)
        rows.append(view)
    return pd.DataFrame(rows)


def view_datasets(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """Table 1 (`tables.table_datasets`)."""
    titles = {
        "original_images": "training images",
        "generated_images": "generated images",
        "subjects": "training subjects",
        "clothes": "training clothes",
        "queries": "queries",
        "gallery": "gallery images",
    }
    rows = []
    for row in table.to_dict("records"):
        view = {"Dataset": row["dataset"]}
        for name in ("original_images", "generated_images"):
            view[f"Paper {titles[name]}"] = reported(row[f"paper_{name}"], 0)
        for name, title in titles.items():
            none = is_gap(row["data"]) or (name == "generated_images" and row["set"] == "none")
            view[f"This run {title}"] = counted(row[name], mark, NONE if none else GAP)
        view["Redistribution"] = _redistribution(row)
        rows.append(view)
    return pd.DataFrame(rows)


def _redistribution(row: dict) -> str | Cell:
    if not is_gap(row["paper_released"]):
        return Cell(row["paper_released"], "paper") if row["paper_released"] else NONE
    return "no: private in this profile" if row["private"] else "yes"


def view_settings(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """All evaluations in all settings (`tables.table_settings`)."""
    return pd.DataFrame(
        [
            {
                "Evaluation": row["evaluation"],
                "Setting": setting_name(row["setting"]),
                "Seeds": str(row["seeds"]),
                "Top-1": score(row, "top1", mark),
                "mAP": score(row, "map", mark),
            }
            for row in table.to_dict("records")
        ],
        columns=["Evaluation", "Setting", "Seeds", "Top-1", "mAP"],
    )


def view_quality(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """The quality gate (`tables.table_quality`)."""
    measures = [name.removesuffix("_50") for name in table.columns if name.endswith("_50")]
    headings = {measure: f"{measure}: 1st percentile, median" for measure in measures}
    rows = []
    for row in table.to_dict("records"):
        view = {"Set": row["set"]}
        for name, title in (("variants", "Variants"), ("not_made", "Not made"), ("dropped", "Dropped by the gate")):
            view[title] = Cell(str(row[name]), mark)
        view["Reasons"] = row["reasons"] or NONE
        for measure, heading in headings.items():
            ends = [number(row[f"{measure}_{end}"], 3) for end in (1, 50)]
            view[heading] = Cell(NONE) if is_gap(row[f"{measure}_50"]) else Cell(", ".join(ends), mark)
        rows.append(view)
    return pd.DataFrame(
        rows, columns=["Set", "Variants", "Not made", "Dropped by the gate", "Reasons", *headings.values()]
    )


def view_a5(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """Table A5 (`tables.table_a5`)."""
    return pd.DataFrame(
        [
            {
                "Progressive learning": row["progressive_learning"],
                "Paper: seconds an epoch": reported(row["paper_epoch_seconds"], 0),
                "This run: seconds an epoch": timed(row["epoch_seconds"], mark),
                "This run: epochs": number(row["epochs"], 0, gap=NONE),
                "Paper top-1": reported(row["paper_top1"]),
                "This run top-1": score(row, "top1", mark),
                "95 % interval top-1": found(row, interval(row["top1_low"], row["top1_high"]), mark),
                "Difference to concatenation top-1": found(row, difference(row, "top1"), mark),
            }
            for row in table.to_dict("records")
        ]
    )


def view_a6(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """Table A6 (`tables.table_a6`)."""
    return pd.DataFrame(
        [
            {
                "Component": row["component"],
                "Stage": row["stage"],
                "Paper images/s (A100)": Cell(row["paper_images_per_second"], "paper"),
                "This machine images/s": timed(row["images_per_second"], mark),
                "Paper GPU memory, GB": Cell(row["paper_gpu_memory_gb"], "paper"),
                "This machine peak memory, GB": timed(row["memory_gb"], mark, lambda value: number(value, 2)),
            }
            for row in table.to_dict("records")
        ]
    )


def view_wall(table: pd.DataFrame, mark: Mark) -> pd.DataFrame:
    """Wall times (`tables.table_wall`)."""
    columns = {
        "epoch_seconds": ("Seconds an epoch", 1),
        "images": ("Images", 0),
        "images_per_second": ("Images/s", 1),
        "peak_memory_mb": ("Peak memory, MB", 0),
    }
    rows = []
    for row in table.to_dict("records"):
        view = {"Stage": row["stage"], "Name": row["name"], "Wall time": timed(row["seconds"], mark, duration)}
        for name, (title, digits) in columns.items():
            view[title] = counted(row[name], mark, NONE, digits)
        rows.append(view)
    return pd.DataFrame(rows, columns=["Stage", "Name", "Wall time", *(title for title, _ in columns.values())])


def text(value: object) -> str:
    """A text as it is, `NONE` where there is none."""
    return NONE if is_gap(value) else str(value)


def reported(value: object, digits: int = 1) -> Cell:
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
    shown = p_value(value)
    return f"p {shown if shown.startswith('<') else f'= {shown}'}".replace(" ", "\u00a0")


def setting_name(setting: str) -> str:
    """A setting in words, as in "clothes-changing, single-shot"."""
    main, _, kind = setting.partition("_")
    names = {"cc": "clothes-changing", "sc": "same clothes", "general": "general"}
    return names[main] + (f", {kind.replace('_', '-')}" if kind else "")


def _pair(cells: list[Cell]) -> Cell:
    """Top-1 and mAP in one cell; one gap for both."""
    first = cells[0]
    return first if first.mark in ("", "not run") else Cell(" / ".join(map(str, cells)), first.mark, first.source)
