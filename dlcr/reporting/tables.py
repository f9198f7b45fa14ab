"""The tables: paper beside this run, with intervals; a row that was not run stays empty (NaN), it never
becomes a zero."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dlcr.data import Generated
from dlcr.data.shards import MEASURES as QUALITY_MEASURES
from dlcr.evaluation.runs import KINDS
from dlcr.evaluation.statistics import bootstrap_interval, paired_difference
from dlcr.reporting.paper import A1, A3, A4, A5, A6, ORACLE, paper_table
from dlcr.reporting.results import Result, per_query

MEASURES = ("top1", "map")
NEEDED = {
    "plain": "clothes-changing queries",
    "refined": "a query set for refinement",
    "reranked": "`rerank: true`",
}
"""What an evaluation lacks that has no scores of a kind."""
QUALITY = (*QUALITY_MEASURES, "alignment")
SETTINGS = tuple(main + end for main in ("cc", "sc", "general") for end in (*KINDS.values(), "_single_shot"))


def table_a1(results: Mapping[str, Result | None], bootstrap: int, seed: int) -> pd.DataFrame:
    """Table A1: each of the paper's six rows and the oracle bound beside this run's evaluation of it.

    Args:
        results: row ("1" to "6", "oracle") to its evaluation, None or absent if not run. Row 6 takes the
            refined metrics.
        bootstrap: resamples of the queries behind every interval.
        seed: of the resampling.

    Returns one row a table row: what it is, `paper_top1`, `paper_map`, and for each measure (percent) its
    mean over seeds, standard deviation, 95 % interval over queries, difference to row 1 with paired interval
    and p value; NaN if not run.

    Raises ValueError for a row that the table does not have.
    """
    paper = paper_table(A1).set_index("row", drop=False)
    unknown = sorted(set(results) - {*paper.index, ORACLE})
    if unknown:
        raise ValueError(f"report.a1: no row {unknown[0]!r} in Table A1; it has {', '.join(paper.index)}, {ORACLE}")
    base = results.get("1")
    rows = []
    for key in (*paper.index, ORACLE):
        kind, result = "refined" if key == "6" else "plain", results.get(key)
        row = _described(key, paper) | {"evaluation": result.name if result else None}
        if result is not None:
            row |= compared(result, kind, None if key == "1" else base, bootstrap, seed)
        rows.append(row)
    columns = [
        "row",
        "generated_data",
        "llm_prompts",
        "progressive_learning",
        "prediction_refinement",
        "evaluation",
        "seeds",
        "queries",
    ]
    for measure in MEASURES:
        columns += [f"paper_{measure}", *(f"{measure}{end}" for end in ENDS)]
    return pd.DataFrame(rows).reindex(columns=columns)


ENDS = ("", "_std", "_low", "_high", "_difference", "_difference_low", "_difference_high", "_p")


def _described(key: str, paper: pd.DataFrame) -> dict:
    if key == ORACLE:
        return {
            "row": ORACLE,
            "generated_data": "oracle: rendered in the right clothes (upper bound)",
            "llm_prompts": "yes",
            "progressive_learning": "yes",
            "prediction_refinement": "no",
        }
    row = paper.loc[key].to_dict()
    return row | {"paper_top1": float(row.pop("top1")), "paper_map": float(row.pop("map"))}


def _measured(result: Result, kind: str) -> dict:
    setting = result.setting + KINDS[kind]
    if setting not in result.metrics["mean"]:
        raise ValueError(
            f"{result.folder / 'metrics.json'}: no setting {setting!r}: this row needs an evaluation with "
            f"{NEEDED[kind]}"
        )
    row = {"seeds": len(result.metrics["seeds"])}
    for measure in MEASURES:
        row[measure] = result.metrics["mean"][setting][measure]
        row[f"{measure}_std"] = result.metrics["std"][setting][measure] if row["seeds"] > 1 else np.nan
    return row


def compared(result: Result, kind: str, base: Result | None, bootstrap: int, seed: int) -> dict:
    """A result's means, number of queries and intervals, and its differences to `base`, plain, if there is one."""
    row = _measured(result, kind)
    values = per_query(result, kind)
    row["queries"] = len(values)
    for measure in MEASURES:
        row |= _interval(values[measure], measure, bootstrap, seed)
        if base is not None:
            row |= _difference(values[measure], per_query(base, "plain")[measure], measure, bootstrap, seed)
    return row


def _interval(values: pd.Series, measure: str, bootstrap: int, seed: int) -> dict:
    found = bootstrap_interval(values.to_numpy(float), bootstrap, seed)
    return {f"{measure}_low": found.low, f"{measure}_high": found.high}


def _difference(values: pd.Series, base: pd.Series, measure: str, bootstrap: int, seed: int) -> dict:
    a, b = aligned(values, base)
    paired = paired_difference(a, b, bootstrap, seed)
    return {
        f"{measure}_difference": paired.mean,
        f"{measure}_difference_low": paired.low,
        f"{measure}_difference_high": paired.high,
        f"{measure}_p": paired.p_value,
    }


def aligned(*columns: pd.Series) -> list[np.ndarray]:
    """The same queries of several evaluations in the same order; ValueError if they do not have the same
    queries."""
    first = columns[0].sort_index()
    for column in columns[1:]:
        if set(column.index) != set(first.index):
            example = min(set(column.index) ^ set(first.index))
            raise ValueError(f"evaluations of one table need the same queries; {example!r} is not in all of them")
    return [column.reindex(first.index).to_numpy(float) for column in columns]


def share_of_gain(base: np.ndarray, method: np.ndarray, oracle: np.ndarray, n: int, seed: int) -> dict[str, float]:
    """Which share of the oracle's gain over the baseline a method reaches: (method - base) / (oracle - base),
    of means.

    Args:
        base, method, oracle: float [Q], the same queries in the same order.
        n, seed: bootstrap resamples of the queries (the same draw for all three) and their seed.

    Returns share, low, high as fractions (1 is all of the gain). They are NaN where the oracle gains nothing,
    the interval also where it gains nothing in some resample: a ratio with such a denominator says nothing.
    """
    gain, bound = method - base, oracle - base
    if len(bound) == 0 or bound.mean() <= 0:
        return {"share": np.nan, "low": np.nan, "high": np.nan}
    counts = np.random.default_rng(seed).multinomial(len(base), np.full(len(base), 1 / len(base)), size=n)
    bounds = counts @ bound
    low, high = (np.nan, np.nan) if (bounds <= 0).any() else np.percentile(counts @ gain / bounds, [2.5, 97.5])
    return {"share": float(gain.mean() / bound.mean()), "low": float(low), "high": float(high)}


def gain_shares(results: Mapping[str, Result | None], bootstrap: int, seed: int) -> dict[str, dict[str, float]]:
    """`share_of_gain` of row 5 (inpainting, progressive learning, no refinement) by measure; {} if a row was
    not run."""
    needed = [results.get(row) for row in ("1", "5", ORACLE)]
    if None in needed:
        return {}
    values = [per_query(result, "plain") for result in needed]
    return {
        measure: share_of_gain(*aligned(*(value[measure] for value in values)), bootstrap, seed) for measure in MEASURES
    }


def table_settings(results: Mapping[str, Result | None]) -> pd.DataFrame:
    """Every evaluation in every setting that it has: evaluation, setting, seeds, mean and standard deviation
    (percent)."""
    rows = []
    for name, result in results.items():
        for setting in SETTINGS if result else ():
            if setting in result.metrics["mean"]:
                mean, std = result.metrics["mean"][setting], result.metrics["std"][setting]
                seeds = len(result.metrics["seeds"])
                rows.append(
                    {"evaluation": name, "setting": setting, "seeds": seeds}
                    | {measure: mean[measure] for measure in MEASURES}
                    | {f"{measure}_std": std[measure] if seeds > 1 else np.nan for measure in MEASURES}
                )
    columns = ["evaluation", "setting", "seeds", "top1", "top1_std", "map", "map_std"]
    return pd.DataFrame(rows, columns=columns)


def table_prompts(table: str, results: Mapping[str, Result | None], bootstrap: int, seed: int) -> pd.DataFrame:
    """Table A3 (`table` "a3": where prompts come from) or A4 ("a4": which describer), paper beside this run.

    results: by the keys of PROMPT_ROWS, None or absent if not run. Returns one row a line of the table: `row`, `what`,
    and measures as in `table_a1`, differences to the table's first line. Raises ValueError for a row that the table
    does not have.
    """
    name, column, keys = PROMPT_ROWS[table]
    unknown = sorted(set(results) - set(keys))
    if unknown:
        raise ValueError(f"report.{table}: no row {unknown[0]!r}; it has {', '.join(keys)}")
    base, rows = results.get(keys[0]), []
    for key, paper in zip(keys, paper_table(name).to_dict("records"), strict=True):
        result = results.get(key)
        row = {"row": key, "what": paper[column], "evaluation": result.name if result else None}
        row |= {f"paper_{measure}": float(paper[measure]) for measure in MEASURES}
        if result is not None:
            row |= compared(result, "plain", None if key == keys[0] else base, bootstrap, seed)
        rows.append(row)
    columns = ["row", "what", "evaluation", "seeds"]
    for measure in MEASURES:
        columns += [f"paper_{measure}", *(f"{measure}{end}" for end in ENDS)]
    return pd.DataFrame(rows).reindex(columns=columns)


PROMPT_ROWS = {
    "a3": (A3, "prompts", ("random", "vlm", "vlm+llm")),
    "a4": (A4, "vlm", ("llava", "instructblip")),
}
"""By table: the paper's file, its column that says what a row is, and the rows' keys in params.yaml."""


def table_quality(sets: Mapping[str, Generated]) -> pd.DataFrame:
    """The quality gate: of each generated set, what was not made, what was dropped, and the measures of what was made.

    Returns one row a set: `set`, `variants`, `not_made`, `dropped` by the gate, `reasons` (the counts of each), and by
    measure the value that one variant in a hundred does not reach (`<measure>_1`) and the median (`<measure>_50`).
    """
    rows = []
    for name, generated in sets.items():
        table = generated.table()
        reasons = table.loc[table["skipped"] != "", "skipped"].map(lambda text: " ".join(text.split()[:2]))
        dropped = int(reasons.str.startswith("quality:").sum())
        counts = reasons.value_counts().sort_index()
        row = {"set": name, "variants": len(table), "not_made": len(reasons) - dropped, "dropped": dropped}
        row["reasons"] = ", ".join(f"{reason} {count}" for reason, count in counts.items())
        for measure in QUALITY:
            values = table[measure].dropna()
            row[f"{measure}_1"] = values.quantile(0.01) if len(values) else np.nan
            row[f"{measure}_50"] = values.median() if len(values) else np.nan
        rows.append(row)
    columns = ["set", "variants", "not_made", "dropped", "reasons"]
    return pd.DataFrame(rows, columns=columns + [f"{measure}_{end}" for measure in QUALITY for end in (1, 50)])


def table_a5(
    results: Mapping[str, Result | None], epoch_seconds: Mapping[str, float], epochs: Mapping[str, int]
) -> pd.DataFrame:
    """Table A5: concatenated data against progressive learning; seconds of an epoch and top-1, paper beside
    this run.

    All three have the keys `concat` and `progressive`; what is absent was not run, or not timed here. `epochs`: how
    many this run's recipes have.
    """
    rows = []
    for key, paper in zip(("concat", "progressive"), paper_table(A5).to_dict("records"), strict=True):
        result = results.get(key)
        rows.append(
            {
                "progressive_learning": paper["progressive_learning"],
                "evaluation": result.name if result else None,
                "paper_epoch_seconds": float(paper["epoch_seconds"]),
                "epoch_seconds": epoch_seconds.get(key, np.nan),
                "epochs": epochs.get(key, np.nan),
                "paper_top1": float(paper["top1"]),
                **(
                    {key: _measured(result, "plain")[key] for key in ("top1", "top1_std")}
                    if result
                    else {"top1": np.nan, "top1_std": np.nan}
                ),
            }
        )
    return pd.DataFrame(rows)


def table_a6(timings: pd.DataFrame, stages: list[tuple[str, str]]) -> pd.DataFrame:
    """Table A6: throughput and memory of each component, the paper's A100 beside this machine.

    stages: for each of the paper's five components the (stage, name) that `timings` knows it by. NaN if not
    timed here.
    """
    rows = []
    for paper, (stage, name) in zip(paper_table(A6).to_dict("records"), stages, strict=True):
        fact = timing_of(timings, stage, name)
        memory = fact.get("peak_memory_mb", np.nan)
        rows.append(
            {
                "component": paper["component"],
                "stage": f"{stage}@{name}",
                "paper_images_per_second": paper["images_per_second"],
                "images_per_second": fact.get("images_per_second", np.nan),
                "paper_gpu_memory_gb": paper["gpu_memory_gb"],
                "memory_gb": memory / 1024,
            }
        )
    return pd.DataFrame(rows)


def table_wall(timings: pd.DataFrame) -> pd.DataFrame:
    """What every stage took on this machine, sorted; the columns that DVC's stages record, NaN where one does
    not."""
    columns = ["stage", "name", "seconds", "epoch_seconds", "images", "images_per_second", "peak_memory_mb"]
    table = timings.reindex(columns=columns)
    return table.sort_values(["stage", "name"], ignore_index=True)


def timing_of(timings: pd.DataFrame, stage: str, name: str) -> dict:
    """The timing facts of one stage, {} if this machine has none."""
    if timings.empty:
        return {}
    found = timings[(timings["stage"] == stage) & (timings["name"] == name)]
    return {} if found.empty else found.iloc[-1].dropna().to_dict()
