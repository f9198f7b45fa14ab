"""Stage parse with the shipped parser on a small MiniCC: right masks, the same bytes, clear errors."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import stages.parse
from dlcr.data import encode_png, load_manifest, open_masks
from dlcr.data.images import open_images
from dlcr.data.shards import decode_grey
from dlcr.params import MiniCC
from dlcr.parsing import mask_maker, mask_rows
from stages.prepare import render_minicc

SIZES = {"train_subjects": 4, "val_subjects": 1, "test_subjects": 3, "images_per_camera": 3, "seed": 0}
CLOTHES = (4, 5, 6)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    render_minicc("minicc", MiniCC(**SIZES), folder)
    return folder


@pytest.fixture
def workplace(tmp_path, dataset, repository, monkeypatch) -> Path:
    """A folder with the shipped profile, the shipped parser and a small MiniCC."""
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))
    params["minicc"] = SIZES
    params["models"]["parser"] = str(repository / params["models"]["parser"])
    params["parse"]["batch"] = 16
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "minicc").symlink_to(dataset)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(stages.parse.app, arguments, catch_exceptions=False)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_masks_of_train_and_queries_are_the_clothes(workplace, monkeypatch):
    monkeypatch.setattr(stages.parse, "SHARD", 32)
    assert "masks, 0 of them empty, 0 of them implausible, 0 of them unreadable" in run("minicc").output
    manifest = load_manifest(Path("data/minicc"))
    masks, truth = open_masks("masks/minicc"), open_images("data/minicc/truth")
    expected = manifest.loc[manifest["split"].isin(["train", "query", "query_sc"]), "image_id"].tolist()
    assert list(masks) == expected
    overlap = union = 0
    for image_id in expected:
        clothes = np.isin(decode_grey(truth.encoded(image_id), image_id), CLOTHES)
        mask = masks[image_id]
        assert mask.shape == clothes.shape
        assert masks.area(image_id) == pytest.approx(mask.mean())
        overlap, union = overlap + (mask & clothes).sum(), union + (mask | clothes).sum()
    assert overlap / union > 0.85
    # Interrupted and from scratch, with and without the store: the same bytes.
    first = content(Path("masks/minicc"))
    assert len(first) == 2
    (Path("masks/minicc") / "masks-00001.arrow").unlink()
    (Path("masks/minicc") / "masks-00007.arrow").write_bytes(b"left over")
    run("minicc")
    assert content(Path("masks/minicc")) == first
    monkeypatch.setenv("DVC_ROOT", str(workplace / "elsewhere"))
    run("minicc")
    assert content(Path("masks/minicc")) == first


def test_masks_that_are_not_to_be_inpainted_are_kept_but_marked():
    masks = [np.zeros((10, 10), bool), np.eye(10, dtype=bool), None, np.ones((10, 10), bool)]
    rows = mask_rows(list("abcd"), masks, [(10, 10)] * 4, min_area=0.01, max_area=0.9)
    assert rows["status"] == ["empty", "ok", "unreadable", "implausible"]
    assert rows["area"] == pytest.approx([0.0, 0.1, 0.0, 1.0])
    assert [decode_grey(mask, "mask").shape for mask in rows["mask"]] == [(10, 10)] * 4


def test_an_unreadable_image_gets_a_record_and_stops_nothing(workplace):
    images = open_images("data/minicc/images")
    good = images.encoded(images.ids[0])
    model = yaml.safe_load(Path("params.yaml").read_text())["models"]["parser"]
    settings = {"batch": 2, "dilation": 0, "min_area": 0.01, "max_area": 0.95, "labels": {}}
    make = mask_maker(model, settings)
    odd = [good, good[:200], b"", encode_png(np.full((1, 1, 3), 90, np.uint8)), good]
    rows = make(list(zip("abcde", odd, [(96, 48), (96, 48), (96, 48), (1, 1), (96, 48)], strict=True)))
    assert [rows["status"][place] for place in (0, 1, 2, 4)] == ["ok", "unreadable", "unreadable", "ok"]
    assert rows["mask"][0] == rows["mask"][4]
    assert decode_grey(rows["mask"][3], "mask").shape == (1, 1)


def test_labels_of_the_parser_are_read_as_the_params_say(workplace):
    run("minicc")
    before = open_masks("masks/minicc")
    areas = {image_id: before.area(image_id) for image_id in before}
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["parse"]["labels"] = {"upper": "skin", "hair": "shoes"}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    run("minicc")  # masks of other labels are other masks, which the store does not hold
    truth, after = open_images("data/minicc/truth"), open_masks("masks/minicc")
    overlap = union = 0
    for image_id in after:
        wanted = np.isin(decode_grey(truth.encoded(image_id), image_id), (3, 5, 6))  # hair, lower, footwear
        overlap, union = overlap + (after[image_id] & wanted).sum(), union + (after[image_id] | wanted).sum()
    assert overlap / union > 0.75
    assert any(after.area(image_id) != area for image_id, area in areas.items())
    params["parse"]["labels"] = {"feet": "shoes"}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"parse\.labels: .*parser has no label 'feet'; its labels: background, skin, "
    ):
        run("minicc")


def test_bad_names_and_missing_models_are_one_clear_error(workplace):
    with pytest.raises(ValueError, match="datasets has no 'prcc'"):
        run("prcc")
    path = workplace / "params.yaml"
    path.write_text(path.read_text().replace("models/mini/parser", "models/mini/none"), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"models/mini/none: no such folder"):
        run("minicc")
