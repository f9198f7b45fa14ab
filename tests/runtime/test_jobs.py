"""Jobs and workers in processes: results, messages, and one clear error with nothing left running."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from dlcr.runtime.jobs import THREADS, run_jobs, run_workers


def _double(number: int, send) -> int:
    send(number)
    return 2 * number


def _fail(kind: str, send) -> None:
    if kind == "value":
        raise ValueError("epoch 3 went wrong")
    if kind == "bug":
        raise KeyError("missing")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    messages = []
    assert run_jobs(_double, [(1,), (2,), (3,)], workers, messages.append) == [2, 4, 6]
    assert sorted(messages) == [1, 2, 3]


def _process(send) -> int:
    time.sleep(0.05)
    return os.getpid()


def test_a_process_takes_one_job_after_the_other() -> None:
    """What it imported serves all of them; there are no more processes than jobs."""
    assert len(set(run_jobs(_process, [()] * 8, 2, print)) - {os.getpid()}) <= 2
    assert len(set(run_jobs(_process, [()] * 2, 5, print))) <= 2
    assert multiprocessing.active_children() == []
    assert run_jobs(_process, [], 2, print) == []


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("value", ValueError, "^epoch 3 went wrong$"),
        ("bug", RuntimeError, "KeyError: 'missing'"),
        ("killed", ChildProcessError, "exit code -9"),
    ],
)
def test_a_failure_ends_the_others(kind: str, error: type[Exception], message: str) -> None:
    start = time.monotonic()
    with pytest.raises(error, match=message):
        run_jobs(_fail, [("sleep",), (kind,)], 2, print)
    assert time.monotonic() - start < 30


def build(folder: Path, deed: str = "") -> Callable[[bytes], tuple]:
    """Work that tells its process and threads, and that something is odd; `deed`: what the payload 1 does instead."""
    import torch

    (folder / f"built-{os.getpid()}").touch()

    def work(payload: bytes) -> tuple:
        number = payload[0]
        while deed == "share" and len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        if number == 1 and deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 1 and deed == "fail":
            raise FileNotFoundError(2, "no such weights", "model.safetensors")
        if number == 1 and deed == "odd":
            raise Odd("a", "b")
        if number % 2:
            warnings.warn(f"{number} is odd", stacklevel=2)
        return number, len(payload), os.getpid(), torch.get_num_threads(), [os.environ[name] for name in THREADS]

    return work


class Odd(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def payload(number: int) -> bytes:
    return bytes([number]) * 2_000_000  # more than a pipe holds


def chunks(count: int) -> list:
    return [(f"chunk {number}", partial(payload, number)) for number in range(count)]


def test_workers_share_the_chunks_and_load_once(tmp_path: Path) -> None:
    before = {name: os.environ.get(name) for name in THREADS}
    with pytest.warns(UserWarning, match="is odd"):
        results = dict(run_workers(partial(build, tmp_path, "share"), chunks(7), 2, 1, "parse"))
    assert {key: value[:2] for key, value in results.items()} == {f"chunk {n}": (n, 2_000_000) for n in range(7)}
    processes = {value[2] for value in results.values()}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {path.name for path in tmp_path.iterdir()} == {f"built-{process}" for process in processes}
    assert {(value[3], *value[4]) for value in results.values()} == {(1, "1", "1", "1")}
    assert {name: os.environ.get(name) for name in THREADS} == before
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("deed", "error", "message"),
    [
        ("kill", ChildProcessError, r"parse chunk 1: a worker process ended with exit code -9"),
        ("fail", FileNotFoundError, "no such weights"),
        ("odd", RuntimeError, r"Odd: a"),  # which cannot be sent as it is
    ],
)
def test_a_workers_failure_ends_the_others(tmp_path: Path, deed: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        list(run_workers(partial(build, tmp_path, deed), chunks(9), 2, 1, "parse"))
    assert error is not FileNotFoundError or raised.value.filename == "model.safetensors"
    assert not multiprocessing.active_children()


def test_closing_ends_the_workers(tmp_path: Path) -> None:
    with closing(run_workers(partial(build, tmp_path), chunks(9), 2, 1, "parse")) as results:
        next(results)
        assert len(multiprocessing.active_children()) == 2
    assert not multiprocessing.active_children()


ENDS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import test_jobs
if __name__ == "__main__":
    build = test_jobs.partial(test_jobs.build, Path({out!r}))
    results = test_jobs.run_workers(build, test_jobs.chunks(99), 2, 1, "parse")
    next(results), next(results)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    program = tmp_path / "ends.py"
    program.write_text(ENDS.format(folder=str(Path(__file__).parent), out=str(tmp_path / "out")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, program], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    for path in (tmp_path / "out").iterdir():
        for _ in range(600):
            if not Path("/proc", path.name.partition("-")[2]).exists():
                break
            time.sleep(0.05)
        else:
            raise AssertionError(f"{path.name} still runs")
