"""The benchmark of evaluation runs, and what it compares gives the same scores. Its times are not tested."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_evaluation", repository / "benchmarks" / "evaluation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE", 0)
    return module


def test_the_usual_way_gives_the_same_scores(benchmark: ModuleType) -> None:
    found = benchmark.prcc(0.05)
    assert 0.3 < found["top-1"] < 1
    assert found["difference of top-1 to the usual way"] < 1e-6
    assert found["difference of mAP to the usual way"] < 1e-6


@pytest.mark.parametrize("case", ["last", "refine", "rerank"])
def test_every_case_prints_json(benchmark: ModuleType, case: str) -> None:
    result = CliRunner().invoke(benchmark.app, ["--case", case, "--scale", "0.01"])
    assert result.exit_code == 0, result.output
    assert all(value >= 0 for value in json.loads(result.output).values())
