"""Registries are folders: each module of a package is one entry, so that a new one is one new file.

    entry_names("dlcr.data.readers")                              # ["ccvid", "folder", ..., "vc-clothes"]
    find_entry("dlcr.data.readers", "vc-clothes", "dataset reader")      # the module vc_clothes

Names are listed without importing the entries, as dlcr.params asks for them at the start of every stage.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import dlcr


def entry_names(package: str) -> list[str]:
    """The names of a package's entries, sorted: of its modules, with hyphens; those that begin with _ are none."""
    folder = Path(dlcr.__file__).parent.joinpath(*package.split(".")[1:])
    return sorted(path.stem.replace("_", "-") for path in folder.glob("[!_]*.py"))


def find_entry(package: str, name: str, kind: str) -> ModuleType:
    """The module of the entry `name`. Raises ValueError that says what `kind` of entry there are."""
    names = entry_names(package)
    if name not in names:
        raise ValueError(f"no {kind} {name!r}, expected one of {', '.join(names)}")
    return import_module(f"{package}.{name.replace('-', '_')}")


def one_of(package: str) -> Callable[[str], str]:
    """A check for pydantic: the name itself if the package has such an entry, else ValueError that lists them."""

    def check(name: str) -> str:
        names = entry_names(package)
        if name not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return name

    return check
