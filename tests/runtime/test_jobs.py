"""Jobs in processes: results in order, messages, and one clear error with nothing left running."""

import os
import signal
import time

import pytest

from dlcr.runtime.jobs import run_jobs


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
