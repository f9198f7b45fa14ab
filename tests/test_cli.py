"""`dlcr import-released`, `targets`, `claims` and the shell's completion as a user types them."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from clones import command, start
from strips import pack_prcc, train_rows, write_strips
from typer.testing import CliRunner

from dlcr import __version__
from dlcr.cli import app, main
from dlcr.data import open_generated
from dlcr.reporting import claims


@pytest.mark.parametrize(("profile", "stage"), [("smoke", "refine-eval"), ("ltcc", "private-refine-eval")])
def test_targets_of_tables(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, stage: str
) -> None:
    """Each evaluation once, of one table or several, in any case."""
    monkeypatch.chdir(tmp_path)
    text = (repository / "profiles" / f"{profile}.yaml").read_text()
    Path("params.yaml").write_text(text)
    report = yaml.safe_load(text)["report"]["tables"]
    for tables in (["A1"], ["a5", "A8" if "a8" in report else "a1"], ["a1", "a1"]):
        rows = [row for table in tables for row in report[table.lower()].values()]
        names = {row if isinstance(row, str) else row["evaluation"] for row in rows}
        printed = CliRunner().invoke(app, ["targets", *tables]).output.splitlines()
        assert printed == sorted(f"{stage}@{name}" for name in names)
        assert len(printed) > 1


def test_targets_of_rows(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make demo` asks for; a row's name may have a stroke itself."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(repository / "profiles" / "minicc.yaml", "params.yaml")
    headline = re.search(r"^HEADLINE = (.+)$", (repository / "Makefile").read_text(), re.MULTILINE).group(1).split()
    printed = CliRunner().invoke(app, ["targets", *headline]).output.splitlines()
    assert printed == [f"refine-eval@{name}" for name in ("baseline", "paired", "progressive")]
    printed = CliRunner().invoke(app, ["targets", "a1/oracle", "T3/PCB/stage 1", "ccfa/phase-1"]).output.splitlines()
    assert printed == [f"refine-eval@{name}" for name in ("ccfa-ablations", "oracle", "pcb-paired")]


@pytest.mark.parametrize(
    ("tables", "params", "printed", "message"),
    [
        (["a11"], {}, "no-such-table-a11", "no table 'a11' in the report; it has t2, t3, t4, a1, a3"),
        (["a1", "A11"], {}, "no-such-table-a1-a11", "no table 'A11'"),
        ([], {}, "no-such-table", "name a table of the report; it has t2"),
        (["--all"], {}, "no-such-table-all", "no table '--all'"),
        (["$(x); *"], {}, "no-such-table-x", "no table '$(x); *'"),
        (["a1/7"], {}, "no-such-table-a1-7", "no row '7' of table 'a1'; params.yaml's report has 1, 4, 5, 6, oracle"),
        (["a1/"], {}, "no-such-table-a1", "name a row of table 'a1'"),
        (["a3"], {}, "no-such-table-a3", "table 'a3' has no rows in params.yaml's report"),
        (["a1"], {"k": "ten"}, "no-such-table-a1", "params.yaml: k: "),
        (["a1"], {"more": 1}, "no-such-table-a1", "params.yaml: more: unknown key"),
        (["a1"], None, "no-such-table-a1", "params.yaml: no such file"),
    ],
)
def test_an_error_is_a_target_that_cannot_exist(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tables: list[str],
    params: dict | None,
    printed: str,
    message: str,
) -> None:
    """`dvc repro $(dlcr targets ...)` without any word would run the whole pipeline."""
    monkeypatch.chdir(tmp_path)
    if params is not None:
        text = (repository / "profiles" / "smoke.yaml").read_text()
        Path("params.yaml").write_text(yaml.safe_dump(yaml.safe_load(text) | params))
    result = CliRunner().invoke(app, ["targets", *tables])
    assert result.output == f"{printed}\n"
    assert result.exit_code == 1
    assert message in str(result.exception)


def test_a_bug_is_a_target_that_cannot_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("libfoo.so")

    monkeypatch.setattr("dlcr.cli.load_params", fail)
    result = CliRunner().invoke(app, ["targets", "a1"])
    assert (result.output, type(result.exception)) == ("no-such-table-a1\n", ImportError)


@pytest.mark.parametrize("words", [["tragets", "a1"], ["--verbose", "targets", "a1"]])
def test_a_command_that_is_not_there_is_a_target_that_cannot_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["dlcr", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().out == "no-such-command\n"


def test_a_mistyped_table_runs_nothing(repository: Path, tmp_path: Path) -> None:
    """With the real dvc and make: of a pipeline whose one stage leaves a file."""
    shutil.copy(repository / "Makefile", tmp_path)
    shutil.copy(repository / "profiles" / "smoke.yaml", tmp_path / "params.yaml")
    (tmp_path / "dvc.yaml").write_text("stages: {all: {cmd: touch ran, params: [k]}}")
    command(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    process = start(tmp_path, "sh", "-c", "dvc repro $(dlcr targets a11)")
    printed, _ = process.communicate()
    assert process.returncode != 0
    assert "no table 'a11' in the report" in printed
    assert "'no-such-table-a11' not found" in printed
    program = tmp_path / "venv" / "bin" / "dlcr"  # one that cannot start, and says nothing
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    make = start(tmp_path, "make", "--assume-old=install", "VENV=venv", "demo")
    make.communicate()
    assert make.returncode != 0
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "dvc.lock").exists()


def test_targets_of_ablations_are_their_one_stage(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((repository / "profiles/minicc.yaml").read_bytes())
    printed = CliRunner().invoke(app, ["targets", "ccfa"]).output.split()
    assert printed == [f"refine-eval@{name}" for name in ("baseline", "ccfa", "ccfa-ablations")]


def test_claims_say_their_verdict_by_the_exit_code(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((repository / "profiles/minicc.yaml").read_bytes())
    nothing_run = CliRunner().invoke(app, ["claims"])
    assert nothing_run.exit_code == 0
    assert nothing_run.output.count("NOT RUN") >= 15
    assert CliRunner().invoke(app, ["claims", "--strict"]).exit_code == 4
    found = json.loads(CliRunner().invoke(app, ["claims", "--json"]).output)
    assert {claim["outcome"] for claim in found} == {"not run"}
    rows = CliRunner().invoke(app, ["claims", "--markdown"]).output.splitlines()
    assert rows[0] == "| Claim | Effect (95 % interval) | Smallest effect found with 80 % power | Here |"
    assert rows[2] == "| DLCR as a whole raises top-1. |  | – | not run |"
    wrong = claims.Claim(
        "x", "It helps.", "+1", "contradicted", -5.0, -8.0, -2.0, 0.001, 2.1, "points", "paired", "", []
    )
    monkeypatch.setattr(claims, "claims", lambda *arguments: [wrong])
    contradicted = CliRunner().invoke(app, ["claims"])
    assert contradicted.exit_code == 3
    assert "CONTRADICTED" in contradicted.output
    contradicted = CliRunner().invoke(app, ["claims", "--markdown"])
    assert contradicted.exit_code == 3
    assert "| It helps. | -5.0 points (-8.0 to -2.0) | 2.1 | contradicted |" in contradicted.output


def test_the_version_is_that_of_the_package(repository: Path) -> None:
    assert command(repository, "dlcr", "--version") == f"dlcr {__version__}\n"


def test_the_shell_completes_commands_and_profiles(repository: Path, tmp_path: Path) -> None:
    """As bash calls it after `dlcr --install-completion`, which writes into the home that it is given."""
    shutil.copytree(repository / "profiles", tmp_path / "profiles")
    script = """
dlcr --install-completion > /dev/null
. ~/.bashrc
complete_words() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dlcr_completion dlcr; echo "${COMPREPLY[@]}"
}
complete_words dlcr cl
complete_words dlcr profile use prcc
"""
    assert command(tmp_path, "bash", "-ec", script, HOME=str(tmp_path)).split("\n")[:2] == [
        "claims",
        "prcc prcc-klein prcc-models prcc-released prcc-sdxl",
    ]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_strips(pack_prcc(tmp_path), tmp_path / "release")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["import-released", *arguments])


def test_the_set_and_what_comes_next(workplace: Path) -> None:
    result = run("release", "--dataset", "prcc")
    assert result.exit_code == 0, result.output
    assert "generated/prcc-released: 3 variants of 5 images; 3 files made, 0 kept" in result.output
    for step in ("`prcc-released: {dataset: prcc}`", "`generated: prcc-released`", "dvc add generated/prcc-released"):
        assert step in result.output
    assert open_generated("generated/prcc-released").variants == 3


def test_another_name_and_missing_images(workplace: Path) -> None:
    (workplace / "release" / train_rows(Path("data/prcc"))["image_id"].iloc[0]).with_suffix(".png").unlink()
    assert "--allow-missing would skip" in str(run("release", "--dataset", "prcc", "--name", "theirs").exception)
    result = run("release", "--dataset", "prcc", "--name", "theirs", "--allow-missing")
    assert "1 images are not in the release: skipped" in result.output
    assert [path.name for path in Path("generated").iterdir()] == ["theirs"]


@pytest.mark.parametrize("name", ["none", "../prcc", "", "Mine", ".hidden"])
def test_names_that_cannot_be_a_set(workplace: Path, name: str) -> None:
    assert "cannot name a dataset or set" in str(run("release", "--dataset", "prcc", "--name", name).exception)
    assert not Path("generated").exists()


@pytest.mark.parametrize(
    ("profile", "name", "message"),
    [
        ("minicc", "guided", "the pipeline makes it (generated.guided of params.yaml); choose another"),
        ("ltcc", "ltcc-inpainting", "the pipeline makes it (private.generated.ltcc-inpainting of params.yaml)"),
        ("minicc", "queries-minicc", "the pipeline makes it (generated.queries-minicc of params.yaml)"),
    ],
)
def test_names_of_sets_that_the_pipeline_makes(
    repository: Path, workplace: Path, profile: str, name: str, message: str
) -> None:
    shutil.copy(repository / "profiles" / f"{profile}.yaml", "params.yaml")
    assert message in str(run("release", "--dataset", "prcc", "--name", name).exception)
    assert not Path("generated").exists()


def test_a_set_of_private_data_is_listed_as_private(repository: Path, workplace: Path) -> None:
    Path("data", "prcc").rename(Path("data", "ltcc"))
    for profile, section in {"ltcc": "private.imported", "minicc": "imported"}.items():
        shutil.copy(repository / "profiles" / f"{profile}.yaml", "params.yaml")
        assert f"under `{section}` of params.yaml" in run("release", "--dataset", "ltcc").output


def test_unknown_dataset(workplace: Path) -> None:
    assert "data/last: not packed yet; run `dvc repro prepare@last` first" in str(
        run("release", "--dataset", "last").exception
    )
