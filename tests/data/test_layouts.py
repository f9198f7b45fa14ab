"""The real datasets on small trees of their official layouts, with the traps that peers fell into."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
from layouts import FIRST, LAYOUTS, LISTS, image, tree

from dlcr.data import read_dataset


def read(name: str, root: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the counts differ from the published ones
        return read_dataset(name, root)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("inside", [False, True])
def test_labels_come_from_the_files_own_names(tmp_path: Path, name: str, inside: bool) -> None:
    # parents that look like a dataset's own folders and names must not matter
    root = tmp_path / "query_c1" / "008_1_c2_013548.png" / "test" / "session3"
    top = tree(name, root)
    found = read(name, top if inside else root).set_index("image_id")
    assert list(found.index) == sorted(found.index)
    prefix = "" if inside else f"{LAYOUTS[name][0]}/"
    wanted = {prefix + file: row for file, row in LAYOUTS[name][1].items()}
    columns = ["subject", "clothes", "camera", "split", "frame"]
    assert dict(zip(found.index, found[columns].itertuples(index=False, name=None), strict=True)) == wanted
    assert set(zip(found["width"], found["height"], strict=True)) == {(4, 8)}
    tracklets = {path.rsplit("/", 1)[0].removeprefix(prefix) for path in found.index}
    assert set(found["tracklet"]) == (tracklets if name == "ccvid" else {""})


@pytest.mark.parametrize("name", LAYOUTS)
def test_counts_are_compared_and_strays_ignored(tmp_path: Path, name: str) -> None:
    top = tree(name, tmp_path)
    (top / FIRST[name]).with_name("Thumbs.db").write_bytes(b"x")
    with pytest.warns(UserWarning, match="ignored 1 stray"), pytest.warns(UserWarning, match=r"train \d \(published"):
        found = read_dataset(name, tmp_path)
    assert len(found) == len(LAYOUTS[name][1])


def test_ccvid_counts_tracklets_too(tmp_path: Path) -> None:
    tree("ccvid", tmp_path)
    with pytest.warns(
        UserWarning, match=r"numbers of tracklets .*: train 1 \(published 948\), query 1 \(published 834"
    ):
        read_dataset("ccvid", tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:20]])
def test_a_damaged_image_is_named(tmp_path: Path, name: str, damage) -> None:
    path = tree(name, tmp_path) / FIRST[name]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="1 unreadable images: ") as error:
        read(name, tmp_path)
    assert path.name in str(error.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_link_out_of_the_dataset_is_refused_and_one_inside_is_not(tmp_path: Path, name: str) -> None:
    path = tree(name, tmp_path / "data") / FIRST[name]
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))
    assert len(read(name, tmp_path / "data")) == len(LAYOUTS[name][1])
    path.unlink()
    path.with_name("moved").rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="a link to a file outside the dataset") as error:
        read(name, tmp_path / "data")
    assert path.name in str(error.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_dataset_folder_that_is_a_link(tmp_path: Path, name: str) -> None:
    tree(name, tmp_path / "disk")
    (tmp_path / "datasets").symlink_to(tmp_path / "disk")
    assert len(read(name, tmp_path / "datasets")) == len(LAYOUTS[name][1])


@pytest.mark.parametrize(
    ("name", "file", "reason"),
    [
        ("ltcc", "train/008_1_c2.png", "expected a name like 0001_1_c2_000003.png"),
        ("ltcc", "train/008_1_c2_013548.jpg", "expected a name like"),
        ("ltcc", "val/008_1_c2_013548.png", "expected the folders train, query, test"),
        ("vc-clothes", "query/0001-01-01.jpg", "expected a name like 0001-01-02-03.jpg"),
        ("vc-clothes", "test/0001-01-01-01.jpg", "expected the folders train, query, gallery"),
        ("last", "train/film/000001_a_1.jpg", "expected a subject's number as the folder's name"),
        ("last", "test/query/film_1.jpg", "a subject's number first"),
        ("last", "test/probe/000001_1.jpg", "expected the folders query and gallery"),
        ("last", "other/query/000001_1.jpg", "expected the folders train, val and test"),
        ("ccvid", "session1/001_01/a.jpg", "expected a name like 00001.jpg"),
    ],
)
def test_strangers_are_named(tmp_path: Path, name: str, file: str, reason: str) -> None:
    image(tree(name, tmp_path) / file)
    with pytest.raises(ValueError, match=reason) as error:
        read(name, tmp_path)
    assert "1 unexpected files or folders" in str(error.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "session1/001_01 001 u0",
            r"train\.txt: line 2 is 'session1/001_01 001 u0', expected session<n>/<pid>_<camera>",
        ),
        ("../../etc/1_1\t001\tu0", "expected session<n>/<pid>_<camera>"),
        ("session1/001_01\t001\tu0", r"line 2: session1/001_01 is listed in train\.txt, line 1 already"),
        ("session1/009_01\t009\tu0", r"line 2: no folder session1/009_01"),
        ("session2/008_01\t008\tu0", r"session2/008_01: a tracklet without frames"),
    ],
)
def test_ccvid_lines_are_checked(tmp_path: Path, line: str, reason: str) -> None:
    top = tree("ccvid", tmp_path)
    (top / "session2" / "008_01").mkdir(parents=True)
    (top / "train.txt").write_text(LISTS["train.txt"] + line + "\n")
    with pytest.raises(ValueError, match=reason):
        read("ccvid", tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_layout_is_not_guessed(tmp_path: Path, name: str) -> None:
    image(tmp_path / "pictures" / "1.jpg")
    with pytest.raises(ValueError, match=f"not found; expected {LAYOUTS[name][0]}/"):
        read(name, tmp_path)


def test_ltcc_lists_of_subjects_are_part_of_the_release(tmp_path: Path) -> None:
    top = tree("ltcc", tmp_path)
    (top / "info").mkdir()
    (top / "info" / "train_id.txt").write_text("8\n")
    assert len(read("ltcc", tmp_path)) == 4
