"""Which share of the oracle's gain inpainting reaches."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dlcr.reporting.measured import MEASURES
from dlcr.reporting.paper import ORACLE
from dlcr.reporting.results import Result, estimate, query_scores, same_queries


def share_of_gain(base: pd.DataFrame, method: pd.DataFrame, oracle: pd.DataFrame) -> dict[str, float]:
    """Which share of the oracle's gain over the baseline a method reaches: (method - base) / (oracle - base),
    of means.

    base, method, oracle: as from `query_scores`; the training seeds that all have count.

    Returns share, low, high as fractions (1 is all of the gain), the interval by the delta method: that of
    method - base - share (oracle - base), divided by the oracle's gain. All are NaN where the oracle gains nothing, the
    interval also where it is not shown to gain: a ratio with such a denominator says nothing.
    """
    nothing = {"share": np.nan, "low": np.nan, "high": np.nan}
    base, method, oracle = same_queries(base, method, oracle)
    if base.columns.empty:
        return nothing
    gain, bound = estimate(method - base).mean, estimate(oracle - base)
    if bound.mean <= 0:
        return nothing
    share = gain / bound.mean
    if not bound.low > 0:
        return nothing | {"share": share}
    error = estimate(method - base - share * (oracle - base))
    return {"share": share, "low": share + error.low / bound.mean, "high": share + error.high / bound.mean}


def gain_shares(results: Mapping[str, Result | None]) -> dict[str, dict[str, float]]:
    """`share_of_gain` of row 5 (inpainting, progressive learning, no refinement) by measure; {} if a row was
    not run."""
    needed = [results.get(row) for row in ("1", "5", ORACLE)]
    if None in needed:
        return {}
    return {
        measure: share_of_gain(*(query_scores(result, "plain", measure) for result in needed)) for measure in MEASURES
    }
