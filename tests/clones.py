"""Clones of this checkout, and the commands that users run in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def start(folder: Path, *words: str) -> subprocess.Popen:
    """Starts a command in `folder`, with this Python's programs first on PATH."""
    environment = {
        **os.environ,
        "COLUMNS": "300",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def output(process: subprocess.Popen) -> str:
    """All that a command printed; a failed one fails the test with its last messages."""
    printed, _ = process.communicate()
    assert process.returncode == 0, f"{' '.join(process.args)}\n{printed[-6000:]}"
    return printed


def command(folder: Path, *words: str) -> str:
    """Runs a command in `folder` and returns what it printed."""
    return output(start(folder, *words))


def make_clone(repository: Path, folder: Path) -> Path:
    """What git would clone (this checkout's files, ignored ones left out), with profile smoke."""
    listed = command(repository, "git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in listed.splitlines():
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    command(folder, "git", "init", "--quiet")
    command(folder, "git", "config", "user.name", "test")
    command(folder, "git", "config", "user.email", "test@example.org")
    command(folder, "dlcr", "profile", "use", "smoke")
    return folder
