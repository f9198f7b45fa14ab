"""The benchmark of evaluation runs, and what it compares gives the same scores. Its times are not tested."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import evaluation as benchmark


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "PAUSE", 0)


def test_the_usual_way_gives_the_same_scores() -> None:
    found = benchmark.prcc(0.05)
    assert 0.3 < found["top-1"] < 1
    assert found["difference of top-1 to the usual way"] < 1e-6
    assert found["difference of mAP to the usual way"] < 1e-6


@pytest.mark.parametrize("case", ["last", "refine", "rerank"])
def test_every_case_prints_json(case: str) -> None:
    result = CliRunner().invoke(benchmark.app, ["--case", case, "--scale", "0.01"])
    assert result.exit_code == 0, result.output
    assert all(value >= 0 for value in json.loads(result.output).values())
