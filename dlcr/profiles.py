"""Which profile params.yaml holds, what was edited in it, and making another one active without losing edits.

A profile is a complete file under profiles/. What params.yaml held is kept in params.edited/ where nothing else has it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from dlcr.params import load_params, read_content
from dlcr.runtime.files import atomic_path

ACTIVE = Path("params.yaml")
PROFILES = Path("profiles")
KEPT = Path("params.edited")
SHOWN = 3
"""Differences that a refusal names; `dlcr profile diff` names all."""


def find_profile(name: str) -> Path:
    """The file of a profile: profiles/NAME.yaml, or a file that is named by its path. FileNotFoundError if neither."""
    if name.endswith((".yaml", ".yml")) and Path(name).is_file():
        return Path(name)
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name not in known:
        there = ", ".join(known) or "none (run in the repository's root)"
        raise FileNotFoundError(f"{PROFILES / name}.yaml: no such profile; there are {there}")
    return PROFILES / f"{name}.yaml"


def use_profile(name: str, force: bool = False) -> str:
    """Make a profile the active params.yaml and return in words what became of the old one.

    force: replace edits too; they are kept in params.edited/. Raises ValueError, and changes nothing, for edits without
    it: what no profile, no file of params.edited/ and not git's last commit holds; and for a profile that is invalid.
    """
    source = find_profile(name)
    load_params(source)
    new = source.read_bytes()
    old = ACTIVE.read_bytes() if ACTIVE.is_file() else new
    said = f"params.yaml is now profile {name}; `dvc repro` runs it"
    if old != new and not _is_kept(old):
        if _committed() == old:
            said += f"\nWhat it held is in git's last commit: git restore {ACTIVE}"
        elif force:
            said += f"\nWhat it held is kept: dlcr profile use {_keep(old)}"
        else:
            raise ValueError(
                f"{ACTIVE} was edited, by hand, `dvc exp run -S` or `dlcr models pin`, and is in no commit: "
                f"{_summary()}. Commit it, or keep a copy of it and go on: dlcr profile use {name} --force"
            )
    _replace(ACTIVE, new)
    return said


def closest_profile() -> str:
    """The profile with the most values of params.yaml: what an edited file was made from, as far as one can tell."""
    names = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if not names:
        raise FileNotFoundError(f"{PROFILES}: no profiles; run in the repository's root")
    content = read_content(ACTIVE)
    return min(names, key=lambda name: sum(1 for _ in differences(read_content(find_profile(name)), content)))


def differences(old: Any, new: Any, key: tuple[str, ...] = ()) -> Iterator[str]:
    """What is otherwise in `new`, as `runs.mine.k: 10 -> 20`, `KEY: removed` or `KEY: added VALUE`, in files' order."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new or type(old) is not type(new):
            yield f"{'.'.join(key)}: {_show(old)} -> {_show(new)}"
        return
    for name in [*old, *(name for name in new if name not in old)]:
        inner = (*key, str(name))
        if name not in new:
            yield f"{'.'.join(inner)}: removed"
        elif name not in old:
            yield f"{'.'.join(inner)}: added {_show(new[name])}"
        else:
            yield from differences(old[name], new[name], inner)


def compare(name: str | None = None) -> list[str]:
    """How params.yaml differs from a profile (None: the closest), for a terminal: a line that says which, then a line a
    difference."""
    name = name or closest_profile()
    source = find_profile(name)
    found = list(differences(read_content(source), read_content(ACTIVE)))
    if found:
        return [f"{ACTIVE} differs from profile {name}:", *found]
    same = ACTIVE.read_bytes() == source.read_bytes()
    return [f"{ACTIVE} is profile {name}" + ("" if same else ", written otherwise: comments or layout differ")]


def _summary() -> str:
    """In a few words what was edited."""
    try:
        first, *found = compare()
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    if not found:
        return first
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    few = "; ".join(shorten(line, 100, placeholder=" ...") for line in found[:SHOWN])
    return f"{first} {few}{more} (`dlcr profile diff`)"


def _is_kept(content: bytes) -> bool:
    files = [*PROFILES.glob("*.yaml"), *KEPT.glob("*.yaml")]
    return any(path.read_bytes() == content for path in files)


def _committed() -> bytes | None:
    """params.yaml in git's last commit; None without git, a repository, or a commit that has it."""
    try:
        done = subprocess.run(["git", "show", f"HEAD:./{ACTIVE}"], capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def _keep(content: bytes) -> Path:
    """A new file of params.edited/ with this content."""
    path = KEPT / f"{datetime.now():%Y-%m-%d-%H%M%S-%f}.yaml"
    _replace(path, content)
    return path


def _replace(path: Path, content: bytes) -> None:
    with atomic_path(path) as part:
        part.write_bytes(content)


def _show(value: Any) -> str:
    """A value as it could stand in the file, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
