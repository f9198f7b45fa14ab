"""Processes of one's own machine: independent jobs, or workers that load a model and take chunks, with one clear error
and nothing left running.

The seeds of a run train side by side this way, and stages that work through images use every core.
"""

import multiprocessing
import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from dlcr.runtime import determinism

Send = Callable[[object], None]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries read when they are loaded; Arrow reads the first."""


def run_jobs(
    function: Callable[..., object], jobs: Sequence[tuple], workers: int, on_message: Callable[[object], None]
) -> list[object]:
    """Results of `function(*job, send)` for each job, by up to `workers` processes, each of which takes one job after
    the other; 1 runs them in this process. Libraries have `determinism.thread_count()` threads in each.

    `send(message)` inside a job calls `on_message(message)` here. A job's ValueError or OSError is raised
    here as ValueError, another exception as RuntimeError with the job's trace; a killed process raises
    ChildProcessError. Either way, and on Ctrl-C, the other processes are ended first.
    """
    if workers == 1:
        return [function(*job, on_message) for job in jobs]
    waiting = iter(enumerate(jobs))
    results: list[object] = [None] * len(jobs)
    with _processes() as running:
        place: dict[Connection, int] = {}

        def give(pipe: Connection) -> None:
            """The next job, or None, which ends the process."""
            index, job = next(waiting, (-1, None))
            place[pipe] = index
            pipe.send(job)
            if job is None:
                running.pop(pipe).join()

        for _ in range(min(workers, len(jobs))):
            give(_start(running, _jobs, function, threads=determinism.thread_count()))
        while running:
            for pipe in wait(list(running)):
                kind, value = _receive(pipe, running[pipe])
                if kind == "error":
                    raise ValueError(value)
                if kind == "trace":
                    raise RuntimeError(f"a worker process failed:\n{value}")
                if kind == "message":
                    on_message(value)
                else:
                    results[place[pipe]] = value
                    give(pipe)
    return results


def run_workers(
    build: Callable[[], Callable[[Any], Any]],
    chunks: Iterable[tuple[Hashable, Callable[[], Any]]],
    workers: int,
    threads: int,
    desc: str,
) -> Generator[tuple[Hashable, Any], None, None]:
    """(key, result) of every chunk as it is finished, by up to `workers` processes of so many threads each.

    build, chunks, desc: as for `dlcr.runtime.executor.run_chunks`, whose promises these are. A process is started when
    there is a chunk for it. One that is killed raises ChildProcessError with its chunk's key.
    """
    rest = iter(chunks)
    first = list(islice(rest, workers))
    rest = chain(first, rest)
    with _processes() as running:
        for _ in first:
            _start(running, _worker, build, threads, threads=threads)
        held: dict[Connection, Hashable] = {}
        ready = 0
        while ready < len(first) or held:
            for pipe in wait(list(running)):
                key = held.pop(pipe, None)
                kind, value, seen = _receive(pipe, running[pipe], desc if key is None else f"{desc} {key}")
                for message, category in seen:
                    warnings.warn(message, category, stacklevel=2)
                if kind == "error":
                    raise value
                ready += kind == "ready"
                chunk = next(rest, None)  # before the result is looked at: no worker waits for that
                if chunk is None:
                    _end([running.pop(pipe)])
                else:
                    held[pipe] = chunk[0]
                    pipe.send(chunk[1]())
                if kind == "result":
                    yield key, value


@contextmanager
def _processes() -> Iterator[dict[Connection, SpawnProcess]]:
    """Processes by their pipes; those that still run at the end are ended."""
    running: dict[Connection, SpawnProcess] = {}
    try:
        yield running
    finally:
        _end(running.values())


def _end(processes: Collection[SpawnProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _start(running: dict, target: Callable, *arguments: object, threads: int) -> Connection:
    """A new process among those that run; threads: of all libraries in it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
    with _environment(dict.fromkeys(THREADS, str(threads))):
        process.start()
    theirs.close()  # so that the end of the process ends the pipe
    running[ours] = process
    return ours


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _receive(pipe: Connection, process: SpawnProcess, what: str = "") -> tuple:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        raise ChildProcessError(
            f"{what and f'{what}: '}a worker process ended with exit code {process.exitcode} (-9: killed, often for "
            "lack of memory)"
        ) from None


def _jobs(function: Callable[..., object], pipe: Connection) -> None:
    """Body of a process that takes jobs. Ctrl-C is the parent's business; without a parent the next message ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while (job := _next(pipe)) is not None:
            result = function(*job, lambda message: pipe.send(("message", message)))
            pipe.send(("result", result))
    except BrokenPipeError:
        return
    except (ValueError, OSError) as error:
        pipe.send(("error", str(error)))
    except Exception:
        pipe.send(("trace", traceback.format_exc()))


def _next(pipe: Connection) -> tuple | None:
    """The next job; None where there is none, or no parent any more."""
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        return None


def _worker(build: Callable[[], Callable[[Any], Any]], threads: int, pipe: Connection) -> None:
    """Body of a process that takes chunks: answers (kind, result or exception, warnings). Ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    determinism.set_up(threads)
    work = None
    try:
        pipe.send(("ready", None, []))
        while True:
            payload = pipe.recv()
            with warnings.catch_warnings(record=True) as seen:
                try:
                    work = work or build()
                    answer = "result", work(payload)
                except Exception as error:
                    answer = "error", _portable(error)
            pipe.send((*answer, [(str(warning.message), warning.category) for warning in seen]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _portable(error: Exception) -> Exception:
    """An exception with its trace, as it is where it can be sent."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"a worker process failed:\n{trace}")
    error.add_note(trace)
    return error
