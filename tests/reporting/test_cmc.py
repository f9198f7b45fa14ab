"""Cumulative matching: counted over the queries of the metrics, of the first seed, and in agreement with its top-1."""

import pandas as pd
import pytest

from dlcr.reporting.cmc import curves
from dlcr.reporting.results import Result


@pytest.fixture
def result(tmp_path) -> Result:
    """Of four queries one is found at rank 1, one at 3, one not at all, one does not count; refined all at 1."""
    found = {"a": [True, False, False], "b": [False, False, True], "c": [False] * 3, "unmatched": [False] * 3}
    rows = [
        {"query": query, "rank": at + 1, "gallery": f"g{at}", "similarity": 0.5, "correct": right, "refined": refined}
        for query, rights in found.items()
        for refined in (False, True)
        for at, right in enumerate([True] * 3 if refined else rights)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "rankings.parquet")
    queries = pd.DataFrame({"image_id": ["a", "b", "c"], "subject": "s", "hit": [1, 0, 0], "ap": 0.5})
    queries = pd.concat(
        queries.assign(seed=seed, setting="cc", kind=kind) for seed in (3, 1) for kind in ("plain", "refined")
    )
    return Result("r", tmp_path, {"mean": {"cc": {}}}, queries)


def test_the_share_that_is_found_by_each_rank(result: Result) -> None:
    found = curves(result)
    assert found["plain"].tolist() == pytest.approx([100 / 3] * 2 + [200 / 3] * 8)
    assert found["refined"].tolist() == [100.0] * 10


def test_no_refined_rankings_no_such_curve(result: Result) -> None:
    table = pd.read_parquet(result.folder / "rankings.parquet")
    table[~table["refined"]].to_parquet(result.folder / "rankings.parquet")
    assert list(curves(result)) == ["plain"]
