"""`make demo`, then `make test`: what tests read is committed or made by them, and not what a user's commands left."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from clones import command, make_clone
from written import WRITTEN


def use(clone: Path) -> None:
    """Leaves the clone as commands do: another profile, edited; other results, some gone; other images; a remote."""
    smoke = (clone / "profiles" / "smoke.yaml").read_text()
    edited = re.sub(r"(?m)^k: \d+", "k: 3", smoke)
    assert edited != smoke
    (clone / "params.yaml").write_text(edited)
    (clone / "profiles" / "mine.yaml").write_text(edited)
    reports = clone / "reports"
    for path in [*reports.glob("tables/*"), reports / "sets.json", *(clone / "evaluations").glob("*.json")]:
        path.write_text(re.sub(r"\d", "7", path.read_text()))
    (reports / "tables" / "t3.csv").unlink()
    (reports / "index.html").write_text("another run's")
    shutil.rmtree(clone / "evaluations" / "progressive")
    shutil.rmtree(reports / "figures")
    (clone / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {}}))
    (clone / "containers" / "images.yaml").write_text(f"vision: sha256:{32 * 'ab'}\nreid: null\nreport: null\n")
    (clone / "generated" / "mine").mkdir()
    (clone / "generated" / "mine" / "variant-000-block-0000.arrow").touch()
    (clone / "generated" / "mine.dvc").write_text("outs:\n- path: mine\n")
    command(clone, "dvc", "remote", "add", "--default", "shared", "/nowhere")


@pytest.fixture
def used(repository: Path, tmp_path: Path) -> Path:
    clone = make_clone(repository, tmp_path / "dlcr")
    shutil.copy(clone / "profiles" / "minicc.yaml", clone / "params.yaml")
    command(clone, "git", "add", "--all")
    command(clone, "git", "commit", "--quiet", "--message", "clone")
    use(clone)
    return clone


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_committed_is_tested_whatever_was_run(used: Path) -> None:
    """All test files that ask for what is committed. Others cannot read the rest: written.py refuses it."""
    others = [path for path in (used / "tests").rglob("test_*.py") if path.name != Path(__file__).name]
    files = [path for path in others if "export(repository" in path.read_text()]
    assert {path.name for path in files} >= {"test_readme.py", "test_params.py"}
    words = (sys.executable, "-B", "-m", "pytest", "-o", "addopts=", "-m", "not slow", "-p", "no:cacheprovider")
    printed = command(used, *words, *(str(path) for path in files), PYTHONPATH=str(used))
    assert re.search(r"^=+ \d+ passed(, \d+ deselected)? in", printed, flags=re.MULTILINE), printed


def test_a_clone_is_of_what_is_committed(used: Path, tmp_path: Path) -> None:
    """Code that is not committed is in it, results are not."""
    (used / "dlcr" / "new.py").touch()
    other = make_clone(used, tmp_path / "other")
    assert (other / "dlcr" / "new.py").exists()
    assert (other / "params.yaml").read_bytes() == (other / "profiles" / "smoke.yaml").read_bytes()
    for name in ("dvc.lock", "containers/images.yaml", "reports/tables/t3.csv", "evaluations/progressive/scores.json"):
        assert (other / name).read_text() == command(used, "git", "show", f"HEAD:{name}"), name
    assert not list(other.glob("generated/mine*"))
    assert command(other, "dvc", "remote", "list") == ""


def test_without_a_commit_tests_of_it_are_left_out(tmp_path: Path) -> None:
    """In an unpacked archive, also within a repository of something else."""
    for folder in (tmp_path / "archive", tmp_path / "other" / "archive"):
        folder.mkdir(parents=True)
    command(tmp_path / "other", "git", "init", "--quiet")
    for folder in (tmp_path / "archive", tmp_path / "other" / "archive"):
        with pytest.raises(pytest.skip.Exception, match="git tells no commit of "):
            make_clone(folder, tmp_path / "clone")


@pytest.mark.parametrize("name", WRITTEN)
def test_no_test_reads_what_users_write(repository: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "tests")
    file = f"{name}x/y" if name.endswith("/") else name
    for path in (repository / file, Path("..", file)):
        with pytest.raises(AssertionError, match="users' commands write"):
            path.read_text()
