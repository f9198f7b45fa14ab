"""Code in keys: what a module uses is found, and nothing else; its syntax counts, and not its words."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from textwrap import dedent

import pytest

from dlcr.runtime import code
from dlcr.runtime.code import code_of, installed_version, used_modules
from dlcr.runtime.files import write_text

TREE = {
    "dlcr/__init__.py": "",
    "dlcr/work.py": """
        import json
        import numpy as np
        from typing import TYPE_CHECKING
        from dlcr import whole
        from dlcr.some import given, inner
        from dlcr.runtime import progress
        if TYPE_CHECKING:
            from dlcr.hints import Hint
        def build():
            from dlcr.late import late
            return late
        if __name__ == "__main__":
            from dlcr.command import run
    """,
    "dlcr/some/__init__.py": """
        from .first import given
        from dlcr.some.second import other
        def __getattr__(name):
            from dlcr.some.lazy import slow
            return slow
    """,
    "dlcr/some/first.py": "given = 1",
    "dlcr/some/second.py": "import dlcr.reporting",
    "dlcr/some/lazy.py": "slow = 1",
    "dlcr/some/inner.py": "from dlcr.some import slow",
    "dlcr/whole/__init__.py": "from dlcr.whole.part import part",
    "dlcr/whole/part.py": "part = 1",
    "dlcr/late.py": "from PIL import Image\nlate = 1",
    "dlcr/hints.py": "",
    "dlcr/command.py": "",
    "dlcr/reporting.py": "",
    "dlcr/runtime/__init__.py": "",
    "dlcr/runtime/progress.py": "import tqdm",
}
USED = {"work", "some.first", "some.inner", "some.lazy", "whole", "whole.part", "late"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project in place of this one."""
    for name, text in TREE.items():
        write_text(tmp_path / name, dedent(text))
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    code._read.cache_clear()
    code._hash.cache_clear()
    yield tmp_path
    code._read.cache_clear()
    code._hash.cache_clear()


def hash_of(tree: Path) -> str:
    code._read.cache_clear()
    code._hash.cache_clear()
    return code._hash((("dlcr.work", str(tree / "dlcr" / "work.py")),))


def test_modules_are_followed_without_importing_them(tree):
    modules, packages = used_modules({"dlcr.work": tree / "dlcr" / "work.py"})
    assert set(modules) == {f"dlcr.{name}" for name in USED}
    assert packages == {"numpy", "PIL"}


@pytest.mark.parametrize("name", sorted(USED))
def test_a_change_in_any_of_them_counts(tree, name):
    path = tree / "dlcr" / Path(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    before, text = hash_of(tree), path.read_text()
    path.write_text(f'"""Says what it is."""\n\n# a comment\n{text}\n"""A word."""\n')
    assert hash_of(tree) == before
    path.write_text(text + "\nmore = 1\n")
    assert hash_of(tree) != before


@pytest.mark.parametrize("name", ["hints", "command", "reporting", "some/second", "some/__init__", "runtime/progress"])
def test_a_change_elsewhere_does_not(tree, name):
    before = hash_of(tree)
    path = tree / "dlcr" / f"{name}.py"
    path.write_text(path.read_text() + "\nmore = 1\n")
    assert hash_of(tree) == before


def test_a_new_import_counts_and_so_does_another_version(tree, monkeypatch):
    before = hash_of(tree)
    monkeypatch.setattr(code, "installed_version", lambda package: "another")
    other = hash_of(tree)
    assert other != before
    (tree / "dlcr" / "late.py").write_text("from PIL import Image\nlate = 1\nfrom dlcr import command")
    assert hash_of(tree) != other


def plain():
    return 1


def test_of_functions():
    assert code_of(plain) == code_of(partial(partial(plain), 2)) != code_of(dedent)
    assert len(code_of(plain)) == 16


def test_functions_that_a_partial_is_given_count() -> None:
    """Wherever they are: among its arguments, in a dict, in a dataclass."""
    both = code_of(plain, dedent)
    for build in (partial(plain, dedent), partial(plain, name=dedent), partial(plain, {"a": Held(dedent)}, 1, "b")):
        assert code_of(build) == both != code_of(plain)
    assert code_of(partial(plain, str, {"a": Held(None)})) == code_of(plain)


@dataclass(frozen=True)
class Held:
    function: object


@pytest.mark.parametrize(
    ("module", "used", "unused"),
    [
        ("dlcr.prompts.answers", {"dlcr.prompts.processor", "dlcr.runtime.memory"}, {"dlcr.reporting", "dlcr.params"}),
        ("dlcr.parsing.masks", {"dlcr.parsing.schp", "dlcr.data.shards"}, {"dlcr.prompts.describer", "dlcr.params"}),
        ("dlcr.faces.finder", {"dlcr.faces.mini", "dlcr.faces.insight"}, {"dlcr.data.manifest", "dlcr.params"}),
    ],
)
def test_keys_hold_what_makes_the_files(module, used, unused):
    found, packages = used_modules({module: Path(importlib.import_module(module).__file__)})
    assert used <= set(found)
    assert not unused & set(found)
    assert {"numpy", "torch", "transformers"} <= packages


def test_every_installed_package_has_its_version(repository):
    """... though it may be installed under another name than that of its import."""
    folders = ("data", "faces", "inpainting", "parsing", "prompts", "runtime")
    paths = [path for folder in folders for path in (repository / "dlcr" / folder).rglob("*.py")]
    names = {".".join(path.relative_to(repository).with_suffix("").parts): path for path in paths}
    _, packages = used_modules({name.removesuffix(".__init__"): path for name, path in names.items()})
    installed = packages_distributions()
    there = [package for package in packages if package in installed]
    assert len(there) > 8
    for package in there:
        assert installed_version(package) in {version(name) for name in installed[package]}
    assert installed_version("no-such-package") == ""
