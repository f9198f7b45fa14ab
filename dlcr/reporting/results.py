"""Reads what the evaluation stage wrote in `evaluations/<name>`: scores.json and tables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.evaluation.statistics import Estimate, mean_estimate
from dlcr.params import Params, evaluation_folder, evaluation_places
from dlcr.reporting.lineage import lineages

QUERY_COLUMNS = ["seed", "setting", "kind", "image_id", "subject", "rank", "ap"]


@dataclass(frozen=True)
class Result:
    """One evaluation: `scores` as in its JSON file (percent), `queries` one row per seed, setting, kind and query.

    here: whether the models that it came from are in this workspace; else it came with the repository.
    """

    name: str
    folder: Path
    scores: dict
    queries: pd.DataFrame
    here: bool = True

    @property
    def setting(self) -> str:
        """The setting that tables report: "cc", or "general" for a dataset whose clothes are unknown."""
        return "cc" if "cc" in self.scores["mean"] else "general"

    def outcomes(self, kind: str) -> pd.DataFrame:
        """The rows of `queries` in the setting that tables report and this kind (`KINDS`), with `hit`, 0 or 1: whether
        the first gallery image is of the right person."""
        rows = self.queries[(self.queries["setting"] == self.setting) & (self.queries["kind"] == kind)]
        return rows.assign(hit=(rows["rank"] == 1).astype(np.int64))


def load_result(folder: Path, name: str | None = None, here: bool = True) -> Result | None:
    """The evaluation in a folder, or None if it was not run (there is no such folder); `name` replaces the folder's,
    `here` as in `Result`.

    Raises ValueError naming the file that is missing, unreadable or lacks a key or column.
    """
    if not folder.is_dir():
        return None
    source = folder / "scores.json"
    try:
        scores = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{source}: expected the scores of an evaluation: {error}") from error
    for key in ("seeds", "mean", "std"):
        if key not in scores:
            raise ValueError(f"{source}: no key {key!r}; it has {', '.join(scores)}")
    return Result(name or folder.name, folder, scores, _read(folder / "per_query.parquet", QUERY_COLUMNS), here)


def load_results(root: Path, params: Params) -> dict[str, Result | None]:
    """Every evaluation of the profile by its place, NAME or NAME/ABLATION; None for what was not run.

    Nor is what another profile made, or what was made before params.yaml was edited (`dlcr.reporting.lineage`).
    """
    made, found = lineages(root, params), {}
    for place, item in evaluation_places(params).items():
        lineage, run = made[place.partition("/")[0]], Path("runs", item.run)
        here = (root / run).is_dir() and run.as_posix() not in lineage.made_again
        found[place] = None if lineage.others else load_result(root / evaluation_folder(params, place), place, here)
    return found


def came_with_repository(results: Mapping[str, Result | None]) -> set[str]:
    """The evaluations whose models are not in this workspace, or were trained again since, while those of others are
    there; none where all or no models are."""
    here = {place: result.here for place, result in results.items() if result is not None}
    return {place for place, yes in here.items() if not yes} if any(here.values()) else set()


def load_rankings(result: Result) -> pd.DataFrame:
    """The best gallery images of every query of the first seed: query, rank (from 1), gallery, similarity,
    correct, refined."""
    source = result.folder / "rankings.parquet"
    return _read(source, ["query", "rank", "gallery", "similarity", "correct", "refined"])


def load_history(result: Result) -> pd.DataFrame:
    """The losses of the evaluation's run by epoch, means over the seeds: epoch and one column per loss, `identity`
    always among them. Raises ValueError naming a file that is missing or lacks these."""
    source = result.folder / "history.csv"
    if not source.is_file():
        raise ValueError(f"{source}: missing; the evaluation is incomplete")
    table = pd.read_csv(source)
    if not {"epoch", "identity"} <= set(table.columns):
        raise ValueError(f"{source}: expected the columns epoch and identity, found {', '.join(table.columns)}")
    return table


def timing_of(timings: pd.DataFrame, stage: str, name: str) -> dict:
    """The timing facts of one stage, {} if this machine has none."""
    if timings.empty:
        return {}
    found = timings[(timings["stage"] == stage) & (timings["name"] == name)]
    return {} if found.empty else found.iloc[-1].dropna().to_dict()


def query_scores(result: Result, kind: str, measure: str) -> pd.DataFrame:
    """Each query's top-1 or AP ("top1", "map"; in percent) in the result's setting and kind (`KINDS`): a row per query,
    a column per training seed; index (subject, image_id), sorted.

    Raises ValueError if the evaluation has no such queries, or not all of them for a seed.
    """
    rows = result.outcomes(kind)
    if rows.empty:
        raise ValueError(f"{result.folder / 'per_query.parquet'}: no {kind} queries of setting {result.setting!r}")
    table = rows.pivot_table(
        index=["subject", "image_id"], columns="seed", values={"top1": "hit", "map": "ap"}[measure]
    )
    if table.isna().to_numpy().any():
        seed = table.columns[table.isna().any()][0]
        example = table.index[table[seed].isna()][0][1]
        raise ValueError(f"{result.folder / 'per_query.parquet'}: training seed {seed} lacks the query {example!r}")
    return table.sort_index() * 100


def same_queries(*tables: pd.DataFrame) -> list[pd.DataFrame]:
    """Tables of `query_scores` with the training seeds that all of them have; ValueError if they do not have the same
    queries."""
    first = tables[0]
    for table in tables[1:]:
        if not table.index.equals(first.index):
            example = min(set(table.index) ^ set(first.index))[1]
            raise ValueError(f"evaluations of one table need the same queries; {example!r} is not in all of them")
    seeds = [seed for seed in first.columns if all(seed in table.columns for table in tables)]
    return [table[seeds] for table in tables]


def estimate(table: pd.DataFrame) -> Estimate:
    """The mean of `query_scores`, or of a difference of two of them."""
    return mean_estimate(table.to_numpy(float).T, table.index.get_level_values("subject").to_numpy())


def difference(a: pd.DataFrame, b: pd.DataFrame) -> Estimate | None:
    """The paired difference of two tables of `query_scores`, over the training seeds that both have; None if there are
    none. Raises ValueError if they do not have the same queries."""
    a, b = same_queries(a, b)
    return None if a.columns.empty else estimate(a - b)


def _read(source: Path, columns: list[str]) -> pd.DataFrame:
    if not source.is_file():
        raise ValueError(f"{source}: missing; the evaluation is incomplete")
    table = pd.read_parquet(source)
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise ValueError(f"{source}: no column {', '.join(lacking)}; it has {', '.join(table.columns)}")
    return table
