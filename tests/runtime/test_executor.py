"""Chunks here: in order, one payload ahead, and clear errors for a wrong environment. On Ray: test_executor_ray.py."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from types import SimpleNamespace

import pytest

from dlcr.runtime import executor
from dlcr.runtime.executor import Work, run_chunks


def test_here_chunks_come_in_order_with_one_payload_ahead() -> None:
    happened: list[str] = []
    made: list[int] = []

    def build() -> Work:
        happened.append("build")
        return lambda payload: happened.append(f"work {payload}") or 2 * payload

    def chunks() -> Iterator[tuple[str, Callable[[], int]]]:
        for number in range(5):
            yield f"k{number}", partial(lambda number: made.append(number) or number, number)

    results = run_chunks(build, chunks())
    assert happened == made == []
    for number, (key, result) in enumerate(results):
        assert (key, result) == (f"k{number}", 2 * number)
        assert len(made) <= number + 2
        happened.append(f"took {number}")
    assert happened == ["build"] + [f"{what} {number}" for number in range(5) for what in ("work", "took")]
    assert made == list(range(5))


def test_here_the_next_payload_is_made_during_the_work() -> None:
    made = threading.Event()
    chunks = [("a", lambda: None), ("b", lambda: made.set())]
    works = run_chunks(lambda: lambda payload: made.wait(30), chunks)
    assert next(works) == ("a", True)


def test_here_several_cores_have_a_process_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLCR_WORKERS")
    monkeypatch.setattr(executor.determinism, "core_count", lambda: 2)
    chunks = [(number, partial(int, number)) for number in range(5)]
    assert dict(run_chunks(partial(attrgetter, "real"), chunks)) == {number: number for number in range(5)}
    here = []  # a list of this process: one chunk is worked on in it
    assert dict(run_chunks(lambda: here.append, chunks[:1])) == {0: None}
    assert here == [0]


@pytest.mark.parametrize("mode", ["local", "ray"])
def test_nothing_is_built_without_chunks(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCR_EXECUTOR", mode)
    monkeypatch.setitem(sys.modules, "ray", None)  # not even imported
    assert list(run_chunks(lambda: pytest.fail("built"), iter(()))) == []


@pytest.mark.parametrize("place", ["work", "payload"])
def test_here_errors_pass_unchanged_after_what_was_finished(place: str) -> None:
    error = ValueError("a.jpg: not an image")

    def fail(payload: int = 1) -> int:
        if payload == 1:
            raise error
        return payload

    chunks = [("a", lambda: 0), ("b", fail if place == "payload" else lambda: 1), ("c", lambda: 2)]
    results = run_chunks(lambda: fail if place == "work" else lambda payload: payload, chunks)
    assert next(results) == ("a", 0)
    with pytest.raises(ValueError, match="not an image") as raised:
        next(results)
    assert raised.value is error


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DLCR_EXECUTOR": "slurm"}, "DLCR_EXECUTOR='slurm' is unknown; expected local or ray"),
        ({"DLCR_EXECUTOR": "ray", "DLCR_WORKERS": "0"}, "DLCR_WORKERS must be a positive integer, got '0'"),
        ({"DLCR_EXECUTOR": "ray", "DLCR_WORKERS": "two"}, "DLCR_WORKERS must be a positive integer, got 'two'"),
    ],
)
def test_a_wrong_environment_is_refused_at_once(variables: dict, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        run_chunks(list, [])


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("head", ValueError, "RAY_ADDRESS=head: expected host:port of a running cluster, or local"),
        ("ray://head:10001", ValueError, "RAY_ADDRESS=ray://head:10001: expected host:port"),
        ("127.0.0.1:1", ConnectionError, r"RAY_ADDRESS=127\.0\.0\.1:1: no Ray cluster answers there \(.*refused"),
    ],
)
def test_an_address_without_a_cluster_is_named(
    address: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLCR_EXECUTOR", "ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(error, match=message):
        next(run_chunks(list, [("a", dict)]))


def test_missing_ray_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCR_EXECUTOR", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'dlcr\[ray\]'"):
        next(run_chunks(list, [("a", dict)]))


@pytest.mark.parametrize("guilty", [True, False])
def test_chunks_of_a_dead_worker_are_sent_one_at_a_time(guilty: bool) -> None:
    """The answer before a death can be lost, so that only a chunk on its own is surely the one that kills.

    When the worker's node died with it, nobody is to blame.
    """
    ray = SimpleNamespace(cluster_resources=dict, kill=lambda actor: None, remote=lambda **_: lambda actor: actor)
    actor = SimpleNamespace(work=SimpleNamespace(remote=lambda payload: None))
    a, b, c = (executor._Chunk(key, str) for key in "abc")
    pool = executor._Pool(ray, list, iter(()), "chunk", 1, None)
    pool.waiting.append(c)
    dead = executor._Worker(actor, deque([(b, None)]), answers=2)
    pool.workers.append(dead)
    with pytest.warns(UserWarning, match="^chunk a and b: lost with a worker that died, made again$"):
        pool._bury(dead, a, OSError("killed"), guilty)
    assert [a.deaths, b.deaths] == [guilty, 0]
    pool.workers = [executor._Worker(actor, deque(), answers=2) for _ in range(2)]
    pool._send()
    held = [[chunk.key for chunk in worker.chunks] for worker in pool.workers]
    assert held == ([["a"], ["b"]] if guilty else [["a", "c"], ["b"]])
