"""Which code makes a file: what a store's key says of it, found by reading the modules, without importing any.

    code_of(mask_maker)      # 16 hex digits, other ones after a change in any module that the function's module uses

A module uses what it imports, at its top or within a function, and so on through this project. Of each module counts
the syntax: comments, docstrings and layout say nothing. Of other packages counts the installed version.
"""

import ast
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache, partial
from hashlib import blake2b
from importlib.util import resolve_name
from itertools import chain
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import dlcr

_ROOT = Path(dlcr.__file__).parents[1]
_PROJECT = ("dlcr", "stages")

# They keep, carry and show what is made, and decide about none of its bytes.
_WITHOUT = {
    f"dlcr.runtime.{name}"
    for name in ("code", "earlier", "executor", "files", "jobs", "progress", "resume", "stage", "store", "timing")
}

# Packages whose name in pip differs from the name that is imported.
_INSTALLED_AS = {"PIL": "pillow", "ruamel": "ruamel.yaml", "sklearn": "scikit-learn", "yaml": "pyyaml"}


class _Import(NamedTuple):
    """`from module import name as bound`; name "" for `import module`."""

    module: str
    name: str
    bound: str


class _Source(NamedTuple):
    """A module's syntax as text, and what it imports."""

    syntax: str
    imports: list[_Import]


def code_of(*functions: Callable) -> str:
    """A hash, 16 hex digits, of all code that functions (or functools.partial of them) use.

    Functions that a partial is given count too, also those in a dict or a dataclass among its arguments.
    Computed once per process: edits made while it runs do not count, as the old code runs on.
    """
    starts = []
    for function in chain(*map(_functions_in, functions)):
        module = sys.modules[function.__module__]
        starts.append((module.__spec__.name if module.__spec__ else module.__name__, str(module.__file__)))
    return _hash(tuple(starts))


def _functions_in(value: object) -> Iterator[Callable]:
    if isinstance(value, partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _functions_in(part)
    elif isinstance(value, FunctionType | type) and value.__module__ != "builtins":
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _functions_in(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _functions_in(getattr(value, field.name))


def used_modules(starts: dict[str, Path]) -> tuple[dict[str, Path], set[str]]:
    """The project's modules that modules, by name their files, use, with themselves, and the other packages' names."""
    modules, packages = {}, set()
    waiting = dict(starts)
    while waiting:
        name, path = waiting.popitem()
        modules[name] = path
        for item in _read(path, name).imports:
            for used in _resolve(item):
                found = _find(used)
                if found is None:
                    packages.add(used.partition(".")[0])
                elif used not in modules and used not in _WITHOUT:
                    waiting[used] = found
    return modules, packages - set(sys.stdlib_module_names) - set(_PROJECT)


@cache
def _hash(starts: tuple[tuple[str, str], ...]) -> str:
    modules, packages = used_modules({name: Path(path) for name, path in starts})
    digest = blake2b(digest_size=8)
    for name in sorted(modules):
        digest.update(f"{name}\0{_read(modules[name], name).syntax}\0".encode())
    for package in sorted(packages):
        digest.update(f"{package}=={installed_version(package)}\0".encode())
    return digest.hexdigest()


@cache
def installed_version(package: str) -> str:
    """The version of a package by the name of its import; "" where it is not installed."""
    try:
        return importlib.metadata.version(_INSTALLED_AS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _find(module: str) -> Path | None:
    """The file of one of the project's modules; None for others."""
    if module.partition(".")[0] not in _PROJECT:
        return None
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _resolve(item: _Import) -> list[str]:
    """The modules that an import brings: of a package that only passes a name on, those that it has it from."""
    if item.name and _find(f"{item.module}.{item.name}"):
        return [f"{item.module}.{item.name}"]
    path = _find(item.module)
    if item.name and path is not None and path.name == "__init__.py":
        passed_on = [other for other in _read(path, item.module).imports if other.bound == item.name]
        return [module for other in passed_on for module in _resolve(other)] or [item.module]
    return [item.module]


@cache
def _read(path: Path, name: str) -> _Source:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports: list[_Import] = []

    def text(node: object) -> str:
        if isinstance(node, ast.AST):
            if isinstance(node, ast.Import):
                imports.extend(_Import(alias.name, "", alias.asname or "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = resolve_name("." * node.level + (node.module or ""), package or None)
                imports.extend(_Import(module, alias.name, alias.asname or alias.name) for alias in node.names)
            return f"{type(node).__name__}({','.join([text(getattr(node, field, None)) for field in node._fields])})"
        if isinstance(node, list):
            return f"[{','.join([text(item) for item in node if not _says_nothing(item)])}]"
        return repr(node)

    syntax = text(ast.parse(path.read_bytes(), str(path)))
    return _Source(syntax, imports)


def _says_nothing(node: object) -> bool:
    """Whether a statement is a docstring, or is left out where others use the module."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.If):
        return False
    test = ast.unparse(node.test)
    return test in ("TYPE_CHECKING", "typing.TYPE_CHECKING") or test.startswith("__name__ ==")
