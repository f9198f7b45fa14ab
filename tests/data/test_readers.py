"""Readers on small copies of the layouts: identities from the file's own name, strangers rejected by name."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dlcr.data import load_manifest, read_dataset, save_manifest
from dlcr.data.readers import prcc
from dlcr.runtime.registry import entry_names

PRCC_FILES = [
    "train/001/A_cropped_rgb001.jpg",
    "train/001/B_cropped_rgb022.JPG",
    "train/001/C_cropped_rgb0303.jpg",
    "train/010/A_cropped_rgb001.jpeg",
    "val/001/A_cropped_rgb555.jpg",
    "test/A/005/cropped_rgb001.jpg",
    "test/B/005/cropped_rgb002.jpg",
    "test/C/005/cropped_rgb003.jpg",
]


def _image(path: Path, size: tuple[int, int] = (4, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 30)).save(path, "JPEG")


def _prcc(rgb: Path) -> Path:
    for name in PRCC_FILES:
        _image(rgb / name)
    return rgb


def _read(root: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the counts differ from the published ones
        return read_dataset("prcc", root)


def test_unknown_dataset_and_folder(tmp_path: Path) -> None:
    assert entry_names("dlcr.data.readers") == ["ccvid", "folder", "last", "ltcc", "minicc", "prcc", "vc-clothes"]
    with pytest.raises(ValueError, match="no dataset reader 'market', expected one of ccvid, folder, last, ltcc,"):
        read_dataset("market", tmp_path)
    for name in entry_names("dlcr.data.readers"):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read_dataset(name, tmp_path / "nowhere")


def test_prcc_labels(tmp_path: Path) -> None:
    _prcc(tmp_path / "prcc" / "rgb")
    found = _read(tmp_path).set_index("image_id")
    assert sorted(found.index) == list(found.index) == sorted("prcc/rgb/" + name for name in PRCC_FILES)
    labels = found[["subject", "clothes", "camera", "split", "frame"]]
    assert [tuple(row) for row in labels.itertuples(index=False)] == [
        ("005", "005-AB", "A", "gallery", 1),
        ("005", "005-AB", "B", "query_sc", 2),
        ("005", "005-C", "C", "query", 3),
        ("001", "001-AB", "A", "train", 1),
        ("001", "001-AB", "B", "train", 22),
        ("001", "001-C", "C", "train", 303),
        ("010", "010-AB", "A", "train", 1),
        ("001", "001-AB", "A", "val", 555),
    ]
    assert set(zip(found["width"], found["height"], strict=True)) == {(4, 8)}


@pytest.mark.parametrize("place", ["", "prcc", "prcc/rgb"])
def test_prcc_root_at_three_levels(tmp_path: Path, place: str) -> None:
    # parents whose names look like the dataset's own must not matter
    top = tmp_path / "A_cropped_rgb001.jpg" / "query_c1" / "test" / "C"
    _prcc(top / "prcc" / "rgb")
    root = top / place
    found = _read(root)
    assert found["split"].value_counts().to_dict() == {
        "train": 4,
        "val": 1,
        "gallery": 1,
        "query": 1,
        "query_sc": 1,
    }
    assert set(found["subject"]) == {"001", "005", "010"}
    assert all((root / image_id).is_file() for image_id in found["image_id"])


def test_prcc_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"PRCC not found; expected prcc/rgb/\{train,val\}/<pid>"):
        _read(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="PRCC not found"):
        _read(tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="no images of PRCC found"):
        _read(tmp_path)
    _prcc(tmp_path / "rgb")
    with pytest.raises(ValueError, match="found in several places"):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("train/001/D_cropped_rgb001.jpg", "expected a name like A_cropped_rgb001.jpg"),
        ("train/001/cropped_rgb001.jpg", "expected a name like A_cropped_rgb001.jpg"),
        ("train/001/A_cropped_rgb.jpg", "expected a name like A_cropped_rgb001.jpg"),
        ("train/001/xA_cropped_rgb001.jpg", "expected a name like A_cropped_rgb001.jpg"),
        ("train/001/A_cropped_rgb001.png", "expected a name like A_cropped_rgb001.jpg"),
        ("test/A/005/A_cropped_rgb001.jpg", "expected a name like cropped_rgb001.jpg"),
        ("train/A_cropped_rgb001.jpg", "an image where only folders are expected"),
        ("train/copy of 001/A_cropped_rgb001.jpg", "expected a subject's number"),
        ("train/001/more/A_cropped_rgb001.jpg", "a folder where only images are expected"),
        ("test/D/005/cropped_rgb001.jpg", "expected the folders A, B and C"),
        ("sketch/001/A_cropped_rgb001.jpg", "expected the folders train, val and test"),
    ],
)
def test_prcc_strangers_are_named(tmp_path: Path, name: str, reason: str) -> None:
    rgb = _prcc(tmp_path / "rgb")
    _image(rgb / name)
    with pytest.raises(ValueError, match=reason) as error:
        _read(tmp_path)
    assert "1 unexpected files or folders" in str(error.value)
    assert name.split("/")[0] in str(error.value)


def test_prcc_strays_are_counted_and_counts_compared(tmp_path: Path) -> None:
    rgb = _prcc(tmp_path / "rgb")
    for name in ("Thumbs.db", ".DS_Store", "train/001/Thumbs.db", "test/A/._x.jpg"):
        (rgb / name).write_bytes(b"")
    counts = r"train 4 \(published 17,896\), val 1 .* query_sc 1 \(published 3,873\)"
    with pytest.warns(UserWarning, match="ignored 4 stray files"), pytest.warns(UserWarning, match=counts):
        found = read_dataset("prcc", tmp_path)
    assert len(found) == len(PRCC_FILES)
    assert sum(prcc.PUBLISHED[split] for split in ("gallery", "query", "query_sc")) == 10_800


def test_prcc_unreadable_images_are_all_named(tmp_path: Path) -> None:
    rgb = _prcc(tmp_path / "rgb")
    for name in PRCC_FILES[:2]:
        (rgb / name).write_bytes(b"")
    with pytest.raises(ValueError, match="2 unreadable images: ") as error:
        _read(tmp_path)
    assert all(name in str(error.value) for name in PRCC_FILES[:2])


def test_minicc_is_its_packed_folder(tmp_path: Path) -> None:
    _prcc(tmp_path / "rgb")
    manifest = _read(tmp_path)
    save_manifest(manifest, tmp_path / "packed" / "manifest.parquet")
    pd.testing.assert_frame_equal(read_dataset("minicc", tmp_path / "packed"), manifest)
    pd.testing.assert_frame_equal(load_manifest(tmp_path / "packed"), manifest)


def _csv(root: Path, *lines: str, header: str = "image,subject,clothes,camera,split") -> Path:
    for name in ("a.jpg", "more/b.jpg", "c d.jpg"):
        _image(root / name)
    (root / "manifest.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return root


GOOD = ("c d.jpg,1,1-red,left,query", "a.jpg,1,1-blue,left,train", "more/b.jpg,2,,right,gallery")


def test_own_folder(tmp_path: Path) -> None:
    found = read_dataset("folder", _csv(tmp_path / "mine", *GOOD))
    assert found["image_id"].tolist() == ["a.jpg", "c d.jpg", "more/b.jpg"]
    assert found["clothes"].tolist() == ["1-blue", "1-red", ""]
    assert found["frame"].tolist() == [0, 0, 0]
    assert found["width"].tolist() == [4, 4, 4]


def test_own_folder_with_optional_columns_and_byte_order_mark(tmp_path: Path) -> None:
    header = "\ufeffframe,tracklet,split,camera,clothes,subject,image"
    found = read_dataset("folder", _csv(tmp_path, "7,walk,train,x,1-a,1,a.jpg", header=header))
    assert found[["frame", "tracklet"]].to_numpy().tolist() == [[7, "walk"]]


def test_own_folder_names_every_bad_row(tmp_path: Path) -> None:
    (tmp_path / "out.jpg").write_bytes(b"")
    root = tmp_path / "mine"
    _csv(
        root,
        *GOOD[:1],
        "../out.jpg,1,1-a,x,train",
        f"{tmp_path}/out.jpg,1,1-a,x,train",
        "link/out.jpg,1,1-a,x,train",
        "none.jpg,1,1-a,x,train",
        "a.jpg,,1-a,x,test",
        "a.jpg,1,,x,train",
        "more/b.jpg,1,1-a,x,train,surplus",
    )
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"manifest\.csv: 9 problems: ") as error:
        read_dataset("folder", root)
    for expected in (
        "row 3, column image: '../out.jpg' leaves the folder",
        "row 4, column image:",
        "row 5, column image: 'link/out.jpg' leaves the folder through a link",
        "row 6, column image: 'none.jpg' does not exist",
        "row 7, column subject: empty",
        "row 7, column split: 'test', expected one of train",
        "row 8, column clothes: empty",
        "row 8, column image: 'a.jpg' is already in row 7",
        "row 9, columns beyond the last: ['surplus']",
    ):
        assert expected in str(error.value)
    assert "row 2," not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "header", "expected"),
    [
        ([], "image,subject,clothes,camera,split", "no rows"),
        (
            ["a.jpg,1,1-a,train"],
            "image,subject,clothes,split",
            "expected image, subject, clothes, camera, split",
        ),
        (["a.jpg,1,1-a,x,train,5"], "image,subject,clothes,camera,split,age", "columns are"),
        (
            ["a.jpg,1,1-a,x,train,1.5"],
            "image,subject,clothes,camera,split,frame",
            "row 2, column frame: '1.5'",
        ),
        (['"a.jpg,1,1-a,x,train'], "image,subject,clothes,camera,split", "not a readable UTF-8 CSV"),
        (
            ["a.jpg,1,same,x,train", "more/b.jpg,2,same,x,train"],
            "image,subject,clothes,camera,split",
            "'same' belong",
        ),
        (["a.jpg,1"], "image,subject,clothes,camera,split", "row 2, column split: ''"),
    ],
)
def test_own_folder_with_another_csv(tmp_path: Path, lines: list[str], header: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_dataset("folder", _csv(tmp_path, *lines, header=header))


def test_own_folder_without_csv(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv: no such file, expected a CSV"):
        read_dataset("folder", tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"image,subject\n\xff\xfe")
    with pytest.raises(ValueError, match="manifest"):
        read_dataset("folder", tmp_path)
