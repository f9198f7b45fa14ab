"""Tables of numbers made into tables of text, one for readers of Markdown and of the page alike."""

import pandas as pd

from dlcr.reporting.formats import duration, interval, is_gap, number, p_value, signed, spread


def view_a1(table: pd.DataFrame) -> pd.DataFrame:
    """Table A1 (`tables.table_a1`) as text."""
    rows = []
    for row in table.to_dict("records"):
        view = {
            "Row": row["row"],
            "Generated data": row["generated_data"],
            "LLM prompts": row["llm_prompts"],
            "Progressive learning": row["progressive_learning"],
            "Refinement": row["prediction_refinement"],
        }
        for measure, title in (("top1", "top-1"), ("map", "mAP")):
            view |= {
                f"Paper {title}": number(row[f"paper_{measure}"], gap="–"),
                f"This run {title}": spread(row[measure], row[f"{measure}_std"]),
                f"95 % interval {title}": interval(row[f"{measure}_low"], row[f"{measure}_high"]),
            }
            view[f"Difference to row 1 {title}"] = difference(row, measure)
        rows.append(view)
    return pd.DataFrame(rows)


def difference(row: dict, measure: str) -> str:
    """A row's difference in a measure with interval and p value, a gap where there is none."""
    text = signed(row[f"{measure}_difference"])
    if is_gap(row[f"{measure}_difference"]):
        return text
    ends = interval(row[f"{measure}_difference_low"], row[f"{measure}_difference_high"])
    return f"{text} ({ends}; {probability(row[f'{measure}_p'])})"


def probability(value: float) -> str:
    """A p value as `p = 0.012` or `p < 0.001`, which no line break tears apart."""
    text = p_value(value)
    return f"p {text if text.startswith('<') else f'= {text}'}".replace(" ", "\u00a0")


def setting_name(setting: str) -> str:
    """A setting in words, as in "clothes-changing, single-shot"."""
    main, _, kind = setting.partition("_")
    names = {"cc": "clothes-changing", "sc": "same clothes", "general": "general"}
    return names[main] + (f", {kind.replace('_', '-')}" if kind else "")


def view_settings(table: pd.DataFrame) -> pd.DataFrame:
    """All evaluations in all settings (`tables.table_settings`) as text."""
    return pd.DataFrame(
        [
            {
                "Evaluation": row["evaluation"],
                "Setting": setting_name(row["setting"]),
                "Seeds": str(row["seeds"]),
                "Top-1": spread(row["top1"], row["top1_std"]),
                "mAP": spread(row["map"], row["map_std"]),
            }
            for row in table.to_dict("records")
        ],
        columns=["Evaluation", "Setting", "Seeds", "Top-1", "mAP"],
    )


def view_compared(table: pd.DataFrame, titles: dict[str, str], base: str) -> pd.DataFrame:
    """A table of evaluations beside the paper's numbers as text: Tables 3, A3, A4, CCFA's, and combinations.

    titles: the columns that say what a row is, and their headings. base: what the differences are to.
    """
    rows = []
    for row in table.to_dict("records"):
        view = {title: row[column] for column, title in titles.items()}
        for measure, name in (("top1", "top-1"), ("map", "mAP")):
            if table[f"paper_{measure}"].notna().any():
                view[f"Paper {name}"] = number(row[f"paper_{measure}"], gap="–")
            view |= {
                f"This run {name}": spread(row[measure], row[f"{measure}_std"]),
                f"Difference to {base} {name}": difference(row, measure),
            }
        rows.append(view)
    return pd.DataFrame(rows)


def view_quality(table: pd.DataFrame) -> pd.DataFrame:
    """The quality gate (`tables.table_quality`) as text."""
    measures = [name.removesuffix("_50") for name in table.columns if name.endswith("_50")]
    return pd.DataFrame(
        [
            {
                "Set": row["set"],
                "Variants": str(row["variants"]),
                "Not made": str(row["not_made"]),
                "Dropped by the gate": str(row["dropped"]),
                "Reasons": row["reasons"] or "–",
            }
            | {
                f"{measure}: 1st percentile, median": (
                    "–"
                    if is_gap(row[f"{measure}_50"])
                    else f"{number(row[f'{measure}_1'], 3)}, {number(row[f'{measure}_50'], 3)}"
                )
                for measure in measures
            }
            for row in table.to_dict("records")
        ],
        columns=[
            "Set",
            "Variants",
            "Not made",
            "Dropped by the gate",
            "Reasons",
            *(f"{measure}: 1st percentile, median" for measure in measures),
        ],
    )


def view_a5(table: pd.DataFrame) -> pd.DataFrame:
    """Table A5 (`tables.table_a5`) as text."""
    return pd.DataFrame(
        [
            {
                "Progressive learning": row["progressive_learning"],
                "Paper: seconds an epoch": number(row["paper_epoch_seconds"], 0),
                "This run: seconds an epoch": number(row["epoch_seconds"], 1, gap="not timed here"),
                "This run: epochs": number(row["epochs"], 0),
                "Paper top-1": number(row["paper_top1"]),
                "This run top-1": spread(row["top1"], row["top1_std"]),
            }
            for row in table.to_dict("records")
        ]
    )


def view_a6(table: pd.DataFrame) -> pd.DataFrame:
    """Table A6 (`tables.table_a6`) as text."""
    return pd.DataFrame(
        [
            {
                "Component": row["component"],
                "Stage": row["stage"],
                "Paper images/s (A100)": row["paper_images_per_second"],
                "This machine images/s": number(row["images_per_second"], 1, gap="not timed here"),
                "Paper GPU memory, GB": row["paper_gpu_memory_gb"],
                "This machine peak memory, GB": number(row["memory_gb"], 2, gap="not timed here"),
            }
            for row in table.to_dict("records")
        ]
    )


def view_wall(table: pd.DataFrame) -> pd.DataFrame:
    """Wall times (`tables.table_wall`) as text."""
    return pd.DataFrame(
        [
            {
                "Stage": row["stage"],
                "Name": row["name"],
                "Wall time": duration(row["seconds"]),
                "Seconds an epoch": number(row["epoch_seconds"], 1, gap="–"),
                "Images": number(row["images"], 0, gap="–"),
                "Images/s": number(row["images_per_second"], 1, gap="–"),
                "Peak memory, MB": number(row["peak_memory_mb"], 0, gap="–"),
            }
            for row in table.to_dict("records")
        ],
        columns=["Stage", "Name", "Wall time", "Seconds an epoch", "Images", "Images/s", "Peak memory, MB"],
    )
