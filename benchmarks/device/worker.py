"""Runs stages in one process: python -m benchmarks.device.worker [--pretend]; a line of JSON in and one out for each.

In: {"folder": where, "stage": its module, "name": the item}. Out: {"seconds": ..., "error": what went wrong, or
null} and peaks of memory. What stages print goes to stderr.
"""

import json
import os
import sys
import time
import traceback
from contextlib import nullcontext, redirect_stdout
from importlib import import_module

from benchmarks.device.pretend import PretendedGpu
from benchmarks.device.results import forget_peaks, peaks


def main() -> None:
    pretend = "--pretend" in sys.argv
    answers = sys.stdout
    for line in sys.stdin:
        with redirect_stdout(sys.stderr):
            answer = work(json.loads(line), pretend)
        print(json.dumps(answer), file=answers, flush=True)


def work(job: dict, pretend: bool) -> dict:
    """A stage as its command runs it, in a folder like the repository's root."""
    os.chdir(job["folder"])
    forget_peaks()
    start, error = time.monotonic(), None
    try:
        stage = import_module(f"stages.{job['stage']}").main
        with PretendedGpu() if pretend else nullcontext():
            stage(job["name"])
    except Exception as raised:
        traceback.print_exc()
        error = f"{type(raised).__name__}: {raised}"
    return {"seconds": time.monotonic() - start, "error": error} | peaks()


if __name__ == "__main__":
    main()
