"""Independent jobs in processes of their own, with one clear error and nothing left running.

The seeds of a run train side by side this way, each with its share of the threads.
"""

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait

Send = Callable[[object], None]


def run_jobs(
    function: Callable[..., object], jobs: Sequence[tuple], workers: int, on_message: Callable[[object], None]
) -> list[object]:
    """Results of `function(*job, send)` for each job, at most `workers` at a time; 1 runs them in this
    process.

    `send(message)` inside a job calls `on_message(message)` here. A job's ValueError or OSError is raised
    here as ValueError, another exception as RuntimeError with the job's trace; a killed process raises
    ChildProcessError. Either way, and on Ctrl-C, the other processes are ended first.
    """
    if workers == 1:
        return [function(*job, on_message) for job in jobs]
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(jobs))
    running: dict[Connection, tuple[int, multiprocessing.Process]] = {}
    results: list[object] = [None] * len(jobs)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index, job = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_job, args=(function, job, theirs), daemon=True)
                process.start()
                theirs.close()  # so that the end of the process ends the pipe
                running[ours] = index, process
            for pipe in wait(list(running)):
                index, process = running[pipe]
                kind, value = _receive(pipe, process)
                if kind == "message":
                    on_message(value)
                else:
                    results[index] = value
                    process.join()
                    del running[pipe]
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()
    return results


def _receive(pipe: Connection, process: multiprocessing.Process) -> tuple[str, object]:
    """The next message or the result of a process; its failure is raised."""
    try:
        kind, value = pipe.recv()
    except EOFError:
        process.join()
        raise ChildProcessError(
            f"a worker process ended with exit code {process.exitcode} (-9: killed, often for lack of memory)"
        ) from None
    if kind == "error":
        raise ValueError(value)
    if kind == "trace":
        raise RuntimeError(f"a worker process failed:\n{value}")
    return kind, value


def _job(function: Callable[..., object], job: tuple, pipe: Connection) -> None:
    """Body of a process. Ctrl-C is the parent's business; without a parent the next message ends the job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = function(*job, lambda message: pipe.send(("message", message)))
        pipe.send(("result", result))
    except BrokenPipeError:
        return
    except (ValueError, OSError) as error:
        pipe.send(("error", str(error)))
    except Exception:
        pipe.send(("trace", traceback.format_exc()))
