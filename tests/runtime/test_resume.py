"""Files made once: what is taken, what is made, what is removed, and what a stop leaves."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from dlcr.runtime.files import write_text
from dlcr.runtime.resume import make_files, parts_folder, split_rows
from dlcr.runtime.store import Store

FILES = {"0.txt": ["a", "b"], "1.txt": ["c", "d"], "2.txt": ["e"]}


def upper():
    return lambda rows: [row.upper() for row in rows]


def write_rows(path: Path, rows: list[str], result: list[str]) -> None:
    write_text(path, " ".join(result))


def make(folder: Path, files: dict = FILES, build=upper, version: str = "1", **others) -> int:
    store = Store(folder.parent / "store")
    return make_files(
        folder, files, build, list, lambda rows: [version, rows], write_rows, "test", store=store, **others
    )


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_what_the_store_has_is_not_made_again(tmp_path):
    built = []

    def build():
        built.append(True)
        return upper()

    assert make(tmp_path / "a", build=build) == 5
    assert content(tmp_path / "a") == {"0.txt": "A B", "1.txt": "C D", "2.txt": "E"}
    shutil.rmtree(tmp_path / "a")
    assert make(tmp_path / "a", build=build) == 0
    assert len(built) == 1
    assert make(tmp_path / "b", FILES | {"3.txt": ["f"]}, build=build) == 1
    assert content(tmp_path / "a").items() < content(tmp_path / "b").items()
    assert make(tmp_path / "a", version="2") == 5


def test_other_files_are_removed_and_folders_are_not(tmp_path):
    make(tmp_path / "a")
    (tmp_path / "a" / "inner").mkdir()
    make(tmp_path / "a", {"0.txt": ["a", "b"]})
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["0.txt", "inner"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_stopped_run_goes_on_where_it_was(tmp_path, error):
    worked = []

    def build():
        def work(rows):
            if len(worked) == 2:
                raise error
            worked.append(rows)
            return [row.upper() for row in rows]

        return work

    with pytest.raises(error):
        make(tmp_path / "a", build=build)
    assert content(tmp_path / "a") == {"0.txt": "A B", "1.txt": "C D"}
    worked.clear()
    assert make(tmp_path / "a", build=build) == 1
    assert worked == [["e"]]


def test_a_failed_write_is_not_lost(tmp_path):
    def write(path, rows, result):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make_files(tmp_path / "a", FILES, upper, list, list, write, "test", store=Store(tmp_path / "store"))


def test_what_dvc_kept_is_asked_for_the_rest(tmp_path, monkeypatch):
    """Of two kept files one says that it is what would be made."""
    kept = {"1.txt": "C D", "2.txt": "other"}
    monkeypatch.setattr("dlcr.runtime.resume.earlier_files", lambda folder: kept)
    monkeypatch.setattr("dlcr.runtime.resume.adopt", lambda text, path: write_text(path, text) or True)
    assert make(tmp_path / "a", same=lambda path, rows: path.read_text() == " ".join(rows).upper()) == 3
    assert content(tmp_path / "a") == {"0.txt": "A B", "1.txt": "C D", "2.txt": "E"}
    kept.clear()
    assert make(tmp_path / "b") == 0  # the store has them now


def test_the_code_of_what_builds_and_writes_is_part_of_the_keys(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("dlcr.runtime.resume.code_of", lambda *functions: asked.append(functions) or str(len(asked)))
    assert [make(tmp_path / "a") for _ in range(2)] == [5, 5]
    assert asked == [(upper, write_rows)] * 2


def test_rows_are_split(tmp_path):
    assert split_rows(list(range(5)), 2, "{:03d}.x") == {"000.x": [0, 1], "001.x": [2, 3], "002.x": [4]}
    assert split_rows([], 2, "{}") == {}
    assert make(tmp_path / "a", {}) == 0


def test_parts_begin_empty_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    killed = tmp_path / ".dlcr" / "parts" / "describe@minicc"
    write_text(killed / "left", "over")
    with parts_folder("describe", "minicc") as parts:
        assert parts == killed
        assert not parts.exists()
        make(parts, build=partial(upper))
        assert len(list(parts.iterdir())) == 3
    assert not killed.exists()
