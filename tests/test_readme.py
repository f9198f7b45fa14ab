"""The README is true: its commands are run by tests or CI, its imports work, its table is the report's."""

import importlib
import re
import shutil
from pathlib import Path

import pytest
from clones import export
from typer.testing import CliRunner

from stages import report

RUN_BY_CI = {"make test", "make demo", "make tables"}
RUN_BY_PIPELINE_TESTS = {
    "dvc repro $(dlcr targets a1)",
    "dvc exp run -S k=20 $(dlcr targets a1)",
    "python -m stages.report",  # test_the_committed_report_is_made_from_what_is_committed
    "dvc metrics diff",
    "dvc params diff",
    "dlcr claims",  # tests/test_cli.py
    "dlcr models pin",  # tests/test_pins.py
    "dlcr doctor",  # tests/test_doctor.py, tests/test_container_engines.py
    "dvc plots diff",
    "dvc exp show --no-pager --drop '^(?!Experiment|k$|evaluations/(baseline|progressive).json:(refined.)?top1$)'",
    "dvc repro train@progressive",
    "dlcr add-dataset mine datasets/mine",
    "dlcr profile use mine",
    "dvc repro",  # test_own_folder
    "dlcr profile list",
    "dlcr profile use prcc",
    "dvc repro prepare@prcc",
    "dlcr fetch-released --dataset prcc",  # tests/exchange/test_released_files.py
    "dlcr import-released RELEASE --dataset prcc",  # tests/test_cli.py
    "dlcr export inpainting --as parquet OUT",  # tests/exchange/test_export.py
    "dlcr evaluate features.npz --dataset minicc",  # tests/exchange/test_exchange_evaluation.py
    "dlcr embed progressive photos --out features.parquet",  # tests/exchange/test_embedding.py
    "dlcr search progressive queries gallery",  # tests/exchange/test_search.py
    "dlcr export-model progressive --to onnx",  # tests/exchange/test_model_export.py
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
    mean, low, high, p, smallest = map(float, capsys.readouterr().out.splitlines()[1].split())
    assert low < mean < high
    assert 0 < p <= 1
    assert smallest > (high - low) / 2


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
    return export(repository, tmp_path_factory.mktemp("shipped"), "README.md", "evaluations", "reports", "docs")


def test_links_and_pictures_exist(repository: Path, shipped: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (repository / "README.md").read_text()):
        if not target.startswith("http"):
            assert ((shipped if target.startswith("reports/") else repository) / target).exists(), target


def test_results_are_those_of_the_report(shipped: Path) -> None:
    """The README's results table is reports/tables/a1.md, to the letter."""
    text = (shipped / "README.md").read_text()
    shown = text.split("<!-- results -->")[1].split("<!-- end of results -->")[0].strip()
    assert shown in (shipped / "reports" / "tables" / "a1.md").read_text()


def test_the_committed_report_is_made_from_what_is_committed(
    shipped: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone without data or models makes every committed table, figure and plot again, to the byte."""
    shutil.copytree(shipped, tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    Path("params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    committed = {path: path.read_bytes() for path in sorted(Path("reports").rglob("*.*")) if path.is_file()}
    assert len(committed) > 50
    report.main()
    again = {path: path.read_bytes() for path in committed if path.exists()}
    assert [str(path) for path in committed if again.get(path) != committed[path]] == []
    made = {path for kind in ("tables", "figures", "plots") for path in Path("reports", kind).rglob("*.*")}
    assert made <= set(committed)


def test_claims_are_those_of_the_report(shipped: Path) -> None:
    """The README's table of claims is reports/tables/claims.md, to the letter, but for the claim about time: the report
    has no clock."""
    text = (shipped / "README.md").read_text()
    rows = (shipped / "reports/tables/claims.md").read_text().partition("\n\n")[0].splitlines()
    assert len(rows) == 18
    assert [row for row in rows if row not in text and "takes less time" not in row] == []


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
