"""Cumulative matching: counted over the queries of the metrics and over the seeds, and in agreement with top-1."""

import numpy as np
import pandas as pd
import pytest

from dlcr.reporting.cmc import curves
from dlcr.reporting.results import Result


@pytest.fixture
def result(tmp_path) -> Result:
    """Of three queries one is found at rank 1, one at 3, one at 12; refined all at 1. In a second seed one later."""
    ranks = {"plain": [1, 3, 12], "refined": [1, 1, 1]}
    tables = [
        pd.DataFrame({"image_id": ["a", "b", "c"], "subject": "s", "rank": np.add(found, late), "ap": 0.5}).assign(
            seed=seed, setting="cc", kind=kind
        )
        for kind, found in ranks.items()
        for seed, late in ((1, 0), (3, 1))
    ]
    return Result("r", tmp_path, {"mean": {"cc": {}}}, pd.concat(tables))


def test_the_share_that_is_found_by_each_rank(result: Result) -> None:
    found = curves(result)
    assert found["plain"].tolist() == pytest.approx([100 / 6, 200 / 6, 300 / 6] + [400 / 6] * 7)
    assert found["refined"].tolist() == [50.0] + [100.0] * 9


def test_other_settings_do_not_count(result: Result) -> None:
    result.queries.loc[result.queries["kind"] == "refined", "setting"] = "sc"
    assert list(curves(result)) == ["plain"]
