"""Tables of single things: datasets, generated sets, the quality gate, every evaluation in every setting, and times.

What was not run, made or timed stays empty (NaN), it never becomes a zero.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dlcr.data import Generated
from dlcr.data.shards import MEASURES as QUALITY_MEASURES
from dlcr.evaluation.runs import KINDS
from dlcr.reporting.measured import ENDS, MEASURES, Compare, means
from dlcr.reporting.paper import A5, A6, ORACLE, T1, paper_table
from dlcr.reporting.results import Result, aligned, per_query

QUALITY = (*QUALITY_MEASURES, "alignment")
SETTINGS = tuple(main + end for main in ("cc", "sc", "general") for end in (*KINDS.values(), "_single_shot"))
COUNTS = ("original_images", "generated_images", "subjects", "clothes", "queries", "gallery")
"""What Table 1 counts of a dataset of this run; subjects and clothes are those of training."""
TOTAL = "Total"
A5_KEYS = ("concat", "progressive")


def table_datasets(counts: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    """Table 1: the paper's datasets and this run's, a row each, and the total of generated images.

    counts: by the dataset's name (the paper's where it is one of its datasets) `data` and `set`, its names in
    params.yaml, `private`, and those of COUNTS that there are. Columns `dataset`, the paper's `paper_original_images`,
    `paper_generated_images` and `paper_released`, and what `counts` holds.
    """
    lines = {line.pop("dataset"): line for line in paper_table(T1).to_dict("records")}
    rows = []
    for dataset in dict.fromkeys([*(name for name in lines if name != TOTAL), *counts, TOTAL]):
        row = {"dataset": dataset} | {f"paper_{name}": value for name, value in lines.get(dataset, {}).items()}
        rows.append(row | dict(counts.get(dataset, {})))
    columns = ["dataset", "paper_original_images", "paper_generated_images", "paper_released", "data", "set", "private"]
    table = pd.DataFrame(rows).reindex(columns=[*columns, *COUNTS])
    whole = [name for name in table.columns if name.endswith("images") or name in COUNTS]
    table[whole] = table[whole].apply(pd.to_numeric).astype("Int64")
    made = table["generated_images"].sum(min_count=1)
    table.loc[table["dataset"] == TOTAL, "generated_images"] = made
    return table


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
                rows.append({"evaluation": name, "setting": setting} | means(result, setting))
    columns = ["evaluation", "setting", "seeds", "top1", "top1_std", "map", "map_std"]
    return pd.DataFrame(rows, columns=columns)


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
    results: Mapping[str, Result | None],
    epoch_seconds: Mapping[str, float],
    epochs: Mapping[str, int],
    compare: Compare,
) -> pd.DataFrame:
    """Table A5: concatenated data against progressive learning; seconds of an epoch and top-1, paper beside
    this run, the difference to concatenation.

    The first three have the keys `concat` and `progressive`; what is absent was not run, or not timed here. `epochs`:
    how many this run's recipes have. Raises ValueError for another key.
    """
    unknown = sorted(set(results) - set(A5_KEYS))
    if unknown:
        raise ValueError(f"report.a5: no row {unknown[0]!r}; it has {', '.join(A5_KEYS)}")
    base = (results.get("concat"), "plain")
    rows = []
    for key, paper in zip(A5_KEYS, paper_table(A5).to_dict("records"), strict=True):
        scores = compare((results.get(key), "plain"), base)
        rows.append(
            {
                "row": key,
                "progressive_learning": paper["progressive_learning"],
                "evaluation": scores["evaluation"],
                "paper_epoch_seconds": float(paper["epoch_seconds"]),
                "epoch_seconds": epoch_seconds.get(key, np.nan),
                "epochs": epochs.get(key, np.nan),
                "paper_top1": float(paper["top1"]),
                **{f"top1{end}": scores.get(f"top1{end}", np.nan) for end in ENDS},
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
