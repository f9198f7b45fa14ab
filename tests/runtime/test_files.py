"""atomic_path: whole or not at all, nothing left behind, nothing written through links."""

import errno
import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dlcr.runtime import files
from dlcr.runtime.files import atomic_path, is_part, write_json, write_text


def test_writes_beside_and_renames(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as part:
        assert part.parent == target.parent
        assert is_part(part.name)
        part.write_text("x")
        assert not target.exists()
    assert target.read_text() == "x"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def write_and_fail() -> None:
        with atomic_path(target) as part:
            part.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_and_fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_while_flushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "file.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=r"file\.txt: nothing was written"),
        atomic_path(tmp_path / "file.txt"),
    ):
        pass


def test_links_to_the_old_content_keep_it(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("old")
    cache.chmod(0o444)
    os.link(cache, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(cache)
    for name in ("hard", "soft"):
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
        assert not (tmp_path / name).is_symlink()
    assert cache.read_text() == "old"


def _part(folder: Path, host: str, process: int) -> Path:
    path = folder / f".file.txt.{host}.{process}.0123abcd.part"
    path.write_text("half")
    return path


def test_leftovers_of_dead_writers_only(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = _part(tmp_path, files._host(), ended.pid)
    alive = _part(tmp_path, files._host(), os.getppid())
    elsewhere, abandoned = _part(tmp_path, "elsewhere", 1), _part(tmp_path, "elsewhere", 2)
    contained = _part(tmp_path, f"{socket.gethostname()}-1", ended.pid)  # this host, another PID namespace
    old = time.time() - 2 * 86400
    os.utime(abandoned, (old, old))
    write_text(tmp_path / "other.txt", "x")
    assert not dead.exists()
    assert not abandoned.exists()
    assert alive.exists()
    assert elsewhere.exists()
    assert contained.exists()


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="no PID namespaces")
def test_a_part_names_its_pid_namespace(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file.txt") as part:
        assert f"-{Path('/proc/self/ns/pid').stat().st_ino}.{os.getpid()}." in part.name
        part.write_text("x")


def test_others_may_read_what_a_library_made_for_its_owner_alone(tmp_path: Path) -> None:
    """As safetensors does; the mode of links and of what is read-only stays."""
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "model.safetensors") as part:
        save_file({"x": torch.zeros(1)}, part)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "own").touch(0o600)
    with atomic_path(tmp_path / "linked") as part:
        os.link(tmp_path / "own", part)
    with atomic_path(tmp_path / "kept") as part:
        part.touch()
        part.chmod(0o444)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "kept")] == [0o600, 0o444]


def test_json_is_sorted_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [1.5, None, "é"]})
    assert path.read_bytes() == '{\n  "a": [\n    1.5,\n    null,\n    "é"\n  ],\n  "b": 1\n}\n'.encode()
    assert json.loads(path.read_text("utf-8"))["b"] == 1
    for bad in ({"x": math.nan}, {"x": object()}):
        with pytest.raises(ValueError, match=r"x\.json: cannot be written as JSON"):
            write_json(path, bad)


def test_replacing_a_hard_link_by_another_to_the_same_file_leaves_nothing_behind(tmp_path: Path) -> None:
    """rename(2) does nothing there: a store entry taken twice to the same place is such a case."""
    path, other = tmp_path / "a", tmp_path / "other"
    path.write_text("x")
    os.link(path, other)
    with atomic_path(path) as part:
        os.link(other, part)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a", "other"]
