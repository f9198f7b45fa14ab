"""`dlcr profile use` and `diff`: edits of params.yaml are never lost, and are told."""

import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from dlcr import profiles
from dlcr.cli import app
from dlcr.params import load_params

MINI = "k: 10\nseeds: [0, 1]\nruns:\n  a: {model: cal, mode: paired}\n  b: {model: pcb, mode: none}\n"
OTHER = "k: 2\nseeds: [5]\nruns:\n  c: {model: aim, mode: none}\n"


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small profiles, the first of which is active; the files' own checks are those of `load_params`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(profiles, "load_params", lambda path: None)
    Path("profiles").mkdir()
    for name, text in {"mini": MINI, "other": OTHER}.items():
        Path("profiles", f"{name}.yaml").write_text(text)
    Path("params.yaml").write_text(MINI)


def profile(*words: str) -> Result:
    return CliRunner().invoke(app, ["profile", *words])


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True, capture_output=True)


def test_an_edited_file_is_not_replaced_and_the_edit_is_named() -> None:
    edited = MINI.replace("k: 10", "k: 20").replace("mode: paired", "mode: concat")
    Path("params.yaml").write_text(edited)
    for name in ("other", "mini"):
        error = str(profile("use", name).exception)
        assert "differs from profile mini: k: 10 -> 20; runs.a.mode: paired -> concat (`dlcr profile diff`)" in error
        assert f"dlcr profile use {name} --force" in error
    assert Path("params.yaml").read_text() == edited
    assert sorted(path.name for path in Path().iterdir()) == ["params.yaml", "profiles"]


def test_force_keeps_the_edits_and_says_how_to_go_back() -> None:
    edited = MINI.replace("k: 10", "k: 20")
    Path("params.yaml").write_text(edited)
    said = profile("use", "other", "--force").output
    assert Path("params.yaml").read_text() == OTHER
    words = said.rpartition("What it held is kept: dlcr ")[2].split()
    assert profile(*words[1:]).exit_code == 0
    assert Path("params.yaml").read_text() == edited
    # What is kept is no edit any more, and is kept once.
    assert profile("use", "other").exit_code == 0
    assert profile(*words[1:]).exit_code == 0
    assert profile("use", "mini", "--force").exit_code == 0
    assert len(list(Path("params.edited").iterdir())) == 1


def test_every_edit_is_kept_in_a_file_of_its_own() -> None:
    texts = [MINI.replace("k: 10", f"k: {k}") for k in range(11, 15)]
    for text in texts:
        Path("params.yaml").write_text(text)
        assert profile("use", "other", "--force").exit_code == 0
    assert [path.read_text() for path in sorted(Path("params.edited").iterdir())] == texts


def test_what_is_committed_is_replaced_and_comes_back() -> None:
    edited = MINI.replace("k: 10", "k: 20")
    Path("params.yaml").write_text(edited)
    git("init", "--quiet")
    git("add", ".")
    assert "was edited" in str(profile("use", "other").exception)  # staged only
    git("commit", "--quiet", "--message", "k")
    assert "git restore params.yaml" in profile("use", "other").output
    assert not Path("params.edited").exists()
    git("restore", "params.yaml")
    assert Path("params.yaml").read_text() == edited
    Path("params.yaml").write_text(edited.replace("k: 20", "k: 30"))
    assert "k: 10 -> 30" in str(profile("use", "other").exception)


@pytest.mark.parametrize("text", ["k: [", "- 1\n", "", MINI + "# mine\n", "\xff"])
def test_whatever_stands_in_the_file_is_an_edit(text: str) -> None:
    Path("params.yaml").write_bytes(text.encode("latin-1"))
    error = profile("use", "other").exception
    assert isinstance(error, ValueError)
    assert "was edited" in str(error)
    assert profile("use", "other", "--force").exit_code == 0
    assert [path.read_bytes() for path in Path("params.edited").iterdir()] == [text.encode("latin-1")]


def test_an_invalid_profile_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "load_params", load_params)
    assert "profiles/other.yaml: " in str(profile("use", "other", "--force").exception)
    assert Path("params.yaml").read_text() == MINI


def test_without_a_file_there_is_nothing_to_lose() -> None:
    Path("params.yaml").unlink()
    assert profile("use", "other").exit_code == 0
    assert Path("params.yaml").read_text() == OTHER
    Path("params.yaml").unlink()
    assert "no such file" in str(profile("diff").exception)


def test_differences_are_listed_by_key() -> None:
    assert profile("diff").output == "params.yaml is profile mini\n"
    Path("params.yaml").write_text(MINI + "# mine\n")
    assert profile("diff").output == "params.yaml is profile mini, written otherwise: comments or layout differ\n"
    more = MINI.replace("k: 10", "k: 20").replace("[0, 1]", "[0]").replace("  b: {model: pcb, mode: none}\n", "")
    Path("params.yaml").write_text(more + "  c: {model: aim}\nlist: '10'\n")
    result = profile("diff")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "params.yaml differs from profile mini:",
        "k: 10 -> 20",
        "seeds: [0, 1] -> [0]",
        "runs.b: removed",
        "runs.c: added {model: aim}",
        "list: added '10'",
    ]
    assert "k: 2 -> 20" in profile("diff", "other").output
    assert "there are mini, other" in str(profile("diff", "none").exception)


def test_values_of_another_type_differ() -> None:
    found = profiles.differences({"a": 1, "b": {}, "c": None, "d": {"e": 1}}, {"a": True, "b": [], "c": "", "d": 2})
    assert list(found) == ["a: 1 -> true", "b: {} -> []", "c: null -> ''", "d: {e: 1} -> 2"]
