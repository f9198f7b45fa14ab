"""One call at the start of a stage: the same machine gives the same bytes twice."""

import os


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
    """`threads`, or else the environment's DLCR_THREADS, or else the cores that this process may use.

    Raises ValueError when the number is not a positive integer.
    """
    wanted = os.environ.get("DLCR_THREADS") if threads is None else threads
    if wanted is None or wanted == "":
        return core_count()
    if not str(wanted).isdecimal() or int(wanted) < 1:
        raise ValueError(f"threads (or DLCR_THREADS) must be a positive integer, got {wanted!r}")
    return int(wanted)


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
