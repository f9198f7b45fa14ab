"""Stage prepare: MiniCC with its truth, a user's folder, the same bytes twice, bad input in one line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from layouts import LAYOUTS, tree
from PIL import Image
from typer.testing import CliRunner

from dlcr.data import load_manifest, open_images
from dlcr.data.shards import decode_grey
from dlcr.evaluation.protocols import TEST_SPLITS, compared_rows
from dlcr.evaluation.tracklets import compared_tracklets
from dlcr.minicc import LABELS, benchmark_scenes, outfit_words, render
from dlcr.params import load_params
from stages.prepare import app

SIZES = {"train_subjects": 2, "val_subjects": 1, "test_subjects": 2, "images_per_camera": 2, "seed": 0}


@pytest.fixture
def workplace(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped profile, cut down, and a user's dataset `mine`."""
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))
    params["minicc"] = SIZES
    params["datasets"]["mine"] = {"reader": "folder", "source": "source"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "source").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (90, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "source" / "a.jpg")
    rows = "image,subject,clothes,camera,split\na.jpg,1,1-a,x,train\n"
    (tmp_path / "source" / "manifest.csv").write_text(rows, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_minicc(workplace: Path) -> None:
    result = CliRunner().invoke(app, ["minicc"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].split() == ["minicc", "12", "120", "2", "4", "4", "4"]
    folder = workplace / "data" / "minicc"
    first = _content(folder)
    assert sorted(first) == [
        "images/images-00000.arrow", "manifest.parquet", "truth/labels.arrow", "truth/outfits.parquet"
    ]  # fmt: skip
    scenes = benchmark_scenes("minicc", **SIZES)
    manifest, images, labels = (
        load_manifest(folder),
        open_images(folder / "images"),
        open_images(folder / "truth"),
    )
    assert manifest["image_id"].tolist() == images.ids == labels.ids == sorted(scene.image_id for scene in scenes)
    scene = scenes[3]
    row = manifest.set_index("image_id").loc[scene.image_id]
    assert (row["subject"], row["clothes"], row["split"]) == (scene.subject, scene.clothes, scene.split)
    np.testing.assert_array_equal(images[scene.image_id], render(scene).image)
    truth = decode_grey(labels.encoded(scene.image_id), scene.image_id)
    np.testing.assert_array_equal(truth, render(scene).labels)
    assert truth.max() < len(LABELS)
    outfits = pd.read_parquet(folder / "truth" / "outfits.parquet").set_index("clothes")["prompt"]
    assert outfits.to_dict() == {scene.clothes: outfit_words(scene.outfit) for scene in scenes}
    timing = json.loads((workplace / ".dlcr" / "timings" / "prepare@minicc.json").read_text())
    assert timing["images"] == len(scenes)

    assert CliRunner().invoke(app, ["minicc"]).exit_code == 0
    assert _content(folder) == first


def test_own_folder_keeps_the_original_bytes(workplace: Path) -> None:
    result = CliRunner().invoke(app, ["mine"])
    assert result.exit_code == 0, result.output
    images = open_images(workplace / "data" / "mine" / "images")
    assert images.encoded("a.jpg") == (workplace / "source" / "a.jpg").read_bytes()
    assert images["a.jpg"].shape == (90, 50, 3)


# dataset: row of Table 1 (original and generated images, then subjects, clothes, queries, gallery), compared settings
REAL = {
    "prcc": ([2, 20, 1, 2, 1, 1], ["cc", "sc", "general"]),
    "ltcc": ([2, 20, 1, 2, 1, 1], ["cc", "general"]),
    "ccvid": ([2, 20, 1, 1, 1, 1], ["cc", "general"]),
    "vc-clothes": ([2, 20, 1, 2, 1, 1], ["cc", "general"]),
    "last": ([2, 20, 1, 2, 1, 1], ["general"]),
}


@pytest.mark.filterwarnings("ignore:.*published ones")
@pytest.mark.parametrize("profile", ["own", "paper"])
@pytest.mark.parametrize("name", REAL)
def test_real_datasets_under_their_profiles(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, name: str, profile: str
) -> None:
    """A tree of the official layout where the profile expects it: packed, printed, and ready to be compared."""
    content = (repository / "profiles" / f"{name if profile == 'own' else profile}.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    tree(name, tmp_path / "datasets" / name)
    result = CliRunner().invoke(app, [name])
    assert result.exit_code == 0, result.output
    row, settings = REAL[name]
    assert result.output.splitlines()[-1].split() == [name, *map(str, row)]
    packed = tmp_path / "data" / name
    assert open_images(packed / "images").ids == load_manifest(packed)["image_id"].tolist()
    test = compared_tracklets(load_manifest(packed))
    assert list(compared_rows(test.rows, load_params().datasets[name].reader)) == settings
    assert len(test.frames) == sum(split in TEST_SPLITS for _, _, _, split, _ in LAYOUTS[name][1].values())


def test_bad_input(workplace: Path) -> None:
    result = CliRunner().invoke(app, ["nix"])
    assert isinstance(result.exception, ValueError)
    assert "no 'nix'" in str(result.exception)
    data = (workplace / "source" / "a.jpg").read_bytes()
    (workplace / "source" / "a.jpg").write_bytes(data[: len(data) // 2])  # the header is whole
    result = CliRunner().invoke(app, ["mine"])
    assert isinstance(result.exception, ValueError)
    assert "1 of 1 images can't be packed: a.jpg" in str(result.exception)
    assert not (workplace / "data" / "mine" / "manifest.parquet").exists()
