"""Files that appear whole or not at all: write beside the target, flush to disk, rename."""

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# .<name>.<host and PID namespace>.<process>.<random>.part: the name tells its writer, and so whether that one is dead
_PART = re.compile(r"^\..+\.([0-9A-Za-z_-]+)\.(\d+)\.[0-9a-f]{8}\.part$")
_ABANDONED_SECONDS = 24 * 3600
_UMASK = os.umask(0o022)  # it can only be read by setting it
os.umask(_UMASK)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error it is removed.

    The target is replaced, never written into: hard links and symbolic links to its old content keep that
    content. Missing parent folders are made. Leftovers of writers that died in the same folder are removed
    first. Raises FileNotFoundError when the body wrote nothing; OSError (a full disk, for one) passes
    through.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    part = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        if not part.is_file():
            raise FileNotFoundError(f"{path}: nothing was written for it")
        _let_others_read(part)
        _flush(part)
        part.replace(path)
        part.unlink(missing_ok=True)  # a rename onto another hard link to the same file does nothing
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def is_part(name: str) -> bool:
    """Tell whether a file name is that of an unfinished `atomic_path`."""
    return _PART.match(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files whose writer is dead, or, where its process is out of sight (on another host, in another
    container of this one), that nobody touched for a day."""
    for entry in os.scandir(folder):
        match = _PART.match(entry.name)
        if match is None:
            continue
        try:
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS
            if not _alive(int(match[2])) if match[1] == _host() else old:
                Path(entry.path).unlink()
        except FileNotFoundError:
            continue  # its writer finished, or another process cleaned up first


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, atomically."""
    with atomic_path(path) as part:
        part.write_bytes(text.encode())


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON with sorted keys, atomically. Raises ValueError for NaN and infinities."""
    try:
        text = json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be written as JSON: {error}") from error
    write_text(path, text + "\n")


@cache
def _host() -> str:
    """Where numbers of processes mean what they mean here: this host, and its PID namespace where there are such."""
    name = re.sub(r"[^0-9A-Za-z_-]", "-", socket.gethostname()) or "host"
    try:
        return f"{name}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return name


def _let_others_read(part: Path) -> None:
    """Give a file that its writer made for its owner alone, as safetensors does, the mode of any new file."""
    found = part.stat()
    if found.st_nlink == 1 and not found.st_mode & 0o077:
        part.chmod(0o666 & ~_UMASK)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
