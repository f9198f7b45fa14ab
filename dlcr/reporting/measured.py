"""What this run measured, for the tables: means, intervals over subjects and training seeds, paired differences.

A row that was not run has no numbers; they become NaN in a table, never zeros.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from dlcr.evaluation.runs import KINDS
from dlcr.reporting.results import Result, difference, estimate, query_scores

MEASURES = ("top1", "map")
ENDS = ("", "_std", "_low", "_high", "_difference", "_difference_low", "_difference_high", "_p")
"""What a table says of a measure, by the end of the column's name."""
NEEDED = {
    "plain": "clothes-changing queries",
    "refined": "a query set for refinement",
    "reranked": "`rerank: true`",
    "averaged": "a query set, and without faces",
    "centralized": "`rerank: true`",
}
"""By kind of ranking, what an evaluation lacks if it has no scores of that kind."""
LATER = {"averaged": "refined", "centralized": "reranked"}
"""Kinds that are computed with another one, but were not always: an evaluation with that one alone is an older one,
whose row counts as not run."""

Ranked = tuple[Result | None, str]
"""An evaluation, None if it was not run, and which of its rankings: a kind of `KINDS`."""
Compare = Callable[[Ranked, Ranked], dict]


def comparer() -> Compare:
    """`compare(ranked, base)`: a row's numbers in percent, in the setting that the evaluation's tables report.

    They are `evaluation`, `seeds`, `queries` and of each measure its mean over seeds, standard deviation (NaN with one
    seed), 95 % interval, and the difference to `base` with its interval and p value, over the seeds that both have.
    Only what there is: no numbers if it was not run, no difference if `base` was not, is the same or has other seeds.
    Each is computed once.

    `compare` raises ValueError naming an evaluation without scores of the kind, or two that have not the same queries.
    """
    found: dict[tuple, dict] = {}

    def compare(ranked: Ranked, base: Ranked) -> dict:
        ranked, base = _there(*ranked), _there(*base)
        if ranked[0] is None:
            return {"evaluation": None}
        keys = tuple((result.folder, kind) for result, kind in (ranked, base) if result is not None)
        if keys[0] not in found:
            found[keys[0]] = _scored(*ranked)
        if len(keys) == 1 or keys[0] == keys[1]:
            return found[keys[0]]
        if keys not in found:
            found[keys] = _differences(ranked, base)
        return found[keys[0]] | found[keys]

    return compare


def _there(result: Result | None, kind: str) -> Ranked:
    """The ranking, with None for an evaluation that is older than its kind."""
    has = result.scores["mean"] if result else {}
    setting = result.setting if result else ""
    older = kind in LATER and setting + KINDS[kind] not in has and setting + KINDS[LATER[kind]] in has
    return (None if older else result), kind


def means(result: Result, setting: str) -> dict:
    """`seeds`, and of each measure the mean over seeds and its deviation, `_std` (percent; NaN with one seed).

    Raises KeyError for a setting that the evaluation does not have.
    """
    mean, std, seeds = result.scores["mean"][setting], result.scores["std"][setting], len(result.scores["seeds"])
    spreads = {f"{measure}_std": std[measure] if seeds > 1 else np.nan for measure in MEASURES}
    return {"seeds": seeds} | {measure: mean[measure] for measure in MEASURES} | spreads


def joined(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    """Rows of `compare` as a table: `columns`, then evaluation, seeds, queries, and of each measure the paper's number
    and this run's; NaN where a row has none."""
    columns = [*columns, "evaluation", "seeds", "queries"]
    for measure in MEASURES:
        columns += [f"paper_{measure}", *(f"{measure}{end}" for end in ENDS)]
    return pd.DataFrame(rows, columns=None if rows else columns).reindex(columns=columns, fill_value=np.nan)


def _scored(result: Result, kind: str) -> dict:
    setting = result.setting + KINDS[kind]
    if setting not in result.scores["mean"]:
        raise ValueError(
            f"{result.folder / 'scores.json'}: no setting {setting!r}: this row needs an evaluation with {NEEDED[kind]}"
        )
    row: dict = {"evaluation": result.name} | means(result, setting)
    for measure in MEASURES:
        table = query_scores(result, kind, measure)
        found = estimate(table)
        row |= {"queries": len(table), f"{measure}_low": found.low, f"{measure}_high": found.high}
    return row


def _differences(ranked: Ranked, base: Ranked) -> dict:
    row = {}
    for measure in MEASURES:
        try:
            paired = difference(query_scores(*ranked, measure), query_scores(*base, measure))
        except ValueError as error:
            raise ValueError(f"{ranked[0].name} and {base[0].name}: {error}") from error
        if paired is None:
            continue
        row |= {
            f"{measure}_difference": paired.mean,
            f"{measure}_difference_low": paired.low,
            f"{measure}_difference_high": paired.high,
            f"{measure}_p": paired.p_value,
        }
    return row
