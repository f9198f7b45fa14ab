"""Which share of the oracle's gain inpainting reaches."""

from collections.abc import Mapping

import numpy as np

from dlcr.reporting.measured import MEASURES
from dlcr.reporting.paper import ORACLE
from dlcr.reporting.results import Result, aligned, per_query


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
