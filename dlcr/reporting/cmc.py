"""Cumulative matching: the share of queries whose person is among the first r gallery images, for r from 1 to 10.

Evaluations keep the first ten gallery images of their first training seed, so these numbers are of that seed alone.
"""

import numpy as np
import pandas as pd

from dlcr.reporting.results import Result, load_rankings

RANKS = 10


def curves(result: Result) -> dict[str, np.ndarray]:
    """By kind (plain, and refined where there are rankings of it) the percentage of the queries that count for the
    metrics whose person is found by rank 1, 2, ..., `RANKS`: float [RANKS]."""
    table = load_rankings(result)
    kinds = {"plain": table[~table["refined"].astype(bool)], "refined": table[table["refined"].astype(bool)]}
    return {kind: _curve(rows, _counted(result, kind)) for kind, rows in kinds.items() if len(rows)}


def _counted(result: Result, kind: str) -> pd.Index:
    rows = result.queries
    rows = rows[(rows["setting"] == result.setting) & (rows["kind"] == kind) & (rows["seed"] == rows["seed"].min())]
    return pd.Index(rows["image_id"])


def _curve(ranking: pd.DataFrame, queries: pd.Index) -> np.ndarray:
    first = ranking[ranking["correct"].astype(bool)].groupby("query")["rank"].min().reindex(queries)
    return np.array([100 * float((first <= rank).mean()) for rank in range(1, RANKS + 1)])
