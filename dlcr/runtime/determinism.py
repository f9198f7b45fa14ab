"""One call at the start of a stage: the same machine gives the same bytes twice, with however many cores."""

import ctypes
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def set_up(threads: int | None = None) -> None:
    """Set PyTorch's number of threads and make it refuse algorithms whose result varies.

    `threads`: default as in `thread_count`, and so are the errors. Results can differ in the last bits between numbers
    of threads, as sums are cut differently.
    """
    wanted = thread_count(threads)
    # cuBLAS reads this when CUDA starts; without it matrix products on a GPU are refused as not deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    import torch

    torch.set_num_threads(wanted)
    # as use_deterministic_algorithms(True), which first imports the compiler for seconds
    torch.set_deterministic_debug_mode("error")
    # filling fresh memory costs time and only matters to code that reads what it never wrote
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def thread_count(threads: int | None = None) -> int:
    """Of one process: `threads`, or else the environment's DLCR_THREADS, or else one, so that results do not depend on
    the machine's cores: several processes use those. Beside a GPU, which makes the results, as many as there are cores.

    Raises ValueError when the number is not a positive integer.
    """
    wanted = os.environ.get("DLCR_THREADS") if threads is None else threads
    if wanted is None or wanted == "":
        return core_count() if has_gpu() else 1
    if not str(wanted).isdecimal() or int(wanted) < 1:
        raise ValueError(f"threads (or DLCR_THREADS) must be a positive integer, got {wanted!r}")
    return int(wanted)


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(most: int) -> int:
    """How many processes work side by side on this machine: as many as there are cores for their threads, one beside a
    GPU, at most `most`, and at most the environment's DLCR_WORKERS.

    Raises ValueError when that is no positive integer.
    """
    room = 1 if has_gpu() else core_count() // thread_count()
    return max(1, min(most, room, most_workers() or most))


def most_workers() -> int | None:
    """The environment's DLCR_WORKERS, None without. Raises ValueError when it is no positive integer."""
    most = os.environ.get("DLCR_WORKERS") or None
    if most is not None and (not most.isdecimal() or int(most) < 1):
        raise ValueError(f"DLCR_WORKERS must be a positive integer, got {most!r}")
    return None if most is None else int(most)


@cache
def has_gpu() -> bool:
    """Whether PyTorch will find a GPU; it is not imported, which takes seconds, but its build and the driver asked."""
    try:
        build = version("torch").partition("+")[2]
    except PackageNotFoundError:
        return False
    if build == "cpu":
        return False
    if build.startswith("rocm"):
        import torch

        return torch.cuda.is_available()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
