"""What the benchmarks share: time, memory, the machine, and a command that runs each case in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import typer

from dlcr.runtime import timing
from dlcr.runtime.determinism import set_up
from dlcr.runtime.files import write_json

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = 10  # K
ROUNDS = 3


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds that `work` took, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def in_turn(*works: Callable[[], object], rounds: int | None = None, pause: float = 0.0) -> list[list[float]]:
    """The seconds of each work in each round. A round runs all works, so that a busy moment hits them alike.

    rounds: ROUNDS by default. pause: seconds before each run.
    """

    def run(work: Callable[[], object]) -> float:
        time.sleep(pause)
        return timed(work)[0]

    taken = [[run(work) for work in works] for _ in range(rounds or ROUNDS)]
    return [list(seconds) for seconds in zip(*taken, strict=True)]


def best_of(*works: Callable[[], object], rounds: int | None = None, pause: float = 0.0) -> list[float]:
    """The least seconds of each work, which run `in_turn`."""
    return [min(seconds) for seconds in in_turn(*works, rounds=rounds, pause=pause)]


def peak_memory() -> float:
    """The most memory so far, in GB: of the GPU where PyTorch uses one, else of this process."""
    return timing.peak_memory_mb() * 2**20 / 1e9


def machine(*packages: str) -> dict:
    """The machine as stages record it, and the versions of these packages."""
    return timing.machine() | {package: version(package) for package in packages}


def command(
    name: str, cases: Mapping[str, Callable[[float], dict | list]], *packages: str, on_gpu: Collection[str] = ()
) -> typer.Typer:
    """The command `python -m benchmarks.NAME`. A case is given the scale, and returns a dict, or a list of rows.

    Only cases `on_gpu` see a GPU. The versions of `packages` come with the results.
    """
    app = typer.Typer(add_completion=False)

    @app.command()
    def main(out: Path | None = None, case: str = "", scale: float = 1.0) -> None:
        """Run all cases and print a table of each, and write JSON to OUT; of CASE only print JSON. SCALE: of the sizes.

        OUT is benchmarks/NAME.json, but without a default where SCALE is not 1.
        """
        if case:
            set_up()
            print(json.dumps(cases[case](scale)))
            return
        if out is None and scale == 1:
            out = ROOT / "benchmarks" / f"{name}.json"
        results = {"machine": machine(*packages), "scale": scale, "cases": {}}
        for case in cases:
            print(f"{case} ...", file=sys.stderr)
            results["cases"][case] = found = _run_alone(name, case, scale, case in on_gpu)
            print(f"\n{case}")
            for row in found.get("rows", [found]):
                print(pd.Series(row, dtype=object).to_string(float_format="{:.4g}".format), end="\n\n")
        if out is not None:
            write_json(out, results)

    return app


def _run_alone(name: str, case: str, scale: float, on_gpu: bool) -> dict:
    """What a case finds in a process of its own, and how long that takes."""
    words = [sys.executable, "-m", f"benchmarks.{name}", "--case", case, "--scale", str(scale)]
    environment = os.environ | ({} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""})
    options = {"text": True, "env": environment, "cwd": ROOT}
    seconds, printed = timed(lambda: subprocess.check_output(words, **options))
    found = json.loads(printed)
    found = {"rows": found} if isinstance(found, list) else found
    return found | {"duration of this case (s)": seconds}
