"""What a part measures, written after each case; time and memory as they are measured in all parts."""

import gc
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import common
from dlcr.runtime.determinism import set_up
from dlcr.runtime.files import write_json
from dlcr.runtime.networks import device

ROUNDS = 3
PATIENCE = 10.0  # seconds after which no further round is begun, so a slow machine takes fewer


class Results:
    """The cases of a part in the file `path`: a case that fails says why, and costs no other."""

    def __init__(self, path: Path, tiny: bool) -> None:
        set_up()
        self.path, self.failed = path, []
        self.content = {"tiny": tiny, "machine": machine(), "cases": {}}
        self._write()

    def case(self, name: str, work: Callable[[], dict]) -> None:
        """Run `work`, and keep what it returns with its peaks of memory, or its error.

        Out of memory is an answer, not a failure: `work` chose its batch. A key "within" that is False is a failure.
        """
        print(f"{name} ...", flush=True)
        forget_peaks()
        start = time.monotonic()
        try:
            found = work()
            if found.get("within") is False:
                self.failed.append(f"{name}: {found}")
        except torch.OutOfMemoryError as error:
            found = {"out of memory": str(error).splitlines()[0]}
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
            self.failed.append(f"{name}: {found['error'].splitlines()[0]}")
        self.content["cases"][name] = found | peaks() | {"duration of this case (s)": time.monotonic() - start}
        self._write()
        release()

    def _write(self) -> None:
        write_json(self.path, self.content)


def machine() -> dict:
    """What is measured on; `device` is "cpu" where nothing was on a GPU."""
    cuda = torch.cuda.is_available()
    return common.machine() | {
        "device": device().type,
        "gpu memory (GB)": torch.cuda.get_device_properties(0).total_memory / 1e9 if cuda else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
    }


def median_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of some rounds of `work`, and how many there were: fewer where they take long."""
    taken = []
    while len(taken) < rounds and sum(taken) < PATIENCE:
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        taken.append(time.perf_counter() - start)
    return {"seconds": float(np.median(taken)), "rounds": len(taken)}


def synchronize() -> None:
    """Wait until the GPU has done all that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def release() -> None:
    """Give back what PyTorch keeps of the GPU's memory for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_peaks() -> None:
    """Peaks of memory are those from now on."""
    release()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # main memory's, where the system lets us
    except OSError:
        return


def peaks() -> dict[str, float]:
    """Peaks of memory in GB: tensors on the GPU, what PyTorch took of the GPU for them, and main memory."""
    found = {"peak main memory (GB)": _main_memory()}
    if torch.cuda.is_available():
        found |= {
            "peak GPU memory, tensors (GB)": torch.cuda.max_memory_allocated() / 1e9,
            "peak GPU memory, reserved (GB)": torch.cuda.max_memory_reserved() / 1e9,
        }
    return found


def _main_memory() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
