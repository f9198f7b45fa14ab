"""Images, masks and generated sets: by id, after pickling, and with every inconsistency named."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from dlcr.data import GENERATED_SCHEMA, IMAGE_SCHEMA, MASK_SCHEMA
from dlcr.data.generated import open_generated
from dlcr.data.images import open_images, open_masks
from dlcr.data.shards import ALIGNMENT_SCHEMA, MEASURES, checksum, encode_png, read_table, write_shard

RNG = np.random.default_rng(0)
IDS = ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png"]
PIXELS = {image_id: RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8) for image_id in IDS}


def _write_images(folder: Path, ids: list[str], number: int = 0) -> None:
    columns = {"image_id": ids, "image": [encode_png(PIXELS[image_id]) for image_id in ids]}
    write_shard(folder / f"images-{number:05d}.arrow", columns, IMAGE_SCHEMA, {})


def test_images_over_several_shards(tmp_path: Path) -> None:
    _write_images(tmp_path, IDS[3:], 1)
    _write_images(tmp_path, IDS[:3], 0)
    images = open_images(tmp_path)
    for opened in (images, pickle.loads(pickle.dumps(images))):
        assert opened.ids == list(opened) == IDS
        assert len(opened) == 5
        assert "a/1.png" in opened
        assert "a/9.png" not in opened
        for image_id in IDS:
            np.testing.assert_array_equal(opened[image_id], PIXELS[image_id])
            assert opened.encoded(image_id) == encode_png(PIXELS[image_id])
        with pytest.raises(ValueError, match=r"no image_id 'a/9\.png'"):
            opened["a/9.png"]
        with pytest.raises(AttributeError, match="nonsense"):
            opened.nonsense  # noqa: B018
    assert len(pickle.dumps(images)) < 500


def test_image_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="images: no such folder"):
        open_images(tmp_path / "images")
    with pytest.raises(ValueError, match="holds no"):
        open_images(tmp_path)
    _write_images(tmp_path, IDS[:3], 0)
    with pytest.raises(ValueError, match="lacks the column 'mask'"):
        open_masks(tmp_path)
    _write_images(tmp_path, IDS[2:], 1)
    with pytest.raises(ValueError, match=r"image_id 'b/1\.png' occurs twice"):
        open_images(tmp_path)


def test_damaged_image_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "x.arrow", {"image_id": ["a"], "image": [b"no image"]}, IMAGE_SCHEMA, {})
    with pytest.raises(ValueError, match=r": a: not a readable image"):
        open_images(tmp_path)["a"]


def test_masks(tmp_path: Path) -> None:
    mask = RNG.random((6, 4)) < 0.5
    columns = {
        "image_id": ["a", "b"],
        "mask": [encode_png(mask), encode_png(np.zeros((6, 4), bool))],
        "area": [mask.mean(), 0.0],
        "status": ["ok", "empty"],
    }
    write_shard(tmp_path / "masks-00000.arrow", columns, MASK_SCHEMA, {})
    masks = pickle.loads(pickle.dumps(open_masks(tmp_path)))
    assert masks["a"].dtype == bool
    np.testing.assert_array_equal(masks["a"], mask)
    assert not masks["b"].any()
    assert [masks.status("a"), masks.status("b")] == ["ok", "empty"]
    assert masks.area("a") == pytest.approx(mask.mean())


def _write_block(folder: Path, variant: int, block: int, ids: list[str], made_by: dict | None = None) -> None:
    skipped = [image_id == "b/2.png" for image_id in ids]
    images = [None if skip else encode_png(PIXELS[i] ^ (variant + 1)) for i, skip in zip(ids, skipped, strict=True)]
    columns = {
        "image_id": ids,
        "subject": [image_id[0] for image_id in ids],
        "source_clothes": ["c"] * len(ids),
        "target_clothes": [f"{image_id}>{variant}" for image_id in ids],
        "variant": [variant] * len(ids),
        "prompt": [f"outfit {variant}"] * len(ids),
        "seed": [2**62 + variant] * len(ids),
        "image": images,
        "checksum": ["" if image is None else checksum(image) for image in images],
        "skipped": ["mask is empty" if skip else "" for skip in skipped],
        **{name: [None if skip else (1 + variant) / 8 for skip in skipped] for name in MEASURES},
    }
    path = folder / f"variant-{variant:03d}-block-{block:04d}.arrow"
    write_shard(path, columns, GENERATED_SCHEMA, made_by or {"set": "s", "variant": variant})


def _write_set(folder: Path, variants: int = 3) -> None:
    for variant in range(variants):
        _write_block(folder, variant, 0, IDS[:3])
        _write_block(folder, variant, 1, IDS[3:])


def test_generated_set(tmp_path: Path) -> None:
    _write_set(tmp_path)
    opened = open_generated(tmp_path)
    for found in (opened, pickle.loads(pickle.dumps(opened))):
        assert (found.variants, found.image_ids, len(found)) == (3, IDS, 15)
        for variant in range(3):
            for image_id in IDS:
                image = found[image_id, variant]
                if image_id == "b/2.png":
                    assert image is None
                    assert found.encoded(image_id, variant) is None
                    assert found.skipped(image_id, variant) == "mask is empty"
                else:
                    np.testing.assert_array_equal(image, PIXELS[image_id] ^ (variant + 1))
                assert found.prompt(image_id, variant) == f"outfit {variant}"
        assert ("a/1.png", 3) not in found
        for key in (("a/1.png", 3), ("a/1.png", -1), ("x", 0)):
            with pytest.raises(ValueError, match="it holds 3 variants of 5 images"):
                found[key]


def test_generated_table_has_no_images(tmp_path: Path) -> None:
    _write_set(tmp_path, 2)
    table = open_generated(tmp_path).table(["image_id", "variant", "seed"])
    assert table["image_id"].tolist() == IDS * 2
    assert table["variant"].tolist() == [0] * 5 + [1] * 5
    assert table["seed"].max() == 2**62 + 1
    assert "image" not in open_generated(tmp_path).table().columns
    with pytest.raises(ValueError, match="no column 'image'"):
        open_generated(tmp_path).table(["image"])


def test_empty_set(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    for found in (open_generated(tmp_path), pickle.loads(pickle.dumps(open_generated(tmp_path)))):
        assert (found.variants, found.image_ids, len(found)) == (0, [], 0)
        assert found.table().empty
        assert ("a", 0) not in found
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_generated(tmp_path / "nowhere")


def test_inconsistent_sets_are_named(tmp_path: Path) -> None:
    _write_set(tmp_path)
    block = tmp_path / "variant-001-block-0001.arrow"
    block.unlink()
    with pytest.raises(ValueError, match=r"'b/2\.png' has the variants \[0, 2\], expected 0 to 2"):
        open_generated(tmp_path)
    _write_block(tmp_path, 1, 1, IDS[2:])
    with pytest.raises(ValueError, match=r"variant 1 of image_id 'b/1\.png' occurs twice"):
        open_generated(tmp_path)
    _write_block(tmp_path, 1, 1, IDS[3:], {"set": "other"})
    with pytest.raises(ValueError, match=r"variant-001-block-0001.*another set \('other'\)"):
        open_generated(tmp_path)
    _write_block(tmp_path, 1, 1, IDS[3:], {"k": 1})
    with pytest.raises(ValueError, match=r"variant-001-block-0001.*lacks the key 'set'"):
        open_generated(tmp_path)
    _write_images(tmp_path, IDS[:2])
    block.unlink()
    with pytest.raises(ValueError, match=r"images-00000\.arrow"):
        open_generated(tmp_path)


def test_the_gate_drops_variants_that_fall_short(tmp_path: Path) -> None:
    _write_set(tmp_path)  # measures 1/8, 2/8 and 3/8 for variants 0, 1 and 2
    opened = open_generated(tmp_path, {"change": 0.25, "seam": 0.3, "spread": 0.0})
    for generated in (opened, pickle.loads(pickle.dumps(opened))):
        assert generated.skipped(IDS[0], 0) == "quality: change 0.125 < 0.25"
        assert generated.skipped(IDS[0], 1) == "quality: seam 0.25 < 0.3"
        assert [generated[IDS[0], variant] is None for variant in range(3)] == [True, True, False]
        assert generated.encoded(IDS[0], 0) is None
        assert generated.skipped("b/2.png", 0) == "mask is empty"  # keeps its own reason
    assert set(open_generated(tmp_path).table(["skipped"])["skipped"]) == {"", "mask is empty"}


def test_a_measure_that_a_set_lacks_drops_nothing(tmp_path: Path) -> None:
    _write_set(tmp_path, 1)
    table = read_table(tmp_path / "variant-000-block-0000.arrow").to_pydict()
    columns = table | {"seam": [None] * len(table["seam"])}
    write_shard(tmp_path / "variant-000-block-0000.arrow", columns, GENERATED_SCHEMA, {"set": "s"})
    assert open_generated(tmp_path, {"seam": 0.9}).skipped(IDS[0], 0) == ""


def test_alignment_lies_beside_the_shards(tmp_path: Path) -> None:
    _write_set(tmp_path, 2)
    with pytest.raises(ValueError, match="no measure 'colour' to have a minimum; there are change, seam, spread"):
        open_generated(tmp_path, {"colour": 0.5})
    with pytest.raises(ValueError, match=r"quality\.min_alignment needs the folder alignment/"):
        open_generated(tmp_path, {"alignment": 0.5})
    for variant, value in enumerate((0.25, 0.75)):
        rows = {"image_id": IDS[:3], "variant": [variant] * 3, "alignment": [value, None, value]}
        write_shard(tmp_path / "alignment" / f"variant-{variant:03d}-block-0000.arrow", rows, ALIGNMENT_SCHEMA, {})
    generated = open_generated(tmp_path, {"alignment": 0.5})
    assert generated.skipped(IDS[0], 0) == "quality: alignment 0.25 < 0.5"
    assert generated.skipped(IDS[0], 1) == generated.skipped(IDS[1], 0) == ""
    assert generated.table(["alignment"])["alignment"].dropna().tolist() == [0.25, 0.25, 0.75, 0.75]
