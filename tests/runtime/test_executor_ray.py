"""Chunks on Ray: the results of here, nothing done twice, and clear errors when workers die.

The tests share one cluster of two nodes with a CPU each, on this machine.
"""

import os
import signal
import sys
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count, takewhile
from pathlib import Path

import pytest

from dlcr.runtime import executor
from dlcr.runtime.executor import Work, run_chunks

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def _build(folder: Path, deed: Callable[[Path, str], None] | None = None) -> Work:
    """Loads a model of 64 numbers. The work writes down each run, does `deed`, and multiplies the payload."""
    import torch

    (folder / f"built-{os.getpid()}-{uuid.uuid4().hex}").touch()
    weights = torch.rand((64, 64), generator=torch.Generator().manual_seed(0))

    def work(payload: dict) -> bytes:
        (folder / f"ran-{payload['name']}-{os.getpid()}-{uuid.uuid4().hex}").touch()
        if deed is not None:
            deed(folder, payload["name"])
        rows = torch.frombuffer(bytearray(payload["image"]), dtype=torch.uint8).reshape(-1, 64)
        return torch.softmax(rows.float() @ weights, 1).numpy().tobytes()

    return work


def _payload(number: int) -> dict:
    return {"name": str(number), "image": bytes((number + i) % 256 for i in range(6400))}


def _chunks(numbers: range) -> list[tuple[str, Callable[[], dict]]]:
    return [(str(number), partial(_payload, number)) for number in numbers]


def _endless(enough: Callable[[int], bool]) -> Iterator[tuple[str, Callable[[], dict]]]:
    """Chunks until there are enough: what a test waits for may take long on a busy machine."""
    numbers = takewhile(lambda number: not enough(number), count())
    return ((str(number), partial(_payload, number)) for number in numbers)


def _runs(folder: Path) -> Counter:
    """How often each chunk was begun."""
    return Counter(path.name.split("-")[1] for path in folder.glob("ran-*"))


def _processes(folder: Path) -> set[int]:
    return {int(path.name.split("-")[1]) for path in folder.glob("built-*")}


def _ended(process: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True


def _wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A head and one node."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    nodes.add_node(**NODE)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()


@pytest.fixture
def on_ray(cluster: object, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("DLCR_EXECUTOR", "ray")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.delenv("DLCR_WORKERS")
    return cluster


def _here(tmp_path: Path, numbers: range) -> dict[str, bytes]:
    """The results that are expected."""
    folder = tmp_path / "here"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCR_EXECUTOR", "local")
        return dict(run_chunks(partial(_build, folder), _chunks(numbers)))


@pytest.mark.slow
def test_ray_gives_the_bytes_of_here_and_builds_once_a_worker(on_ray: object, tmp_path: Path) -> None:
    results = list(run_chunks(partial(_build, tmp_path, _nap), _chunks(range(20))))
    assert len(results) == 20
    assert dict(results) == _here(tmp_path, range(20))
    assert _runs(tmp_path) == {str(number): 1 for number in range(20)}
    assert len(_processes(tmp_path)) == len(list(tmp_path.glob("built-*"))) == 2


def _nap(folder: Path, name: str) -> None:
    time.sleep(0.2)


@pytest.mark.slow
def test_a_node_that_is_lost_costs_its_unfinished_chunks_only(on_ray: object, tmp_path: Path) -> None:
    """A third node is killed while a chunk hangs there; the stream of chunks does not end before."""
    node = on_ray.add_node(**NODE)
    on_ray.wait_for_nodes()
    (tmp_path / node.node_id).touch()
    killed = threading.Event()

    def kill() -> None:
        if _wait_for(lambda: (tmp_path / "hangs").exists(), 100):
            on_ray.remove_node(node, allow_graceful=False)
        killed.set()

    chunks = _endless(lambda number: number >= 20 and killed.is_set())
    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.warns(UserWarning, match=r"^image \d+.*: lost with a worker that died"):
        results = list(run_chunks(partial(_build, tmp_path, _hang_on_lost_node), chunks, "image"))
    thread.join()
    hung = (tmp_path / "hangs").read_text()
    assert len(results) == len(dict(results)) >= 20
    assert dict(results) == _here(tmp_path, range(len(results)))
    assert _runs(tmp_path) == {str(number): 1 + (str(number) == hung) for number in range(len(results))}


def _hang_on_lost_node(folder: Path, name: str) -> None:
    """The second chunk on the marked node hangs."""
    import ray

    if not (folder / ray.get_runtime_context().get_node_id()).exists():
        time.sleep(0.3)
    elif (folder / "one").exists():
        (folder / "hangs.part").write_text(name)
        (folder / "hangs.part").rename(folder / "hangs")
        time.sleep(300)
    else:
        (folder / "one").touch()


@pytest.mark.slow
def test_a_killed_worker_costs_its_chunk_only_and_is_replaced(on_ray: object, tmp_path: Path) -> None:
    chunks = _endless(lambda number: number >= 8 and len(_processes(tmp_path)) == 3)
    with pytest.warns(UserWarning, match=r"^chunk 3.*: lost with a worker that died"):
        results = dict(run_chunks(partial(_build, tmp_path, _kill_first_worker), chunks))
    assert results == _here(tmp_path, range(len(results)))
    assert _runs(tmp_path) == {str(number): 1 + (number == 3) for number in range(len(results))}
    assert len(_processes(tmp_path)) == 3


def _kill_first_worker(folder: Path, name: str) -> None:
    if name == "3" and not (folder / "killed").exists():
        (folder / "killed").touch()
        time.sleep(1)  # so that the answer before is on its way
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)


@pytest.mark.slow
def test_a_chunk_that_always_kills_its_worker_is_named(
    on_ray: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kills at once, so that the answer of the chunk before may be lost as well."""
    monkeypatch.setenv("DLCR_WORKERS", "1")
    with (
        pytest.warns(UserWarning, match=r"^image .*: lost with a worker that died"),
        pytest.raises(
            ChildProcessError, match=r"^image 1: its worker died 3 times over it \(often for lack of memory\)"
        ),
    ):
        list(run_chunks(partial(_build, tmp_path, _kill_every_worker), _chunks(range(6)), "image"))
    assert _runs(tmp_path)["1"] in (3, 4)


def _kill_every_worker(folder: Path, name: str) -> None:
    if name == "1":
        os.kill(os.getpid(), signal.SIGKILL)


def _die(folder: Path) -> Work:
    (folder / f"built-{os.getpid()}-").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _refuse() -> Work:
    raise FileNotFoundError("models/mini/parser: no config.json")


def _fail(folder: Path, name: str) -> None:
    if name == "2":
        warnings.warn("odd image", stacklevel=1)
    if name == "4":
        raise ValueError("b.jpg: not an image")


@pytest.mark.slow
def test_errors_pass_unchanged_from_ray(on_ray: object, tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match="^odd image$"),
        pytest.raises(ValueError, match=r"^b\.jpg: not an image$") as raised,
    ):
        list(run_chunks(partial(_build, tmp_path, _fail), _chunks(range(10))))
    assert type(raised.value) is ValueError
    assert _runs(tmp_path)["4"] == 1  # not tried again
    with pytest.raises(FileNotFoundError, match=r"^models/mini/parser: no config\.json$") as refused:
        next(run_chunks(_refuse, _chunks(range(3))))
    assert type(refused.value) is FileNotFoundError


@pytest.mark.slow
def test_workers_that_die_while_they_load_are_not_replaced_for_ever(on_ray: object, tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"^[34] workers in a row died while they loaded the model; the last: "):
        next(run_chunks(partial(_die, tmp_path), _chunks(range(10))))
    assert len(_processes(tmp_path)) <= 4


@pytest.mark.slow
def test_a_cluster_without_room_is_an_error_in_time(on_ray: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCR_THREADS", "64")
    monkeypatch.setattr(executor, "PLACE_SECONDS", 1.0)
    with pytest.raises(TimeoutError, match="no room for a worker within 1 s: a worker needs 64 CPU on one node"):
        next(run_chunks(list, _chunks(range(1))))


@pytest.mark.slow
def test_closing_early_ends_the_workers(on_ray: object, tmp_path: Path) -> None:
    with closing(run_chunks(partial(_build, tmp_path, _nap), _chunks(range(100)))) as results:
        next(results)
        processes = _processes(tmp_path)
        assert processes
        assert not any(_ended(process) for process in processes)
    assert _wait_for(lambda: all(_ended(process) for process in _processes(tmp_path)))
    assert sum(_runs(tmp_path).values()) < 10


@pytest.mark.slow
def test_ray_is_started_and_ended_where_no_cluster_is_named(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DLCR_WORKERS says how many; nothing is said to the running cluster, which Ray by itself would have joined."""
    import ray

    monkeypatch.setenv("DLCR_EXECUTOR", "ray")
    monkeypatch.setenv("DLCR_WORKERS", "2")
    chunks = _endless(lambda number: number >= 8 and len(_processes(tmp_path)) == 2)
    results = run_chunks(partial(_build, tmp_path, _nap), chunks)
    first = next(results)
    assert ray.cluster_resources()["CPU"] == 2
    assert len(ray.nodes()) == 1
    given = dict([first, *results])
    assert given == _here(tmp_path, range(len(given)))
    assert not ray.is_initialized()
    assert len(_processes(tmp_path)) == 2
    assert _wait_for(lambda: all(_ended(process) for process in _processes(tmp_path)))


@pytest.mark.slow
def test_where_there_are_gpus_each_is_one_workers(on_ray: object, tmp_path: Path) -> None:
    """Two GPUs that Ray is told of, on a node with one CPU."""
    node = on_ray.add_node(**NODE, num_gpus=2)
    on_ray.wait_for_nodes()
    try:
        chunks = _endless(lambda number: number >= 8 and len(_processes(tmp_path)) == 2)
        results = dict(run_chunks(partial(_build, tmp_path, _note_gpu), chunks))
    finally:
        on_ray.remove_node(node)
    assert len(results) >= 8
    assert {path.name for path in tmp_path.glob("gpu-*")} == {f"gpu-0-{node.node_id}", f"gpu-1-{node.node_id}"}
    assert len(_processes(tmp_path)) == 2


def _note_gpu(folder: Path, name: str) -> None:
    import ray

    (folder / f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}-{ray.get_runtime_context().get_node_id()}").touch()
    time.sleep(0.2)
