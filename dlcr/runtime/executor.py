"""Where chunks of work run: in processes of this machine, or on the workers of a Ray cluster. The results are the same
bytes.

A chunk is what becomes one output file of a stage. The executor comes from the environment, never from params, as where
a stage ran must not change its hash:

    DLCR_EXECUTOR  local (default) | ray
    RAY_ADDRESS    an existing cluster, host:port; without it Ray is started on this machine, and ended afterwards
    DLCR_WORKERS   at most so many workers; default: as many as there is room for
    DLCR_THREADS   threads of a worker, as in `dlcr.runtime.determinism`

A worker is one process with one model. Here there is one for each core, by default; beside a GPU, or where there is
only one chunk, this process does the work. On Ray a worker has a GPU of its own where the cluster has any, else as many
CPUs as it has threads. Nodes need the same `dlcr` and the weights (a folder of weights at the same path as here), but
no shared disk for images. A cluster with a token, as Ray 2.60 makes them, takes RAY_AUTH_MODE=token and the same token
everywhere.
"""

import logging
import os
import socket
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

from dlcr.runtime import determinism
from dlcr.runtime.jobs import run_workers

Key = Hashable
Work = Callable[[Any], Any]

MOST_DEATHS = 3  # of workers over one chunk, or in a row over loading the model
PLACE_SECONDS = 300.0  # without any worker, as a cluster may first start machines
_LOOK_SECONDS = 5.0  # between looks at the cluster while nothing answers
_AHEAD = 2  # chunks a worker holds: the one it works on and the next


def run_chunks(
    build: Callable[[], Work], chunks: Iterable[tuple[Key, Callable[[], Any]]], desc: str = "chunk"
) -> Generator[tuple[Key, Any], None, None]:
    """Yield (key, result) of every chunk as it is finished: in order by one process, in any order by several.

    build: loads the model and returns the work function, payload -> result. Called once in each worker, and not at all
        without chunks. Must pickle, as must payloads and results: a functools.partial of a module's function.
    chunks: (key, payload maker). A maker is called shortly before its chunk is sent, so that about two payloads a
        worker are in memory, and again when the chunk must be sent again. It returns plain data (encoded images,
        texts) and computes nothing with PyTorch: here it runs in a thread beside the work on the chunk before.
    desc: what stands before a chunk's key in errors.

    The caller writes the files. Workers go on with their next chunk meanwhile; where this process does the work, a
    caller that encodes for long can hand that to a thread of its own. Arrays in payloads and results may be read-only.
    Closing the generator (contextlib.closing) ends all workers, as does its end and any error.

    A worker of Ray that dies, alone or with its node, costs the chunks it had not finished: others make them.
    Exceptions of makers, `build` and work pass through as they are. Raises ValueError for an unknown executor, a
    DLCR_WORKERS that is no positive integer, a RAY_ADDRESS that is no address and for missing Ray; ConnectionError when
    no cluster answers at RAY_ADDRESS; TimeoutError when it has had no room for any worker for PLACE_SECONDS;
    ChildProcessError for a worker that was killed here, or a chunk that killed MOST_DEATHS on Ray, and when workers
    keep dying while they load the model.
    """
    executor = os.environ.get("DLCR_EXECUTOR") or "local"
    if executor == "local":
        return _run_here(build, chunks, desc)
    if executor == "ray":
        return _run_on_ray(build, chunks, desc, determinism.most_workers())
    raise ValueError(f"DLCR_EXECUTOR={executor!r} is unknown; expected local or ray")


def _run_here(build: Callable[[], Work], chunks: Iterable, desc: str) -> Generator[tuple[Key, Any], None, None]:
    rest = iter(chunks)
    chunk = next(rest, None)
    if chunk is None:
        return
    threads, workers = determinism.thread_count(), determinism.worker_count(sys.maxsize)
    first = [chunk, *islice(rest, 1)]
    if workers > 1 and len(first) > 1:
        yield from run_workers(build, chain(first, rest), workers, threads, desc)
        return
    rest = chain(first[1:], rest)
    with ThreadPoolExecutor(1) as thread:
        payload = thread.submit(chunk[1])
        determinism.set_up(threads)
        work = build()
        while chunk is not None:
            key, ready = chunk[0], payload.result()
            chunk = next(rest, None)
            if chunk is not None:
                payload = thread.submit(chunk[1])
            yield key, work(ready)


def _run_on_ray(
    build: Callable[[], Work], chunks: Iterable, desc: str, most: int | None
) -> Generator[tuple[Key, Any], None, None]:
    rest = (_Chunk(key, make) for key, make in chunks)
    first = list(islice(rest, 1))
    if not first:
        return
    threads = determinism.thread_count()
    ray, ours = _connect(threads, most)
    try:
        pool = _Pool(ray, build, chain(first, rest), desc, threads, most)
        try:
            yield from pool.results()
        finally:
            pool.close()
    finally:
        if ours:
            ray.shutdown()


def _connect(threads: int, most: int | None) -> tuple[ModuleType, bool]:
    """Ray, connected to a cluster, and whether it was connected here."""
    address = os.environ.get("RAY_ADDRESS") or "local"  # Ray itself would also look for clusters it was not told of
    if address != "local":
        _reach(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    try:
        import ray
    except ImportError as error:
        raise ValueError("DLCR_EXECUTOR=ray needs Ray; install it with: pip install 'dlcr[ray]'") from error
    if ray.is_initialized():
        return ray, False
    own = {}
    if address == "local":
        own = {"num_cpus": threads * (most or max(1, determinism.core_count() // threads)), "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise ConnectionError(
            f"RAY_ADDRESS={address}: no connection to the Ray cluster; one with a token needs RAY_AUTH_MODE=token and "
            f"the same token here, in RAY_AUTH_TOKEN or ~/.ray/auth_token ({error})"
        ) from error
    return ray, True


def _reach(address: str) -> None:
    """Ray itself would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError(f"RAY_ADDRESS={address}: expected host:port of a running cluster, or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(f"RAY_ADDRESS={address}: no Ray cluster answers there ({error})") from error


class _Actor:
    """A worker's own side: one model, one call at a time. Every call answers (value, warnings)."""

    def place(self) -> tuple[str, list]:
        import ray

        return ray.get_runtime_context().get_node_id(), []

    def load(self, build: Callable[[], Work], threads: int, folder: str) -> tuple[None, list]:
        if Path(folder).is_dir():  # where the driver is, for relative paths of weights
            os.chdir(folder)
        determinism.set_up(threads)
        self._work, seen = _with_warnings(build)
        return None, seen

    def work(self, payload: Any) -> tuple[Any, list]:
        return _with_warnings(self._work, payload)


def _with_warnings(function: Callable, *arguments: Any) -> tuple[Any, list[tuple[str, type[Warning]]]]:
    with warnings.catch_warnings(record=True) as seen:
        value = function(*arguments)
    return value, [(str(warning.message), warning.category) for warning in seen]


@dataclass(eq=False)
class _Chunk:
    key: Key
    make: Callable[[], Any]
    deaths: int = 0  # of workers at this chunk
    suspect: bool = False  # a worker that held it died: it gets one to itself, to tell which chunk kills


@dataclass(eq=False)
class _Worker:
    """An actor as the driver sees it. It answers first where it is, then that the model is loaded, then results."""

    actor: Any
    asked: deque[tuple[_Chunk | None, Any]]  # (chunk, reference to the answer to come), oldest first
    answers: int = 0
    node: str | None = None

    @property
    def loaded(self) -> bool:
        return self.answers >= 2

    @property
    def chunks(self) -> list[_Chunk]:
        return [chunk for chunk, _ in self.asked if chunk is not None]


class _Pool:
    """Workers on a Ray cluster, the chunks they hold, and those that wait to be sent."""

    def __init__(
        self, ray: ModuleType, build: Callable, chunks: Iterator[_Chunk], desc: str, threads: int, most: int | None
    ) -> None:
        self.ray, self.rest, self.desc, self.most = ray, chunks, desc, most
        self.load = build, threads, str(Path.cwd())
        self.resource, self.share = ("GPU", 1) if ray.cluster_resources().get("GPU") else ("CPU", threads)
        # a GPU's worker needs no CPU of its own: a node's CPUs are often fewer than its GPUs times our threads
        wants = {"num_gpus": 1, "num_cpus": 0} if self.resource == "GPU" else {"num_cpus": threads}
        self.actor = ray.remote(**wants, max_restarts=0, max_task_retries=0)(_Actor)
        self.waiting: deque[_Chunk] = deque()
        self.workers: list[_Worker] = []
        self.failed_starts = 0  # in a row
        self.heard = time.monotonic()

    def results(self) -> Iterator[tuple[Key, Any]]:
        exceptions = self.ray.exceptions
        while self._plan():
            worker = self._wait()
            if worker is None:
                continue
            chunk, answer = worker.asked.popleft()
            try:
                value, seen = self.ray.get(answer)
            except exceptions.RayTaskError as error:
                raise error.cause from error
            except exceptions.ObjectLostError as error:  # finished, but gone with its node before it came here
                self._bury(worker, chunk, error, guilty=False)
                continue
            except (
                exceptions.RayActorError,
                exceptions.NodeDiedError,
                exceptions.OutOfMemoryError,
                exceptions.WorkerCrashedError,
            ) as error:
                self._bury(worker, chunk, error, guilty=self._lives(worker.node))
                continue
            for message, category in seen:
                warnings.warn(message, category, stacklevel=2)
            worker.answers += 1
            if chunk is not None:
                yield chunk.key, value
            elif worker.loaded:
                self.failed_starts = 0
            else:
                worker.node = value

    def close(self) -> None:
        for worker in self.workers:
            self.ray.kill(worker.actor)

    def _plan(self) -> bool:
        """Hire workers and send chunks as far as there is room. Returns False when all is done."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        room = sum(int(node.get(self.resource, 0)) // self.share for node in nodes)
        room = max(1, room) if self.most is None else min(max(1, room), self.most)
        self.waiting.extend(islice(self.rest, max(0, room + 1 - len(self.waiting))))
        idle = sum(not worker.chunks for worker in self.workers)
        if self.failed_starts < MOST_DEATHS or not self.workers:
            for _ in range(min(room - len(self.workers), len(self.waiting) - idle)):
                self._hire()
        self._send()
        return bool(self.waiting) or any(worker.chunks for worker in self.workers)

    def _hire(self) -> None:
        actor = self.actor.remote()
        self.workers.append(
            _Worker(actor, deque([(None, actor.place.remote()), (None, actor.load.remote(*self.load))]))
        )

    def _send(self) -> None:
        """Give loaded workers their next chunks, a second one only where it takes none from a worker still loading."""
        loaded = [worker for worker in self.workers if worker.loaded]
        loading = len(self.workers) - len(loaded)
        while loaded and self.waiting:
            worker = min(loaded, key=lambda worker: len(worker.asked))
            if len(worker.asked) >= _AHEAD or (worker.asked and len(self.waiting) <= loading):
                return
            if worker.asked and (self.waiting[0].suspect or worker.chunks[0].suspect):
                return
            chunk = self.waiting.popleft()
            worker.asked.append((chunk, worker.actor.work.remote(chunk.make())))

    def _wait(self) -> _Worker | None:
        """The next worker with an answer; None when it is time to look at the cluster again."""
        first = {worker.asked[0][1]: worker for worker in self.workers if worker.asked}
        ready, _ = self.ray.wait(list(first), timeout=_LOOK_SECONDS)
        now = time.monotonic()
        if ready:
            self.heard = now
            return first[ready[0]]
        if now - self.heard > PLACE_SECONDS and not any(worker.node for worker in self.workers):
            raise TimeoutError(
                f"the Ray cluster had no room for a worker within {PLACE_SECONDS:g} s: a worker needs {self.share} "
                f"{self.resource} on one node; free now: {self.ray.available_resources().get(self.resource, 0):g} of "
                f"{self.ray.cluster_resources().get(self.resource, 0):g} {self.resource}"
            )
        return None

    def _bury(self, worker: _Worker, chunk: _Chunk | None, error: Exception, guilty: bool) -> None:
        """Take back what a dead worker held. `chunk`: what it was at, None while loading; guilty: perhaps its death."""
        self.ray.kill(worker.actor)
        self.workers.remove(worker)
        held = worker.chunks if chunk is None else [chunk, *worker.chunks]
        self.waiting.extendleft(reversed(held))
        reason = str(error).strip() or type(error).__name__
        if chunk is None:
            self.failed_starts += guilty
            if self.failed_starts >= MOST_DEATHS and not self.workers:
                raise ChildProcessError(
                    f"{self.failed_starts} workers in a row died while they loaded the model; the last: {reason}"
                )
            return
        chunk.deaths += guilty
        if chunk.deaths == MOST_DEATHS:
            raise ChildProcessError(
                f"{self.desc} {chunk.key}: its worker died {MOST_DEATHS} times over it (often for lack of memory); "
                f"the last: {reason}"
            )
        for lost in held:
            lost.suspect |= guilty  # the last answer before a death can be lost, so it may also be the next one's fault
        keys = " and ".join(str(lost.key) for lost in held)
        warnings.warn(f"{self.desc} {keys}: lost with a worker that died, made again", stacklevel=3)

    def _lives(self, node: str | None) -> bool:
        """Whether a worker's node goes on without it; True for a worker that never was on one."""
        return node is None or any(other["NodeID"] == node and other["Alive"] for other in self.ray.nodes())
