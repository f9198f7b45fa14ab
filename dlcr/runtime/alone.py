"""One process at a time where two would write into each other's files, and none that outlives its `dvc`."""

import errno
import fcntl
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import psutil

SHELLS = {"sh", "bash", "dash", "ash", "busybox", "zsh", "run"}
"""What stands between `dvc` and a stage's command: the shell that DVC starts, and containers/run."""
EVERY_SECONDS = 0.5
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}
_held: dict[Path, int] = {}


def hold(folder: Path) -> None:
    """Have a folder for this process alone, until it ends, in whatever way: the system lets go of the lock then.

    The lock of `.dlcr/parts/x` is the file `.dlcr/locks/parts-x`, which stays. Where the file system has no locks
    there is none. Raises ValueError, which names the other process, if one has the folder.
    """
    path = folder.absolute().parents[1] / "locks" / f"{folder.parent.name}-{folder.name}"
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise ValueError(f"{folder}: {owner} is at this work; wait until it has ended, or end it") from None
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _NO_LOCKS:
            raise
        return
    os.truncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    _held[path] = descriptor  # open until the process ends: closing it would let go


def end_with_dvc() -> None:
    """End this process soon after the `dvc` that started it, which may have been killed without a chance to do so.

    Nothing happens where DVC did not start it ($DVC_STAGE is not set).
    """
    if not os.environ.get("DVC_STAGE"):
        return
    owner = next((process for process in psutil.Process().parents() if process.name() not in SHELLS), None)
    if owner is not None:
        threading.Thread(target=_watch, args=(owner,), name="end-with-dvc", daemon=True).start()


def _watch(owner: psutil.Process) -> None:
    while _runs(owner):
        time.sleep(EVERY_SECONDS)
    print(f"error: dvc (process {owner.pid}), which started this stage, is gone", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _runs(process: psutil.Process) -> bool:
    """Whether it is the same process still, and not one that has ended and waits to be looked at."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
