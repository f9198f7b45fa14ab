"""The README is true: its commands are run by tests or CI, its imports work, its table is the report's."""

import importlib
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

RUN_BY_CI = {"make test", "make demo", "make tables"}
RUN_BY_PIPELINE_TESTS = {
    "dvc repro",
    "dvc exp run -S k=20",
    "dvc metrics diff",
    "dvc params diff",
    "dlcr claims",  # tests/test_cli.py
    "dvc plots diff",
    "dvc exp show --no-pager --drop '^(?!Experiment|k$|.*row[156].top1$)'",
    "dvc repro train@progressive",
    "dvc repro prepare@mine",
    "dlcr profile list",
    "dlcr profile use prcc",
    "dvc repro prepare@prcc",
    "dlcr import-released RELEASE --dataset prcc",  # tests/test_cli.py
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_every_command_is_run_somewhere(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    commands = {
        line.removeprefix("$ ").split("#")[0].strip()
        for block in blocks(text, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    }
    assert commands == RUN_BY_CI | RUN_BY_PIPELINE_TESTS


def test_imports_of_the_library_section(repository: Path) -> None:
    for block in blocks((repository / "README.md").read_text(), "python"):
        for module, names in re.findall(r"^from (\S+) import ([\w, ]+)", block, flags=re.MULTILINE):
            for name in names.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), f"{module}.{name}"


def test_the_example_of_evaluation_runs(repository: Path, capsys: pytest.CaptureFixture) -> None:
    example = next(block for block in blocks((repository / "README.md").read_text(), "python") if "rng" in block)
    exec(compile(example, "README.md", "exec"), {})
    assert "Difference(mean=" in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_of_expansion_runs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    example = next(block for block in blocks((repository / "README.md").read_text(), "python") if "expander" in block)
    names: dict = {}
    exec(compile(example, "README.md", "exec"), names)
    for image, mask, variant in zip(names["images"], names["masks"], names["variants"], strict=True):
        assert (variant[~mask] == image[~mask]).all()
        assert (variant[mask] != image[mask]).any()


def test_links_and_pictures_exist(repository: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (repository / "README.md").read_text()):
        if not target.startswith("http"):
            assert (repository / target).exists(), target


def test_results_are_those_of_the_report(repository: Path) -> None:
    """The README's results table is reports/tables/a1.md, to the letter."""
    text = (repository / "README.md").read_text()
    shown = text.split("<!-- results -->")[1].split("<!-- end of results -->")[0].strip()
    assert shown in (repository / "reports" / "tables" / "a1.md").read_text()


def test_profiles_by_the_command_line(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcr.cli import app

    (tmp_path / "profiles").symlink_to(repository / "profiles")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["profile", "use", "prcc"]).exit_code == 0
    assert "* prcc" in runner.invoke(app, ["profile", "list"]).output
    assert (tmp_path / "params.yaml").read_bytes() == (repository / "profiles" / "prcc.yaml").read_bytes()
    failed = runner.invoke(app, ["profile", "use", "huge"])
    assert isinstance(failed.exception, FileNotFoundError)
    assert "there are ccvid, last, ltcc, minicc, paper, prcc, prcc-models, smoke, vc-clothes" in str(failed.exception)
