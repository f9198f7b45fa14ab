"""Stage inpaint with the shipped inpainter on a small MiniCC whose masks are the truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from narrow import show_only
from typer.testing import CliRunner

import stages.discriminate
import stages.inpaint
from dlcr.data import MASK_SCHEMA, encode_png, load_manifest, open_generated, open_images, open_masks, write_shard
from dlcr.data.shards import decode_grey
from dlcr.inpainting.garments import shown_garments
from dlcr.minicc import benchmark_scenes, outfit_words, render
from dlcr.params import MiniCC
from stages.prepare import render_minicc

SIZES = {"train_subjects": 2, "val_subjects": 1, "test_subjects": 1, "images_per_camera": 2, "seed": 0}
CLOTHES = (4, 5, 6)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """data/minicc, masks/minicc (the first training image's is empty) and outfits/minicc.parquet."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "data").mkdir()
    render_minicc("minicc", MiniCC(**SIZES), folder / "data" / "minicc")
    manifest = load_manifest(folder / "data" / "minicc")
    ids = manifest.loc[manifest["split"].isin(["train", "query", "query_sc"]), "image_id"].tolist()
    truth = open_images(folder / "data" / "minicc" / "truth")
    masks = [np.isin(decode_grey(truth.encoded(image_id), image_id), CLOTHES) for image_id in ids]
    first = ids.index(manifest.loc[manifest["split"] == "train", "image_id"].iloc[0])
    columns = {
        "image_id": ids,
        "mask": [encode_png(mask) for mask in masks],
        "area": [float(mask.mean()) for mask in masks],
        "status": ["empty" if number == first else "ok" for number in range(len(ids))],
    }
    write_shard(folder / "masks" / "minicc" / "masks-00000.arrow", columns, MASK_SCHEMA, {})
    scenes = [scene for scene in benchmark_scenes(**SIZES) if scene.split == "train"]
    texts = {scene.clothes: outfit_words(scene.outfit) for scene in scenes}
    (folder / "outfits").mkdir()
    table = pd.DataFrame({"clothes": list(texts), "prompt": list(texts.values())})
    table.to_parquet(folder / "outfits" / "minicc.parquet")
    return folder


@pytest.fixture
def workplace(tmp_path, prepared, repository, monkeypatch) -> Path:
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))
    params["minicc"] = SIZES
    params["models"] |= {
        role: str(repository / params["models"][role]) for role in ("parser", "summarizer", "inpainter")
    }
    params["models"]["describers"] = {"llava": str(repository / "models/mini/describer")}
    params["descriptions"] = {name: item for name, item in params["descriptions"].items() if name == "minicc"}
    params["outfits"] = {"minicc": params["outfits"]["minicc"]}
    for name in [name for name, item in params["generated"].items() if item["outfits"] != "minicc"]:
        del params["generated"][name]
    params["discriminate"] |= {"steps": 4, "batch": 4, "variants": 2}
    sets = set(params["generated"]) | {"none"}
    params["runs"] = {name: item for name, item in params["runs"].items() if item["generated"] in sets}
    params["evaluations"] = {
        name: item
        for name, item in params["evaluations"].items()
        if item["run"] in params["runs"] and item["queries"] in ("none", "queries-minicc")
    }
    show_only(params, "baseline")
    params["inpaint"] |= {"steps": 2, "block": 4, "dtype": "float32"}
    for name in ("garment", "garment-text"):
        params["generated"][name]["garment"]["adapter"] = str(repository / "models/mini/adapter")
    params["generated"]["queries-minicc"] |= {"steps": 1, "k": 2}
    params["k"] = 2
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in ("data", "masks", "outfits"):
        (tmp_path / name).symlink_to(prepared / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(stages.inpaint.app, arguments, catch_exceptions=False)


def change(**values) -> None:
    """Edit params.yaml; of a section only the keys given."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for key, value in values.items():
        params[key] = params[key] | value if isinstance(value, dict) else value
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def content(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_every_training_image_gets_k_variants_that_keep_what_is_not_clothes(workplace):
    assert "2 variants of 12 images; 24 made, 0 taken from the store, 2 skipped" in run("inpainting").output
    generated, images, masks = (
        open_generated("generated/inpainting"),
        open_images("data/minicc/images"),
        open_masks("masks/minicc"),
    )
    assert generated.variants == 2
    for row in generated.table().itertuples():
        if row.skipped:
            assert (row.skipped, masks.status(row.image_id)) == ("empty mask", "empty")
            continue
        outside = ~masks[row.image_id]
        assert (generated[row.image_id, row.variant][outside] == images[row.image_id][outside]).all()
    assert (workplace / ".dlcr" / "timings" / "inpaint@inpainting.json").is_file()
    first = content("generated/inpainting")
    assert "0 made, 24 taken" in run("inpainting").output
    assert content("generated/inpainting") == first


def test_a_larger_k_adds_files_and_changes_none(workplace):
    run("oracle")
    first = content("generated/oracle")
    change(k=3)
    assert "12 made, 24 taken" in run("oracle").output
    grown = content("generated/oracle")
    assert len(grown) == 9
    assert {name: grown[name] for name in first} == first


def test_the_oracle_is_the_scene_in_the_other_outfit(workplace):
    run("oracle")
    generated = open_generated("generated/oracle")
    scenes = benchmark_scenes(**SIZES)
    by_image = {scene.image_id: scene for scene in scenes}
    outfits = {scene.clothes: scene.outfit for scene in scenes}
    for row in generated.table().iloc[:3].itertuples():
        expected = render(by_image[row.image_id], outfits[row.target_clothes]).image
        assert (generated[row.image_id, row.variant] == expected).all()


def test_standard_repaints_the_whole_image_and_queries_have_their_own_set(workplace):
    run("standard")
    generated, images = open_generated("generated/standard"), open_images("data/minicc/images")
    image_id = generated.image_ids[0]
    assert (generated[image_id, 0][:8] != images[image_id][:8]).any()
    assert "queries-minicc: 2 variants" in run("queries-minicc").output
    queries = open_generated("generated/queries-minicc")
    manifest = load_manifest("data/minicc")
    assert queries.image_ids == manifest.loc[manifest["split"] == "query", "image_id"].tolist()


def test_colour_change_keeps_what_is_not_clothes(workplace):
    assert "2 variants of 12 images; 24 made, 0 taken from the store, 2 skipped" in run("colour").output
    generated, images, masks = (
        open_generated("generated/colour"), open_images("data/minicc/images"), open_masks("masks/minicc")
    )  # fmt: skip
    for image_id in generated.image_ids[1:]:
        changed = (generated[image_id, 0] != images[image_id]).any(axis=2)
        assert not (changed & ~masks[image_id]).any()
        assert changed[masks[image_id]].mean() > 0.9


def test_a_garment_set_is_shown_images_of_the_dataset_and_grows(workplace):
    assert "2 variants of 12 images; 24 made, 0 taken from the store, 2 skipped" in run("garment").output
    made, manifest = open_generated("generated/garment"), load_manifest("data/minicc").set_index("image_id")
    shown = made.table().merge(shown_garments(Path("generated/garment")), on=["image_id", "variant"])
    shown = shown[shown["skipped"] == ""]
    assert (manifest.loc[shown["garment"], "clothes"].to_numpy() == shown["target_clothes"]).all()
    assert made.fingerprint["set"]["text"] is False
    first = content("generated/garment")
    run("garment-text")
    assert open_generated("generated/garment-text").fingerprint["set"]["text"] is True
    change(k=3)
    assert "12 made, 24 taken" in run("garment").output
    assert first.items() < content("generated/garment").items()
    run("queries-minicc")  # an adapter says nothing to other kinds
    assert "adapter" not in open_generated("generated/queries-minicc").fingerprint["set"]


def test_a_discriminator_guides_the_set_that_names_it(workplace):
    run("inpainting")
    result = CliRunner().invoke(stages.discriminate.app, ["minicc"], catch_exceptions=False)
    assert "held-out images told apart from generated ones" in result.output
    first = content("discriminators/minicc")
    assert set(first) == {"config.json", "model.safetensors", "scores.json"}
    run("guided")
    plain, guided = open_generated("generated/inpainting"), open_generated("generated/guided")
    assert guided.fingerprint["set"]["weight"] == 1.0
    assert "discriminator" not in plain.fingerprint["set"]
    rows = [row for row in plain.table().itertuples() if not row.skipped]
    assert any((plain[row.image_id, row.variant] != guided[row.image_id, row.variant]).any() for row in rows)
    # A larger k does not train it again: its images are the same.
    change(k=3)
    run("inpainting")
    result = CliRunner().invoke(stages.discriminate.app, ["minicc"], catch_exceptions=False)
    assert "taken from the store" in result.output
    assert content("discriminators/minicc") == first
    assert "12 made, 24 taken" in run("guided").output


def test_alignment_is_measured_where_asked_and_grows_with_k(workplace):
    change(quality={"alignment": True, "min_alignment": 0.0})
    assert "24 variants described by llava" in run("oracle").output
    measured = open_generated("generated/oracle").table(["alignment"])["alignment"]
    assert measured.between(0, 1).all()
    assert measured.mean() > 0.6  # the truth, read by the shipped describer
    first = content("generated/oracle/alignment")
    change(k=3)
    assert "12 variants described" in run("oracle").output
    assert first.items() < content("generated/oracle/alignment").items()
    change(quality={"alignment": False})
    run("oracle")
    assert not Path("generated/oracle/alignment").exists()


def test_errors_are_one_clear_message(workplace):
    with pytest.raises(ValueError, match="generated has no 'nothing'"):
        run("nothing")
    change(k=4)
    with pytest.raises(ValueError, match=r"k is 4, but image .* has only 3 other outfits"):
        run("oracle")
    change(k=2, datasets={"minicc": {"reader": "folder", "source": "x"}})
    with pytest.raises(ValueError, match="kind oracle needs a dataset that knows the truth"):
        run("oracle")
