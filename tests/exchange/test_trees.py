"""Trees read back: by this project's readers, and by readers that are written here from the published layouts, as
Simple-CCReID parses them."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from exchange.expanded import PRIVATE, make_dataset, make_set, make_workplace, write_params

from dlcr.data import load_manifest, open_images, read_dataset
from dlcr.data.pack import pack
from dlcr.exchange.export import export_set
from dlcr.exchange.trees import LAYOUTS
from dlcr.params import load_params

READERS = ("prcc", "ltcc", "vc-clothes", "last", "ccvid")
Found = dict[Path, tuple[int, str, str]]
"""By file: person, camera, clothes."""


def read_prcc(root: Path) -> Found:
    found = {}
    for path in (root / "prcc/rgb/train").glob("*/*"):
        if path.suffix == ".jpg":
            camera, folder = path.name[0], path.parent.name
            found[path] = (int(folder), str("ABC".index(camera)), folder if camera in "AB" else folder + camera)
    return found


def read_ltcc(root: Path) -> Found:
    found = {}
    for path in (root / "LTCC_ReID/train").glob("*.png"):
        labels = re.search(r"((\d+)_\d+)_c(\d+)", path.name)
        found[path] = (int(labels[2]), labels[3], labels[1])
    return found


def read_vc_clothes(root: Path) -> Found:
    found = {}
    for path in (root / "VC-Clothes/train").glob("*.jpg"):
        person, camera, clothes, _ = path.stem.split("-")
        found[path] = (int(person), str(int(camera)), person + clothes)
    return found


def read_last(root: Path) -> Found:
    found = {}
    for path in (root / "last/train").glob("*/*.jpg"):
        fields = path.name.split(".")[0].split("_")
        found[path] = (int(fields[0]), "", f"{fields[0]}_{fields[-1]}")
    return found


def read_ccvid(root: Path) -> Found:
    found = {}
    for line in (root / "CCVID/train.txt").read_text().splitlines():
        tracklet, person, clothes = line.split()
        camera = int(tracklet.split("_")[1]) + (12 if tracklet.split("/")[0] == "session3" else 0)
        for path in (root / "CCVID" / tracklet).iterdir():
            found[path] = (int(person), str(camera), f"{person}_{clothes}")
    return found


PUBLISHED: dict[str, Callable[[Path], Found]] = {
    "prcc": read_prcc,
    "ltcc": read_ltcc,
    "vc-clothes": read_vc_clothes,
    "last": read_last,
    "ccvid": read_ccvid,
}


@pytest.fixture(scope="module", params=READERS)
def made(request, repository, tmp_path_factory) -> tuple[str, Path, dict[tuple[str, int], bytes]]:
    """Reader, a workplace with the exported tree `out`, and the variants that were made."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        encoded = make_workplace(repository, folder, request.param, k=3)
        export_set(f"{request.param}-set", "tree", Path("out"), load_params(), private=request.param in PRIVATE)
    return request.param, folder, encoded


@pytest.fixture
def exported(made, monkeypatch) -> tuple[str, Path, dict[tuple[str, int], bytes]]:
    """The same from within the workplace, for tests that only read."""
    reader, folder, encoded = made
    monkeypatch.chdir(folder)
    return reader, Path("out"), encoded


def quietly_read(reader: str, root: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the counts differ from the published ones
        return read_dataset(reader, root)


def test_public_code_finds_the_same_people_in_new_clothes(exported) -> None:
    reader, out, encoded = exported
    manifest = load_manifest(Path("data", reader)).set_index("image_id")
    images, found = open_images(Path("data", reader, "images")), PUBLISHED[reader](out)
    own = {image_id: images.encoded(image_id) for image_id in manifest.index[manifest["split"] == "train"]}
    whose = {data: key for key, data in encoded.items()}
    variants = {path: whose[path.read_bytes()] for path in found if path.read_bytes() in whose}
    assert sorted(variants.values()) == sorted(encoded)
    originals = {path: labels for path, labels in found.items() if path not in variants}
    readable = [image_id for image_id in own if Path(image_id).suffix in (".jpg", ".png") or reader == "ccvid"]
    assert sorted(path.relative_to(out).as_posix() for path in originals) == sorted(readable)
    table = pd.read_csv(out / "variants.csv", dtype=str).set_index("image")
    groups = {}
    for path, (image_id, variant) in variants.items():
        person, camera, clothes = found[path]
        assert person == int(manifest["subject"][image_id])
        assert camera == {"A": "0", "B": "1", "C": "2"}.get(manifest["camera"][image_id], manifest["camera"][image_id])
        line = table.loc[path.relative_to(out).as_posix()]
        assert (line["source"], line["variant"]) == (image_id, str(variant))
        # PRCC's letter C is part of the clothes, so cameras A and B have clothes IDs of their own.
        part = camera == "2" if reader == "prcc" else None
        groups.setdefault((person, line["target_clothes"], part), set()).add(clothes)
    assert all(len(clothes) == 1 for clothes in groups.values())
    new = [clothes for found_clothes in groups.values() for clothes in found_clothes]
    assert len(set(new)) == len(new)
    assert len(new) > 4
    assert not set(new) & {labels[2] for labels in originals.values()}


def test_originals_are_whole_and_unchanged(exported) -> None:
    """Train, query and gallery, byte for byte, under their own names."""
    reader, out, _ = exported
    images = open_images(Path("data", reader, "images"))
    assert {part for part in load_manifest(Path("data", reader))["split"]} >= {"train", "query", "gallery"}
    for image_id in images:
        assert (out / image_id).read_bytes() == images.encoded(image_id)


def test_the_readers_of_this_project_read_it(exported) -> None:
    """The dataset's own reader; PRCC's takes every folder for another person, and refuses instead of guessing."""
    reader, out, encoded = exported
    packed = load_manifest(Path("data", reader)).set_index("image_id")
    exact = quietly_read("folder", out).set_index("image_id")
    assert len(exact) == len(packed) + len(encoded)
    pd.testing.assert_frame_equal(exact.loc[packed.index].sort_index(), packed.sort_index())
    table = pd.read_csv(out / "variants.csv").set_index("image")
    for image, line in table.iterrows():
        row, source = exact.loc[image], packed.loc[line["source"]]
        assert (out / image).read_bytes() == encoded[line["source"], line["variant"]]
        assert row[["subject", "camera", "split"]].tolist() == source[["subject", "camera", "split"]].tolist()
        assert row["clothes"] not in set(packed["clothes"])
    clothes = exact.loc[table.index, ["subject", "clothes"]].assign(target=table["target_clothes"])
    assert clothes.groupby("clothes").nunique().to_numpy().max() == 1
    assert clothes.drop_duplicates().groupby(["subject", "target"])["clothes"].count().max() == 1
    if reader == "prcc":
        with pytest.raises(ValueError, match="expected a subject's number as the folder's name"):
            quietly_read(reader, out)
    else:
        pd.testing.assert_frame_equal(quietly_read(reader, out), exact.reset_index())


def test_lists_of_ltcc(repository, tmp_path, monkeypatch) -> None:
    """Everybody who was repainted changes clothes now; the test is as it was."""
    monkeypatch.chdir(tmp_path)
    manifest = make_dataset("ltcc", tmp_path)
    train = manifest[manifest["split"] == "train"]
    write_params(repository, tmp_path, "ltcc")
    alone = set(train.loc[train["subject"] == "009", "image_id"])
    make_set(Path("generated/ltcc-set"), manifest, "ltcc", skipped={(name, v) for name in alone for v in (0, 1)})
    export_set("ltcc-set", "tree", Path("out"), load_params(), private=True)
    lists = {path.name: path.read_text() for path in Path("out/LTCC_ReID/info").iterdir()}
    assert lists == {
        "cloth-change_id_train.txt": "8\n9\n",
        "cloth-unchange_id_train.txt": "",
        "cloth-change_id_test.txt": "131\n",
        "cloth-unchange_id_test.txt": "",
    }


def test_tracklets_of_ccvid_are_of_one_outfit_each(repository, tmp_path, monkeypatch) -> None:
    """Frames that share person, camera and outfit, in the order of their sources."""
    monkeypatch.chdir(tmp_path)
    make_workplace(repository, tmp_path, "ccvid", k=3)
    export_set("ccvid-set", "tree", Path("out"), load_params())
    table = pd.read_csv("out/variants.csv")
    table["tracklet"] = table["image"].str.rsplit("/", n=1).str[0]
    table["from"] = table["source"].str.rsplit("/", n=1).str[0]
    assert table.groupby("tracklet")[["from", "target_clothes"]].nunique().eq(1).all(axis=None)
    assert table.groupby(["from", "target_clothes"])["tracklet"].nunique().eq(1).all()
    assert table.groupby("tracklet").size().max() > 1
    for _, rows in table.sort_values("image").groupby("tracklet"):
        assert rows["source"].is_monotonic_increasing


@pytest.mark.parametrize(("above", "inside"), [("original/prcc", "rgb/"), ("original/prcc/rgb", "")])
def test_a_dataset_packed_from_further_in(repository, tmp_path, monkeypatch, above: str, inside: str) -> None:
    """The tree has all of the layout's folders, wherever `source` pointed to."""
    monkeypatch.chdir(tmp_path)
    make_dataset("prcc", tmp_path)
    manifest = quietly_read("prcc", Path(above))
    assert manifest["image_id"].str.startswith(f"{inside}t").any()
    pack(manifest, lambda image_id: Path(above, image_id).read_bytes(), Path("data/prcc"), {"dataset": "prcc"})
    write_params(repository, tmp_path, "prcc")
    make_set(Path("generated/prcc-set"), manifest, "prcc")
    export_set("prcc-set", "tree", Path("out"), load_params())
    for path in ("prcc/rgb/test/A/005/cropped_rgb001.jpg", "prcc/rgb/train/001/A_cropped_rgb001.jpg"):
        assert Path("out", path).read_bytes() == Path("original", path).read_bytes()
    assert len(read_prcc(Path("out"))) == 13 + 2 * 14  # one of the 14 originals ends in .JPG


def test_a_folder_of_images(repository, tmp_path, monkeypatch) -> None:
    """A user's own images have a manifest.csv, so the variants are in it."""
    monkeypatch.chdir(tmp_path)
    encoded = make_workplace(repository, tmp_path, "people")
    export_set("people-set", "tree", Path("out"), load_params())
    found, packed = quietly_read("folder", Path("out")), load_manifest("data/people")
    own = found["image_id"].isin(packed["image_id"])
    pd.testing.assert_frame_equal(found[own].reset_index(drop=True), packed)
    assert sorted(Path("out", name).read_bytes() for name in found.loc[~own, "image_id"]) == sorted(encoded.values())
    assert set(found.loc[~own, "clothes"]).isdisjoint(packed["clothes"])


@pytest.mark.parametrize("tracklet", ["", "session1/001", "session1/00123_01"])
def test_a_tracklet_without_room_for_its_outfit(tracklet: str) -> None:
    row = SimpleNamespace(image_id="x/1.jpg", subject="001", tracklet=tracklet)
    with pytest.raises(ValueError, match=r"x/1\.jpg: tracklet .* has no room for outfit 7"):
        LAYOUTS["ccvid"].place(row, 7, "00001")


def test_many_outfits_fit_into_the_names_of_prcc(repository, tmp_path, monkeypatch) -> None:
    """The names of a person's folders are all different, and all the same number."""
    row = SimpleNamespace(subject="317", camera="A")
    folders = [LAYOUTS["prcc"].place(row, outfit, "00001").image.split("/")[1] for outfit in range(1, 1001)]
    assert len(set(folders)) == 1000
    assert {int(folder) for folder in folders} == {317}
    assert max(map(len, folders)) < 30
