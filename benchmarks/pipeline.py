"""How long DVC takes where there is nothing to do: `dvc repro` and `dvc status` on the whole grid.

    python -m benchmarks.pipeline                      # in a checkout after `dvc repro` -> benchmarks/pipeline.json
    python -m benchmarks.pipeline --out /tmp/pipeline.json --rounds 1

Every command is a process of its own, start and imports included; the first of each is not counted. Rows:

- a command as it is, and the same without the C parser of YAML (ruamel.yaml.clib), by turns: a machine that others use
  as well changes its speed while it is measured. `processor (s)` is the processor's own time, which others change less;
- `share of its time`, of one more `dvc repro` within this process: reading params.yaml, hashing or looking up files,
  reading dvc.yaml and dvc.lock.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import typer
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.index import Index

from benchmarks.common import ROOT, machine, timed
from dlcr.runtime.files import write_json

COMMANDS = (("repro",), ("status",))
UP_TO_DATE = "Data and pipelines are up to date."
PARTS = {
    "params.yaml": (ParamsDependency, "workspace_status"),
    "data and code": (Output, "_build"),
    "dvc.yaml and dvc.lock": (Index, "from_repo"),
}


def main(out: Path | None = None, rounds: int = 5) -> None:
    """Measure each command ROUNDS times, print the rows, and write them to OUT, pipeline.json beside this file."""
    if not run("status")[0]:
        raise SystemExit("error: dvc status: expected a checkout where nothing is left to do; run `dvc repro` first")
    names = [(command, parser) for command in COMMANDS for parser in ("C", "Python")]
    taken = {name: [] for name in names}
    for _ in range(rounds + 1):
        for command, parser in names:
            fine, *seconds = run(*command, parser=parser)
            if not fine:
                raise SystemExit(f"error: dvc {' '.join(command)}: expected '{UP_TO_DATE}'; something runs beside this")
            taken[command, parser].append(seconds)
    rows = [row(command, parser, times[1:]) for (command, parser), times in taken.items()]
    results = {"machine": machine("dvc"), "grid": grid(), "rows": rows, "share of its time": shares()}
    print(json.dumps(results, indent=2))
    write_json(out or Path(__file__).with_suffix(".json"), results)


def run(*words: str, parser: str = "C") -> tuple[bool, float, float]:
    """Runs a command of DVC: whether it found nothing to do, the seconds that passed, and those of the processor."""
    hidden = "sys.modules['_ruamel_yaml'] = None; " if parser == "Python" else ""
    code = f"import sys; {hidden}from dvc.cli import main; sys.exit(main(sys.argv[1:]))"
    before = processor_time()
    options = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    seconds, done = timed(lambda: subprocess.run([sys.executable, "-c", code, *words], **options))
    return UP_TO_DATE in done.stdout, seconds, processor_time() - before


def processor_time() -> float:
    """Seconds that the processor spent on all programs which this one started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(command: tuple[str, ...], parser: str, taken: list[list[float]]) -> dict:
    asked = {"asked": "at most 3 s"} if (command, parser) == (("repro",), "C") else {}
    name = {"name": f"dvc {' '.join(command)}, nothing to do", "YAML parser": parser}
    passed, worked = zip(*taken, strict=True)
    seconds = {"seconds": median(passed), "fastest (s)": min(passed), "slowest (s)": max(passed)}
    return name | asked | seconds | {"processor (s)": median(worked)}


def grid() -> dict:
    """The size of what DVC looks at."""
    with Repo(ROOT) as repo:
        stages = repo.index.stages
    return {
        "stages": len(stages),
        "dependencies and outputs": sum(len(stage.deps) + len(stage.outs) for stage in stages),
        "keys and values in params.yaml": leaves(yaml.safe_load((ROOT / "params.yaml").read_text())),
    }


def leaves(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(leaves, inner))


def shares() -> dict[str, float]:
    """Shares of a `dvc repro` that parts of DVC take, each with all that it calls."""
    seconds: Counter[str] = Counter()
    for name, (owner, method) in PARTS.items():
        setattr(owner, method, clocked(getattr(owner, method), name, seconds))

    def reproduce() -> None:
        with Repo(ROOT) as repo:
            repo.reproduce()

    logging.getLogger("dvc").setLevel(logging.ERROR)
    everything, _ = timed(reproduce)
    return {name: seconds[name] / everything for name in PARTS}


def clocked(function: Callable, name: str, seconds: Counter) -> Callable:
    """`function`, which adds the time of each call to `seconds[name]`."""

    def call(*args: object, **options: object) -> object:
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            seconds[name] += time.perf_counter() - start

    return call


if __name__ == "__main__":
    os.environ["DVC_NO_ANALYTICS"] = "1"
    typer.run(main)
