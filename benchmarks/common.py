"""What the benchmarks share: time, memory, the machine, and a command that runs each case in a process of its own."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.runtime.determinism import thread_count
from dlcr.runtime.files import write_json

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = 10  # K
ROUNDS = 3


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds that `work` took, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def best_of(*works: Callable[[], object], rounds: int | None = None, pause: float = 0.0) -> list[float]:
    """The least seconds of each work. Each round runs all works, so that a busy moment hits them alike.

    rounds: ROUNDS by default. pause: seconds before each run.
    """

    def run(work: Callable[[], object]) -> float:
        time.sleep(pause)
        return timed(work)[0]

    return np.min([[run(work) for work in works] for _ in range(rounds or ROUNDS)], axis=0).tolist()


def peak_memory() -> float:
    """The most memory that this process has held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def machine(*packages: str) -> dict:
    """Cores, processor and GPU, and the versions of these packages."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions = {package: version(package) for package in ("torch", *packages)}
    return {"cores": thread_count(), "processor": processor, "gpu": gpu, **versions}


def run_cases(
    name: str, out: Path | None, cases: Collection[str], facts: dict, options: list[str], on_gpu: Collection[str] = ()
) -> None:
    """Run `python -m benchmarks.NAME --case CASE` for each case, print its table, and write all to OUT as JSON.

    A case prints JSON: a dict, or a list of rows. `facts` come first in the file. Only cases `on_gpu` see a GPU. OUT is
    benchmarks/NAME.json by default, but nothing is written by default where `options` ask for small sizes.
    """
    if out is None and not options:
        out = ROOT / "benchmarks" / f"{name}.json"
    results = {**facts, "cases": {}}
    for case in cases:
        print(f"{case} ...", file=sys.stderr)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--case", case, *options]
        hidden = {} if case in on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
        environment = os.environ | hidden
        start = time.monotonic()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        found = json.loads(done.stdout)
        rows = found if isinstance(found, list) else [found]
        found = {"rows": found} if isinstance(found, list) else found
        results["cases"][case] = found | {"duration of this case (s)": time.monotonic() - start}
        print(f"\n{case}")
        for row in rows:
            print(pd.Series(row, dtype=object).to_string(float_format="{:.4g}".format), end="\n\n")
    if out is not None:
        write_json(out, results)
