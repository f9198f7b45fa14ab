"""Times, throughput and memory of stages (Table A6): outside DVC's outputs, as they differ between runs."""

import json
import re
import resource
import sys
from pathlib import Path

import pandas as pd

from dlcr.runtime.files import write_json
from dlcr.runtime.store import state_root

_NAME = re.compile(r"^[0-9A-Za-z._-]+$")


def record(stage: str, name: str, **facts: float | int | str | None) -> None:
    """Write the facts of one run of `stage` for `name`, replacing those of an earlier run.

    Usual facts: seconds, images, images_per_second, peak_memory_mb. Raises ValueError for names that are no
    file names.
    """
    for part in (stage, name):
        if not _NAME.match(part):
            raise ValueError(f"timing of {stage!r} {name!r}: names hold letters, digits, '.', '_' and '-' only")
    write_json(_folder() / f"{stage}@{name}.json", {"stage": stage, "name": name, **facts})


def record_images(stage: str, name: str, seconds: float, images: int) -> None:
    """`record` the usual facts of a stage that works through images."""
    rate = images / seconds
    record(stage, name, seconds=seconds, images=images, images_per_second=rate, peak_memory_mb=peak_memory_mb())


def load_all() -> pd.DataFrame:
    """Return all recorded facts, one row a stage and name, sorted by these; empty when there are none."""
    rows = []
    for path in sorted(_folder().glob("*.json")):
        try:
            rows.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: not readable as JSON: {error}") from error
    table = pd.DataFrame(rows, columns=None if rows else ["stage", "name"])
    return table.sort_values(["stage", "name"], ignore_index=True)


def peak_memory_mb() -> float:
    """Return the highest memory use so far in MiB: of the GPU if PyTorch uses one, else of the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux


def _folder() -> Path:
    return state_root() / "timings"
