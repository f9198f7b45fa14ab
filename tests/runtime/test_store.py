"""Store: what is taken is what was put, damage is noticed, and nothing is ever written through a link."""

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.runtime.files import write_text
from dlcr.runtime.store import Store, key_of, work_folder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _objects(store: Store) -> list[Path]:
    return sorted((store.root / "objects").glob("*/*"))


@settings(deadline=None)
@given(JSON)
def test_key_depends_on_content_only(obj: object) -> None:
    reordered = dict(reversed(obj.items())) if isinstance(obj, dict) else obj
    assert key_of(obj) == key_of(reordered)
    assert len(key_of(obj)) == 64


def test_keys(store: Store, tmp_path: Path) -> None:
    assert key_of({"a": 1}) != key_of({"a": "1"})
    for bad in (float("nan"), {"x": Path("a")}):
        with pytest.raises(ValueError, match="plain JSON"):
            key_of(bad)
    for bad in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="store key"):
            store.take(bad, tmp_path / "x")


def test_another_image_finds_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other libraries may make other bytes of the same inputs; without an image keys are as they are."""
    monkeypatch.chdir(tmp_path)
    places = set()
    for image in (None, "sha256:one", "sha256:two"):
        if image:
            monkeypatch.setenv("DLCR_IMAGE", image)
        assert not store.take("key", tmp_path / "taken")
        store.put("key", _file(tmp_path / f"made-{len(places)}", f"made in {image}"))
        assert store.take("key", tmp_path / "taken")
        places.add(work_folder("key"))
    assert len(places) == 3
    monkeypatch.delenv("DLCR_IMAGE")
    assert store.take("key", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "made in None"
    assert work_folder("key").name == "key"


def test_default_root_is_the_main_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store().root == tmp_path / ".dlcr" / "store"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere" / ".dlcr" / "store"
    assert work_folder("abc") == tmp_path / "elsewhere" / ".dlcr" / "checkpoints" / "abc"


def test_take_gives_what_was_put(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out" / "file"
    assert not store.take("k", target)
    assert not target.parent.exists()
    store.put("k", _file(tmp_path / "a", "one"))
    assert store.take("k", target)
    assert target.read_text() == "one"
    store.put("k", _file(tmp_path / "b", "two"))  # replaces
    assert store.take("k", target)
    assert target.read_text() == "two"
    with pytest.raises(FileNotFoundError, match="missing"):
        store.put("k", tmp_path / "missing")


@pytest.mark.parametrize("damage", ["changed", "truncated", "gone", "key"])
def test_damaged_entry_is_removed_and_can_be_made_again(store: Store, tmp_path: Path, damage: str) -> None:
    source = _file(tmp_path / "a", "content")
    store.put("k", source)
    stored = _objects(store)[0]
    if damage == "key":
        next((store.root / "keys").glob("*/k")).write_text("no digest")
    else:
        stored.unlink()
        if damage != "gone":
            stored.write_text("cantent" if damage == "changed" else "con")
    target = _file(tmp_path / "out", "before")
    with pytest.warns(UserWarning, match="made again"):
        assert not store.take("k", target)
    assert target.read_text() == "before"
    assert not store.take("k", target)  # silently: it is removed
    store.put("k", source)
    assert store.take("k", target)
    assert target.read_text() == "content"


def test_never_writes_through_links(store: Store, tmp_path: Path) -> None:
    """DVC's cache as hard links: read-only names that share content with our files."""
    first = _file(tmp_path / "first", "first")
    store.put("k", first)
    taken, cache = tmp_path / "taken", tmp_path / "cache"
    assert store.take("k", taken)
    assert taken.stat().st_mode & 0o222 == 0
    os.link(taken, cache)
    write_text(taken, "second")  # a later writer
    store.put("k", taken)
    other = tmp_path / "other"
    os.link(cache, other)
    assert store.take("k", other)  # onto a link of the cache
    assert other.read_text() == "second"
    assert cache.read_text() == first.read_text() == "first"


def test_copies_where_links_do_not_work(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EXDEV, "other device")

    monkeypatch.setattr(os, "link", no_link)
    source = _file(tmp_path / "a", "content")
    store.put("k", source)
    assert store.take("k", tmp_path / "out")
    assert len({path.stat().st_ino for path in (source, tmp_path / "out", _objects(store)[0])}) == 3


def test_full_disk_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        store.put("k", _file(tmp_path / "a", "x"))
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def _put_often(root: Path, text: str, barrier: object) -> None:
    barrier.wait()
    for number in range(20):
        path = root.parent / f"{text}-{number}"
        path.write_text(text * 1000)
        Store(root).put("k", path)


def test_two_processes_put_the_same_key(store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_put_often, args=(store.root, text, barrier)) for text in "ab"]
    for worker in workers:
        worker.start()
    barrier.wait()
    target = tmp_path / "out"
    while any(worker.is_alive() for worker in workers):
        if store.take("k", target):
            assert target.read_text() in ("a" * 1000, "b" * 1000)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert store.take("k", target)
    assert not [path for path in store.root.rglob("*.part")]
