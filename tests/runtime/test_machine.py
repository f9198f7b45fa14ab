"""Progress, determinism, timings and how a stage ends."""

import os
import sys
import warnings
from pathlib import Path

import pytest
import torch
import typer

from dlcr.runtime import determinism, timing
from dlcr.runtime import progress as progress_module
from dlcr.runtime.determinism import set_up, thread_count, worker_count
from dlcr.runtime.progress import progress
from dlcr.runtime.stage import run_stage


def test_progress_in_a_log(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    with progress(1000, "parse") as bar:
        for _ in range(10):
            bar.update(100)
    lines = capsys.readouterr().err.splitlines()
    assert 2 < len(lines) < 10
    assert all(line.startswith("parse: ") and " image/s" in line for line in lines)
    assert "100% 1000/1000" in lines[-1]


def test_progress_shows_where_it_stopped(capsys: pytest.CaptureFixture) -> None:
    def work() -> None:
        with progress(4, "work", unit="batch") as bar:
            bar.update(1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert "25% 1/4" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, -1, "many", 1.5])
def test_threads_are_positive_integers(threads: object) -> None:
    with pytest.raises(ValueError, match="DLCR_THREADS"):
        set_up(threads)


def test_set_up_takes_threads_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # restored after the test; a user's own value stays
    monkeypatch.setenv("DLCR_THREADS", "2")
    try:
        set_up()
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, True)
        set_up(threads=1)
        assert torch.get_num_threads() == 1
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])


def test_the_cores_are_for_processes_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "core_count", lambda: 8)
    for name in ("DLCR_THREADS", "DLCR_WORKERS"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(determinism, "has_gpu", lambda: False)
    assert (thread_count(), worker_count(20), worker_count(3)) == (1, 8, 3)
    monkeypatch.setenv("DLCR_THREADS", "3")
    assert (thread_count(), worker_count(20)) == (3, 2)
    monkeypatch.setenv("DLCR_THREADS", "16")
    assert worker_count(20) == 1
    monkeypatch.delenv("DLCR_THREADS")
    monkeypatch.setenv("DLCR_WORKERS", "5")
    assert worker_count(20) == 5
    monkeypatch.setattr(determinism, "has_gpu", lambda: True)  # one process has it, the rest is for its threads
    assert (thread_count(), worker_count(20)) == (8, 1)


def test_a_gpu_is_where_pytorch_finds_one() -> None:
    assert determinism.has_gpu() == torch.cuda.is_available()


def test_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert timing.load_all().columns.tolist() == ["stage", "name"]
    timing.record("parse", "minicc", seconds=2.0, images=10)
    timing.record("inpaint", "minicc", seconds=1.0)
    timing.record("parse", "minicc", seconds=3.0, images=10)
    table = timing.load_all()
    assert table["stage"].tolist() == ["inpaint", "parse"]
    assert table["seconds"].tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="names hold"):
        timing.record("parse", "../x")
    assert timing.peak_memory_mb() > 10


def _end(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> int:
    app = typer.Typer(add_completion=False)

    @app.command()
    def main(name: str) -> None:
        warnings.warn(f"{name} is odd", stacklevel=1)
        if error is not None:
            raise error

    monkeypatch.setattr(sys, "argv", ["stage", "minicc"])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # restored after the test
    with pytest.raises(SystemExit) as end, warnings.catch_warnings(record=True):
        run_stage(app)
    return end.value.code


@pytest.mark.parametrize("error", [ValueError("a.csv: row 3\n  is bad"), FileNotFoundError("a.csv: row 3 is bad")])
def test_bad_input_ends_in_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert _end(error, monkeypatch) == 1
    assert capsys.readouterr().err == "error: a.csv: row 3 is bad\n"
    assert warnings.formatwarning(UserWarning("odd"), UserWarning, "x.py", 1) == "warning: odd\n"


def test_success_and_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _end(None, monkeypatch) == 0
    with pytest.raises(ZeroDivisionError):
        _end(ZeroDivisionError(), monkeypatch)
