"""`dlcr add-dataset`: what it finds, the profile that it writes, and what it refuses."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from dlcr.exchange.own_dataset import add_dataset
from dlcr.params import load_params

HEADER = ("image", "subject", "clothes", "camera", "split", "tracklet")
Rows = list[tuple[str, ...]]


def rows(subjects: int = 3, outfits: int = 2) -> Rows:
    """Training images of subjects in outfits, and two test subjects that change clothes between two cameras."""
    train = [
        (f"train/{s}-{o}-{n}.png", f"s{s}", f"s{s}-{o}", "ab"[n], "train", "")
        for s in range(subjects)
        for o in range(outfits)
        for n in range(2)
    ]
    test = [
        (f"test/{s}-{split}.png", f"t{s}", f"t{s}-{split}", "ab"[split == "query"], split, "")
        for s in range(2)
        for split in ("query", "gallery")
    ]
    return train + test


def write(folder: Path, table: Rows, orientation: int = 1) -> Path:
    """A folder with an image for every row and the table; the first image has this EXIF orientation."""
    for number, (image, *_) in enumerate(table):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (12, 24), (number, 90, 20))
        exif = picture.getexif()
        exif[0x0112] = orientation if number == 0 else 1
        picture.save(path, exif=exif)
    label(folder / "manifest.csv", table)
    return folder


def label(path: Path, table: Rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *table])


@pytest.fixture
def workspace(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the profiles of this checkout, the working directory."""
    folder = tmp_path / "workspace"
    shutil.copytree(repository / "profiles", folder / "profiles")
    monkeypatch.chdir(folder)
    return folder


def test_profile_that_fits_a_small_dataset(workspace: Path, tmp_path: Path) -> None:
    """K and the batches of profile prcc are cut to 3 subjects in 6 clothes; nothing of another dataset is in it."""
    folder = write(tmp_path / "pictures", rows())
    said = "\n".join(add_dataset("mine", folder))
    params = load_params("profiles/mine.yaml")
    assert (params.k, params.generated["queries-mine"].k) == (5, 5)
    assert (params.recipes["cal"].identities, params.recipes["cal"].images) == (3, 8)
    assert params.models == load_params("profiles/prcc.yaml").models
    assert set(params.datasets) == set(params.report.datasets) == {"mine"}
    assert {item.dataset for item in params.runs.values()} == {"mine"}
    assert not any(params.private.model_dump().values())
    assert "12 training images of 3 subjects in 6 clothes, 2 cameras" in said
    assert "setting cc: 2 queries, 2 of them with a correct answer among 2 in the gallery" in said
    assert (workspace / "datasets" / "mine").resolve() == folder
    assert "# 50 denoising steps" in (workspace / "profiles" / "mine.yaml").read_text()


def test_large_dataset_keeps_the_values_of_the_profile(workspace: Path, tmp_path: Path) -> None:
    add_dataset("mine", write(tmp_path / "pictures", rows(6, 3)))
    params, prcc = load_params("profiles/mine.yaml"), load_params("profiles/prcc.yaml")
    assert params.k == prcc.k
    assert params.recipes == {"cal": prcc.recipes["cal"]}
    assert params.generated["queries-mine"] == prcc.generated["queries-prcc"].model_copy(
        update={"dataset": "mine", "outfits": "mine"}
    )


def test_private_items(workspace: Path, tmp_path: Path) -> None:
    add_dataset("mine", write(tmp_path / "pictures", rows()), like="minicc", private=True)
    content = yaml.safe_load((workspace / "profiles" / "mine.yaml").read_text())
    assert not content["generated"]
    params = load_params("profiles/mine.yaml")
    assert params.is_private("evaluations", "mine-progressive")
    assert params.models.inpainter == "models/mini/inpainter"
    assert list(params.recipes) == ["cal-mini"]


def test_tracklets_take_the_model_of_clips(workspace: Path, tmp_path: Path) -> None:
    table = [(*row[:5], row[0].split("/")[1][:5]) for row in rows()]
    table = [(*row[:5], f"{row[4]}-{row[2]}-{row[3]}") for row in table]
    said = add_dataset("mine", write(tmp_path / "pictures", table))
    assert list(load_params("profiles/mine.yaml").recipes) == ["c2d"]
    assert "16 tracklets in all" in said[0]


def test_manifest_from_elsewhere(workspace: Path, tmp_path: Path) -> None:
    """It is copied beside the images, and taken away again if something is wrong; another one is not replaced."""
    folder = write(tmp_path / "pictures", rows())
    labels = (folder / "manifest.csv").rename(tmp_path / "labels.csv")
    (tmp_path / "wrong.csv").write_text("image,subject\n")
    with pytest.raises(ValueError, match="expected image, subject, clothes"):
        add_dataset("mine", folder, tmp_path / "wrong.csv")
    assert not (folder / "manifest.csv").exists()
    add_dataset("mine", folder, labels)
    assert (folder / "manifest.csv").read_bytes() == labels.read_bytes()
    add_dataset("again", folder, labels)
    with pytest.raises(ValueError, match=r"manifest.csv: there is one, and it is not"):
        add_dataset("third", folder, tmp_path / "wrong.csv")
    with pytest.raises(FileNotFoundError, match=r"none.csv: no such file"):
        add_dataset("third", folder, tmp_path / "none.csv")
    with pytest.raises(ValueError, match="--manifest goes with reader folder"):
        add_dataset("third", folder, labels, reader="prcc")


def test_leaks_are_warnings(workspace: Path, tmp_path: Path) -> None:
    table = [*rows(), ("test/0-known.png", "s0", "s0-9", "a", "gallery", "")]
    said = add_dataset("mine", write(tmp_path / "pictures", table))
    assert any(line.startswith("warning: 1 subjects of the test are trained on") for line in said)


@pytest.mark.parametrize("name", ["none", "private", "Mine", "1st", "on", "null", "a/b", "", "../x", "minicc"])
def test_names_that_are_refused(workspace: Path, tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "pictures", rows())
    with pytest.raises(ValueError, match=r"cannot name a dataset|there is such a profile"):
        add_dataset(name, folder)


def one_subject(table: Rows) -> Rows:
    return [row for row in table if row[1] not in ("s1", "s2")]


def same_clothes(table: Rows) -> Rows:
    return [(*row[:2], row[1] if row[4] != "train" else row[2], *row[3:]) for row in table]


def no_gallery(table: Rows) -> Rows:
    return [row for row in table if row[4] != "gallery"]


@pytest.mark.parametrize(
    ("change", "orientation", "message"),
    [
        (one_subject, 1, "1 subjects in 2 clothes have split train; expected two"),
        (same_clothes, 1, "no query of setting cc has a correct answer"),
        (no_gallery, 1, "no split 'gallery'"),
        (list, 6, "EXIF data of 1 images asks for a rotation"),
    ],
)
def test_data_that_is_refused(
    workspace: Path, tmp_path: Path, change: Callable[[Rows], Rows], orientation: int, message: str
) -> None:
    """One line says why, and nothing is written."""
    folder = write(tmp_path / "pictures", change(rows()), orientation)
    profiles = sorted(path.name for path in Path("profiles").iterdir())
    with pytest.raises(ValueError, match=message):
        add_dataset("mine", folder)
    assert sorted(path.name for path in Path("profiles").iterdir()) == profiles
    assert not Path("datasets").exists()


def test_places_that_are_taken(workspace: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "pictures", rows())
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        add_dataset("mine", tmp_path / "nowhere")
    (workspace / "datasets" / "mine").mkdir(parents=True)
    with pytest.raises(ValueError, match="datasets/mine: there is one, and it is not"):
        add_dataset("mine", folder)
    inside = write(workspace / "datasets" / "other", rows())
    add_dataset("other", inside)
    assert not (workspace / "datasets" / "other").is_symlink()
    with pytest.raises(ValueError, match=r"profiles/other.yaml: there is such a profile"):
        add_dataset("other", inside)
