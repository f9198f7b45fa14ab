"""Packing: every image kept as it is, shards bounded, bad images all named, nothing stale left."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlcr.data import encode_png, load_manifest, open_images
from dlcr.data.pack import pack
from dlcr.data.shards import fingerprint

RNG = np.random.default_rng(0)
ENCODED = {f"train/{number:02d}.png": encode_png(RNG.integers(0, 256, (6, 4, 3), np.uint8)) for number in range(11)}


def _manifest(image_ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": image_ids,
            "subject": "1",
            "clothes": "1-a",
            "camera": "A",
            "split": "train",
            "tracklet": "",
            "frame": 0,
            "width": 4,
            "height": 6,
        }
    )


@pytest.mark.parametrize(
    ("limits", "shards"), [({}, 1), ({"rows": 4}, 3), ({"max_bytes": 300}, 6), ({"max_bytes": 1}, 11)]
)
def test_every_image_as_encoded(tmp_path: Path, limits: dict, shards: int) -> None:
    pack(_manifest(list(ENCODED)[::-1]), ENCODED.__getitem__, tmp_path, {"dataset": "x"}, **limits)
    images = open_images(tmp_path / "images")
    assert images.ids == load_manifest(tmp_path)["image_id"].tolist() == sorted(ENCODED)
    assert all(images.encoded(image_id) == data for image_id, data in ENCODED.items())
    paths = sorted((tmp_path / "images").iterdir())
    assert [path.name for path in paths] == [f"images-{number:05d}.arrow" for number in range(shards)]
    assert fingerprint(paths[-1]) == {"dataset": "x"}


def test_same_bytes_and_nothing_stale(tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    few = sorted(ENCODED)[:3]
    pack(_manifest(sorted(ENCODED)), ENCODED.__getitem__, tmp_path / "a", {}, rows=2)
    pack(_manifest(few), ENCODED.__getitem__, tmp_path / "a", {}, rows=2)
    pack(_manifest(few), ENCODED.__getitem__, tmp_path / "b", {}, rows=2)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert len(content(tmp_path / "a")) == 3


def test_bad_images_are_counted_and_ten_named(tmp_path: Path) -> None:
    def read(image_id: str) -> bytes:
        if image_id.endswith("10.png"):
            return ENCODED[image_id]
        return ENCODED[image_id][: 0 if image_id.endswith("0.png") else 60]

    ids = [*ENCODED, "train/zz.png"]
    data = {"train/zz.png": encode_png(np.zeros((3, 4, 3), np.uint8))}
    pack(_manifest(list(ENCODED)), ENCODED.__getitem__, tmp_path, {})
    with pytest.raises(ValueError, match="11 of 12 images can't be packed") as error:
        pack(_manifest(ids), lambda image_id: data.get(image_id) or read(image_id), tmp_path, {}, rows=1)
    assert sum(f"train/{number:02d}.png" in str(error.value) for number in range(10)) == 10
    assert str(error.value).endswith("and 1 more")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_missing_file_and_other_size(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(encode_png(np.zeros((3, 4, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"2 of 2 .*a\.png.*b\.png: 4x3, its manifest says 4x6"):
        pack(_manifest(["a.png", "b.png"]), lambda name: (tmp_path / name).read_bytes(), tmp_path / "out", {})
