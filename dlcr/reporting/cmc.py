"""Cumulative matching: the share of queries whose person is among the first r gallery images, for r from 1 to 10."""

import numpy as np

from dlcr.reporting.results import Result

RANKS = 10


def curves(result: Result) -> dict[str, np.ndarray]:
    """By kind (plain, refined, ...) the percentage of the queries that count whose person is found by rank 1, 2, ...,
    `RANKS`, mean over the training seeds: float [RANKS]."""
    kinds = result.queries["kind"].unique()
    ranks = {kind: result.outcomes(kind)["rank"].to_numpy() for kind in kinds}
    return {kind: _curve(found) for kind, found in ranks.items() if len(found)}


def _curve(first: np.ndarray) -> np.ndarray:
    return np.array([100 * float((first <= rank).mean()) for rank in range(1, RANKS + 1)])
