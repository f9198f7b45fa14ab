"""Folders that appear whole or not at all, as `dlcr.runtime.files` does it for files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_new(folder: Path) -> None:
    """FileExistsError if something is there already."""
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder}: is there already; remove it, or name another folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, which becomes it on success and is removed on any error.

    Missing parent folders are made. Raises FileExistsError if something is there already, before and after the work.
    """
    check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir()
    try:
        yield part
        check_new(folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
