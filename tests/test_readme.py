"""The README is true: its commands are run by tests or CI, its imports work, its table is the report's."""

import importlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from clones import export
from typer.testing import CliRunner

RUN_BY_CI = {"make test", "make demo", "make tables"}
RUN_BY_PIPELINE_TESTS = {
    "dvc repro",
    "dvc exp run -S k=20",
    "dvc metrics diff",
    "dvc params diff",
    "dlcr claims",  # tests/test_cli.py
    "dlcr models pin",  # tests/test_pins.py
    "dlcr doctor",  # tests/test_doctor.py, tests/test_container_engines.py
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


@pytest.fixture(scope="module")
def shipped(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README and the results as they are committed: a user's run, `make demo` for one, writes others."""
    return export(repository, tmp_path_factory.mktemp("shipped"), "README.md", "reports")


def test_links_and_pictures_exist(repository: Path, shipped: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (repository / "README.md").read_text()):
        if not target.startswith("http"):
            assert ((shipped if target.startswith("reports/") else repository) / target).exists(), target


def test_results_are_those_of_the_report(shipped: Path) -> None:
    """The README's results table is reports/tables/a1.md, to the letter."""
    text = (shipped / "README.md").read_text()
    shown = text.split("<!-- results -->")[1].split("<!-- end of results -->")[0].strip()
    assert shown in (shipped / "reports" / "tables" / "a1.md").read_text()


def test_models_are_those_of_table_3(shipped: Path) -> None:
    """The README's short table of models holds the numbers of reports/tables/t3.csv."""
    lines = (shipped / "README.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| | PCB |"))
    models = [cell.strip().split(" ")[0] for cell in lines[start].split("|")[2:-1]]
    table = pd.read_csv(shipped / "reports/tables/t3.csv").set_index(["model", "variant"])
    assert set(models) == set(table.index.get_level_values("model"))
    for line in lines[start + 2 : start + 5]:
        variant, *cells = [cell.strip() for cell in line.split("|")[1:-1]]
        rows = [table.loc[(model, variant)] for model in models]
        assert cells == [f"{row['top1']:.1f} / {row['map']:.1f}" for row in rows]


def test_claims_are_those_of_the_report(shipped: Path) -> None:
    """The README's table of claims holds every effect, interval and verdict of reports/claims.json."""
    text = (shipped / "README.md").read_text()
    for claim in json.loads((shipped / "reports/claims.json").read_text())["claims"].values():
        sign = "+" if claim["unit"].startswith("points") else ""
        effect = f"{claim['effect']:{sign}.1f} {claim['unit']}"
        effect += f" ({claim['low']:.1f} to {claim['high']:.1f})" if "low" in claim else ""
        assert f"| {claim['statement']} | {effect} | {claim['outcome']} |" in text


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
    known = ", ".join(sorted(path.stem for path in (repository / "profiles").glob("*.yaml")))
    assert f"there are {known}" in str(failed.exception)
