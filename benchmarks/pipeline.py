"""How long DVC takes where there is nothing to do, and for each stage that runs, on the whole grid of params.yaml.

    python -m benchmarks.pipeline                      # -> benchmarks/pipeline.json; nothing needs to have run before
    python -m benchmarks.pipeline --out /tmp/pipeline.json --rounds 1

It works on a copy of the checkout, whose outputs are made up: DVC knows files by their hashes alone. Every command is a
process of its own, start and imports included; the first of each is not counted. Rows:

- a command as it is, and the same without the C parser of YAML (ruamel.yaml.clib), by turns: a machine that others use
  as well changes its speed while it is measured. `processor (s)` is the processor's own time, which others change less;
- `a stage that runs`: what DVC takes for it more than if it had nothing to do; its command copies what is made up;
- `share of its time`, of one more `dvc repro` within this process: reading params.yaml, hashing or looking up files,
  reading dvc.yaml and dvc.lock.
"""

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import typer
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.index import Index

from benchmarks.common import ROOT, machine, timed
from dlcr.runtime.files import write_json

COMMANDS = (("repro",), ("repro", "--all-pipelines"), ("status",))
ASKED = {("repro",): "at most 3 s", ("status",): "at most 2 s"}
UP_TO_DATE = "Data and pipelines are up to date."
FILES = 6
"""In every folder that is made up."""
PARTS = {
    "params.yaml": (ParamsDependency, "workspace_status"),
    "data and code": (Output, "_build"),
    "dvc.yaml and dvc.lock": (Index, "from_repo"),
}


def main(out: Path | None = None, rounds: int = 5) -> None:
    """Measure each command ROUNDS times, print the rows, and write them to OUT, pipeline.json beside this file."""
    out = (out or Path(__file__).with_suffix(".json")).resolve()
    with TemporaryDirectory() as folder, chdir(folder):
        copy_checkout()
        make_up_outputs()
        rows = [*nothing_to_do(rounds), a_stage(rounds)]
        results = {"machine": machine("dvc"), "grid": grid(), "rows": rows, "share of its time": shares()}
    print(json.dumps(results, indent=2))
    write_json(out, results)


def copy_checkout() -> None:
    """Copies what git would commit of this checkout into the working directory, a repository of its own."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, name)
    subprocess.run(["git", "init", "--quiet"], check=True)


def make_up_outputs() -> None:
    """Writes something for every output that is not there, and has DVC take all for what the stages made."""
    with Repo() as repo:
        paths = [Path(out.fs_path) for stage in repo.index.stages for out in stage.outs]
    for path in (path for path in paths if not path.exists()):
        files = [path] if path.suffix else [path / str(number) for number in range(FILES)]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{file.relative_to(Path.cwd())}\n")
    subprocess.run(["dvc", "commit", "--force", "--quiet"], check=True)


def nothing_to_do(rounds: int) -> list[dict]:
    """A row for each command and parser where nothing is left to do."""
    names = [(command, parser) for command in COMMANDS for parser in ("C", "Python")]
    taken = {name: [] for name in names}
    for _ in range(rounds + 1):
        for command, parser in names:
            taken[command, parser].append(run(*command, parser=parser))
    return [row(command, parser, times[1:]) for (command, parser), times in taken.items()]


def a_stage(rounds: int) -> dict:
    """The row of a stage that runs: an evaluation, the kind that there are most of."""
    with Repo() as repo:
        stage = next(stage for stage in repo.index.stages if stage.addressing.startswith("refine-eval@"))
        name, made = stage.addressing, [Path(out.fs_path) for out in stage.outs]
    for path in made:
        kept = Path("made") / path.relative_to(Path.cwd())
        kept.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, kept)
    Path("containers/run").write_text("#!/bin/sh\ncp -r made/. .\n")
    taken = []
    for _ in range(rounds + 1):
        nothing = run("repro", "--single-item", name)
        stage_run = run("repro", "--single-item", name, "--force", says="Running stage")
        taken.append([one - other for one, other in zip(stage_run, nothing, strict=True)])
    return {"name": "a stage that runs, DVC's part"} | figures(*zip(*taken[1:], strict=True))


def run(*words: str, parser: str = "C", says: str = UP_TO_DATE) -> tuple[float, float]:
    """Runs a command of DVC that should say this: the seconds that passed, and those of the processor."""
    hidden = "sys.modules['_ruamel_yaml'] = None; " if parser == "Python" else ""
    code = f"import sys; {hidden}from dvc.cli import main; sys.exit(main(sys.argv[1:]))"
    before = processor_time()
    seconds, done = timed(lambda: subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True))
    if says not in done.stdout:
        raise SystemExit(f"error: dvc {' '.join(words)}: expected '{says}', it says: {done.stdout}{done.stderr}")
    return seconds, processor_time() - before


def processor_time() -> float:
    """Seconds that the processor spent on all programs which this one started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(command: tuple[str, ...], parser: str, taken: list[tuple[float, float]]) -> dict:
    asked = {"asked": ASKED[command]} if command in ASKED and parser == "C" else {}
    name = {"name": f"dvc {' '.join(command)}, nothing to do", "YAML parser": parser}
    return name | asked | figures(*zip(*taken, strict=True))


def figures(passed: tuple[float, ...], worked: tuple[float, ...]) -> dict[str, float]:
    """What a row tells of the seconds that passed in each round, and of those of the processor."""
    seconds = {"seconds": median(passed), "fastest (s)": min(passed), "slowest (s)": max(passed)}
    return seconds | {"processor (s)": median(worked)}


def grid() -> dict:
    """The size of what DVC looks at."""
    with Repo() as repo:
        stages = repo.index.stages
    return {
        "stages": len(stages),
        "dependencies and outputs": sum(len(stage.deps) + len(stage.outs) for stage in stages),
        "keys and values in params.yaml": leaves(yaml.safe_load(Path("params.yaml").read_text())),
        "lines of dvc.lock": len(Path("dvc.lock").read_text().splitlines()),
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
        with Repo() as repo:
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
