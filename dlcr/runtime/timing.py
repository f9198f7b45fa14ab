"""Times, throughput, memory and cost of stages (Table A6), and the machine that they were measured on.

Outside DVC's outputs, as they differ between runs.
"""

import json
import os
import platform
import re
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from dlcr.runtime.determinism import core_count, thread_count, worker_count
from dlcr.runtime.files import write_json
from dlcr.runtime.store import state_root

_NAME = re.compile(r"^[0-9A-Za-z._-]+$")


def record(stage: str, name: str, **facts: float | int | str | None) -> None:
    """Write the facts of one run of `stage` for `name`, replacing those of an earlier run.

    Usual facts: seconds, images, images_per_second, peak_memory_mb. To these come `machine`, and with `seconds` what
    the run cost: gpu_hours where the stage used a GPU, else core_hours, of all the threads that it could use. Work that
    Ray spread over a cluster has no cost here: nothing in this process knows it. Raises ValueError for names that are
    no file names.
    """
    for part in (stage, name):
        if not _NAME.match(part):
            raise ValueError(f"timing of {stage!r} {name!r}: names hold letters, digits, '.', '_' and '-' only")
    here = machine()
    made = {"stage": stage, "name": name, **facts, "machine": here, **_cost(stage, here, facts.get("seconds"))}
    write_json(_folder() / f"{stage}@{name}.json", made)


def record_images(stage: str, name: str, seconds: float, images: int) -> None:
    """`record` the usual facts of a stage that works through images."""
    rate = images / seconds
    record(stage, name, seconds=seconds, images=images, images_per_second=rate, peak_memory_mb=peak_memory_mb())


def load_all() -> pd.DataFrame:
    """Return all recorded facts, one row a stage and name, sorted by these; empty when there are none.

    Facts that a file lacks are NaN: files of earlier versions name no machine.
    """
    rows = []
    for path in sorted(_folder().glob("*.json")):
        try:
            rows.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: not readable as JSON: {error}") from error
    table = pd.DataFrame(rows, columns=None if rows else ["stage", "name"])
    return table.sort_values(["stage", "name"], ignore_index=True)


def machine() -> dict[str, str | int | float | None]:
    """What this process runs on: `cpu` (its model), `cores` and `threads` that it may use, `memory_gb` (GiB), `gpu`
    (its name, None where PyTorch is not loaded or has none), the versions `python` and `torch` (None: absent), and the
    container `engine` ("none": without)."""
    cuda = _cuda()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "cpu": _cpu(),
        "cores": core_count(),
        "threads": thread_count() * worker_count(core_count()),
        "memory_gb": round(memory, 1),
        "gpu": cuda.get_device_name() if cuda else None,
        "python": platform.python_version(),
        "torch": _torch(),
        "engine": os.environ.get("DLCR_ENGINE") or "none",
    }


def peak_memory_mb() -> float:
    """Return the highest memory use so far in MiB: of the GPU if PyTorch uses one, else of this process or a worker."""
    cuda = _cuda()
    if cuda and cuda.is_initialized():
        return cuda.max_memory_allocated() / 2**20
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux


def _cuda():
    """torch.cuda where PyTorch is loaded and has a GPU, else None; it is not imported for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _cost(stage: str, here: dict, seconds: float | None) -> dict[str, float]:
    if seconds is None or os.environ.get("DLCR_EXECUTOR") == "ray":
        return {}
    if here["gpu"] is None:
        return {"core_hours": seconds * here["threads"] / 3600}
    # only training takes several GPUs, one per process
    gpus = min(_cuda().device_count(), int(os.environ.get("DLCR_PROCESSES") or 1)) if stage == "train" else 1
    return {"gpu_hours": seconds * gpus / 3600}


def _cpu() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _torch() -> str | None:
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _folder() -> Path:
    return state_root() / "timings"
