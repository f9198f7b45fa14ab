"""Earlier files: what dvc.lock and DVC's cache give a running stage, when they are trusted, and what damage does."""

import os
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo

from dlcr.runtime.earlier import EarlierFile, adopt, earlier_files
from dlcr.runtime.files import write_text
from dlcr.runtime.store import Store

PIPELINE = """
stages:
  make:
    foreach: [small]
    do:
      cmd: mkdir generated && cp -r data generated/${item}
      deps: [data, dlcr, stages/make.py]
      params:
        - containers/images.yaml: [vision]
      outs: ["generated/${item}"]
"""
OUTPUT = Path("generated", "small")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository, with a space in its name, after `dvc repro`; its output is removed, as before a stage runs."""
    root = tmp_path_factory.mktemp("a repository")
    files = {
        "dvc.yaml": PIPELINE,
        "data/variant-0.arrow": "zero",
        "data/variant-1.arrow": "one",
        "dlcr/library.py": "1",
        "stages/make.py": "1",
        "containers/images.yaml": "vision: null\n",
    }
    for name, text in files.items():
        write_text(root / name, text)
    Repo.init(str(root), no_scm=True).close()
    write_text(root / ".dvc" / "config", f"[core]\n  no_scm = true\n  site_cache_dir = {root / 'site'}\n")
    before = Path.cwd()
    os.chdir(root)
    try:
        with Repo() as repo:
            repo.reproduce()
    finally:
        os.chdir(before)
    shutil.rmtree(root / "generated")
    return root


@pytest.fixture
def stage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository in which stage make@small runs."""
    root = shutil.copytree(made, tmp_path / "stage")
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_STAGE", "make@small")
    return root


def contents() -> dict[str, str]:
    return {name: file.path.read_text() for name, file in earlier_files(OUTPUT).items()}


def cached(root: Path) -> list[Path]:
    return sorted(path for path in (root / ".dvc" / "cache" / "files").rglob("*") if path.is_file())


def test_a_running_stage_finds_what_its_output_held(stage: Path) -> None:
    assert contents() == {"variant-0.arrow": "zero", "variant-1.arrow": "one"}
    (stage / "data" / "variant-0.arrow").write_text("other data")  # that is for the files' own fingerprints to say
    assert len(contents()) == 2


def test_another_process_may_hold_dvcs_lock(stage: Path) -> None:
    with Repo() as parent, parent.lock:
        assert len(contents()) == 2


def test_outside_a_stage_there_is_nothing(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE")
    assert contents() == {}


@pytest.mark.parametrize("name", ["dlcr/library.py", "dlcr/new.py", "stages/make.py", "containers/images.yaml"])
def test_other_code_is_not_trusted(stage: Path, name: str) -> None:
    (stage / name).write_text("vision: sha256-2\n")
    assert contents() == {}


def test_a_code_dependency_that_dvc_lock_does_not_know_is_not_trusted(stage: Path) -> None:
    (stage / "dlcr_more.py").write_text("")
    text = (stage / "dvc.yaml").read_text()
    (stage / "dvc.yaml").write_text(text.replace("deps: [data,", "deps: [data, dlcr_more.py,"))
    assert len(contents()) == 2
    (stage / "stages" / "more.py").write_text("")
    (stage / "dvc.yaml").write_text(text.replace("deps: [data,", "deps: [data, stages/more.py,"))
    assert contents() == {}


def test_a_stage_that_never_ran_has_nothing(stage: Path) -> None:
    (stage / "dvc.lock").unlink()
    assert contents() == {}


def test_what_the_cache_lacks_is_not_downloaded(stage: Path) -> None:
    with Repo() as repo, repo.config.edit() as config:
        config["core"]["remote"] = "local"
        config["remote"]["local"] = {"url": str(stage / "remote")}
    with Repo() as repo:
        repo.push()
    assert len(list((stage / "remote" / "files").rglob("??/*"))) >= 3
    earlier_files(OUTPUT)["variant-1.arrow"].path.unlink()
    assert contents() == {"variant-0.arrow": "zero"}
    for path in cached(stage):
        path.unlink()
    assert contents() == {}
    assert cached(stage) == []


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda root: (root / "dvc.yaml").write_text("stages: ["), "dvc.yaml"),
        (lambda root: shutil.rmtree(root / ".dvc"), "NotDvcRepoError"),
    ],
)
def test_an_error_of_dvc_is_a_warning(stage: Path, break_it, reason: str) -> None:
    break_it(stage)
    with pytest.warns(UserWarning, match=f"small: its earlier files are not taken.*{reason}"):
        assert earlier_files(OUTPUT) == {}


def test_adopt_puts_a_read_only_file_in_place_of_another(stage: Path) -> None:
    """... and neither a later writer nor the store writes through it."""
    earlier = earlier_files(OUTPUT)["variant-0.arrow"]
    before = OUTPUT / "linked"
    write_text(OUTPUT / "variant-0.arrow", "before")
    before.hardlink_to(OUTPUT / "variant-0.arrow")
    target = OUTPUT / "variant-0.arrow"
    assert adopt(earlier, target)
    assert (target.read_text(), before.read_text()) == ("zero", "before")
    assert target.stat().st_mode & 0o222 == 0
    Store().put("key", target)
    write_text(target, "after")
    assert earlier.path.read_text() == "zero"
    assert Store().take("key", target)
    assert target.read_text() == "zero"


@pytest.mark.parametrize("damage", ["changed", "truncated", "gone"])
def test_a_damaged_file_is_not_adopted_and_leaves_the_cache(stage: Path, damage: str) -> None:
    """DVC would trust it unread: with it gone, DVC takes the bytes that are made again."""
    earlier = earlier_files(OUTPUT)["variant-0.arrow"]
    earlier.path.chmod(0o644)
    if damage == "gone":
        earlier.path.unlink()
    else:
        earlier.path.write_text("zeri" if damage == "changed" else "ze")
        earlier.path.chmod(0o444)
    target = OUTPUT / "variant-0.arrow"
    write_text(target, "before")
    with pytest.warns(UserWarning, match=r"variant-0\.arrow will be made again"):
        assert not adopt(earlier, target)
    assert target.read_text() == "before"
    assert [path.name for path in OUTPUT.iterdir()] == ["variant-0.arrow"]
    assert not earlier.path.exists()


def test_adopt_copies_where_links_do_not_work(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "another owner's file")

    monkeypatch.setattr(os, "link", no_link)
    earlier = earlier_files(OUTPUT)["variant-1.arrow"]
    assert isinstance(earlier, EarlierFile)
    assert adopt(earlier, OUTPUT / "variant-1.arrow")
    assert (OUTPUT / "variant-1.arrow").read_text() == "one"
    assert not (OUTPUT / "variant-1.arrow").samefile(earlier.path)
