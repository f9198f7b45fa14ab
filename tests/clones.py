"""Clones of this checkout, and the commands that users run in them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest
from filelock import FileLock
from warm import programs


def start(
    folder: Path, *words: str, stdin: int | None = None, stdout: int | IO = subprocess.PIPE, **environment: str
) -> subprocess.Popen:
    """Starts a command in `folder`, with this Python's programs first on PATH; those of ours start at once (`warm`)."""
    environment = {
        **os.environ,
        "COLUMNS": "300",
        "PATH": f"{programs()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        **environment,
    }
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT, text=True
    )


def output(process: subprocess.Popen) -> str:
    """All that a command printed; a failed one fails the test with its last messages."""
    printed, _ = process.communicate()
    assert process.returncode == 0, f"{' '.join(process.args)}\n{printed[-6000:]}"
    return printed


def command(folder: Path, *words: str, **environment: str) -> str:
    """Runs a command in `folder` and returns what it printed."""
    return output(start(folder, *words, **environment))


def documented(
    repository: Path, heading: str, instead: Mapping[str, str] | None = None, page: str = "dvc.md"
) -> list[str]:
    """The commands of a page in docs/ under a heading, with each text of `instead` replaced; it must be there."""
    section = re.search(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)",
        re.sub(r"(?m)^\$ ", "> ", (repository / "docs" / page).read_text()),
        flags=re.DOTALL | re.MULTILINE,
    )
    lines = [line[2:] for line in section[1].splitlines() if line.startswith("> ")] if section else []
    assert lines, f"docs/{page}: no commands under '{heading}'"
    for old, new in (instead or {}).items():
        assert any(old in line for line in lines), f"docs/{page}: no '{old}' under '{heading}'"
        lines = [line.replace(old, new) for line in lines]
    return lines


def follow(folder: Path, lines: list[str]) -> list[str]:
    """Runs documented commands one after the other, `cd` among them; returns what each printed."""
    printed = []
    for words in (shlex.split(line, comments=True) for line in lines):
        if words[0] == "cd":
            folder = folder / words[1]
        else:
            printed.append(command(folder, *words))
    return printed


def stages_run(printed: str) -> set[str]:
    """The stages that DVC ran, by what it printed; those it took from its run-cache are not among them."""
    return set(re.findall(r"^Running stage '(.+)':$", printed, flags=re.MULTILINE))


def export(repository: Path, folder: Path, *paths: str) -> Path:
    """Writes what is committed of `paths` into `folder`, and returns that: in the checkout it may be a user's own.

    Where git does not know this folder (an unpacked archive, another user's), the test that asks is left out.
    """
    try:
        subprocess.run(["git", "rev-parse", "--verify", "HEAD:./"], cwd=repository, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error).encode()
        pytest.skip(f"git tells no commit of {repository}: {' '.join(reason.decode().split())}")
    packed = subprocess.run(["git", "archive", "HEAD", *paths], cwd=repository, stdout=subprocess.PIPE, check=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x"], cwd=folder, input=packed.stdout, check=True)
    return folder


def make_clone(repository: Path, folder: Path) -> Path:
    """What git would clone if this checkout's code were committed, with profile smoke.

    Of what a user's commands write here, it has what is committed: results, and no settings of DVC.
    """
    results = ("evaluations", "reports", "dvc.lock", "containers/images.yaml")
    export(repository, folder, *results)
    listed = command(repository, "git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in listed.splitlines():
        written = name.startswith(("evaluations/", "reports/", *results[2:], "params.yaml", ".dvc/config"))
        if (repository / name).is_file() and not written and not name.endswith(".dvc"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    command(folder, "git", "init", "--quiet")
    command(folder, "git", "config", "user.name", "test")
    command(folder, "git", "config", "user.email", "test@example.org")
    command(folder, "dlcr", "profile", "use", "smoke")
    return folder


def start_make(folder: Path, target: str, *settings: str) -> subprocess.Popen:
    """Starts `make` with this environment in place of a new one."""
    return start(folder, "make", "--assume-old=install", f"VENV={programs().parent}", *settings, target)


def made_clone(repository: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A clone of one's own after `make tables` and a commit, profile smoke.

    The pipeline runs once for all test processes; what a test gets is a copy, with its own cache and store.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # which the processes share
    folder = root / "made" / "dlcr"
    with FileLock(root / "made.lock"):
        if not folder.exists():
            unfinished = root / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make_tables(repository, unfinished / "dlcr")
            unfinished.rename(folder.parent)
    return shutil.copytree(folder, tmp_path_factory.mktemp(name) / "dlcr", symlinks=True)


def make_tables(repository: Path, folder: Path) -> None:
    make_clone(repository, folder)
    assert "\nDone. Open reports/index.html\n" in output(start_make(folder, "tables"))
    command(folder, "git", "add", "--all")
    command(folder, "git", "commit", "--quiet", "--message", "smoke")
