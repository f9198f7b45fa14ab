"""Shards and encoded images: round trips, the same bytes twice, and damage that is named."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dlcr.data import shards
from dlcr.data.shards import (
    GENERATED_SCHEMA,
    IMAGE_SCHEMA,
    MASK_SCHEMA,
    decode_grey,
    decode_rgb,
    encode_png,
    fingerprint,
    folder_fingerprint,
    image_size,
    read_table,
    write_shard,
)

COLUMNS = {"image_id": ["a", "b"], "image": [b"one", b"second"]}
RGB = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    for name in ("x.arrow", "y.arrow"):
        write_shard(tmp_path / name, COLUMNS, IMAGE_SCHEMA, {"set": "s", "k": 2})
    assert (tmp_path / "x.arrow").read_bytes() == (tmp_path / "y.arrow").read_bytes()
    assert read_table(tmp_path / "x.arrow").to_pydict() == COLUMNS
    assert fingerprint(tmp_path / "x.arrow") == {"k": 2, "set": "s"}
    write_shard(tmp_path / "y.arrow", COLUMNS, IMAGE_SCHEMA, {"k": 2, "set": "s"})
    assert (tmp_path / "x.arrow").read_bytes() == (tmp_path / "y.arrow").read_bytes()
    assert pa.ipc.open_file(tmp_path / "x.arrow").num_record_batches == 1


@pytest.mark.parametrize("schema", [IMAGE_SCHEMA, MASK_SCHEMA, GENERATED_SCHEMA])
def test_shards_without_rows(tmp_path: Path, schema: pa.Schema) -> None:
    write_shard(tmp_path / "x.arrow", {name: [] for name in schema.names}, schema, {})
    assert read_table(tmp_path / "x.arrow").schema == schema


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"more": [1, 2]}, "columns are"),
        ({"image": [b"one"]}, "differ in length"),
        ({"image": [b"one", None]}, "column 'image' is null in row 1"),
        ({"image": [b"one", 2]}, "column 'image' must hold binary"),
        ({"image_id": ["a", 2]}, "column 'image_id' must hold string"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, change: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=rf"x\.arrow.*{expected}"):
        write_shard(tmp_path / "x.arrow", COLUMNS | change, IMAGE_SCHEMA, {})
    assert list(tmp_path.iterdir()) == []


def test_wrong_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not plain JSON"):
        write_shard(tmp_path / "x.arrow", COLUMNS, IMAGE_SCHEMA, {"path": tmp_path})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_and_foreign_files_are_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.arrow"
    write_shard(path, COLUMNS, IMAGE_SCHEMA, {})
    data = path.read_bytes()
    for content in (data[: int(share * len(data))], b"P6 2 2 255\n" + bytes(int(share * 500))):
        path.write_bytes(content)
        for read in (read_table, fingerprint):
            with pytest.raises(ValueError, match=r"x\.arrow: not a whole Arrow file"):
                read(path)


def test_foreign_arrow_and_missing_files(tmp_path: Path) -> None:
    table = pa.table({"image_id": ["a"]})
    with pa.ipc.new_file(tmp_path / "x.arrow", table.schema) as writer:
        writer.write(table)
    with pytest.raises(ValueError, match=r"x\.arrow.*'dlcr'"):
        read_table(tmp_path / "x.arrow")
    with pytest.raises(FileNotFoundError, match=r"y\.arrow"):
        read_table(tmp_path / "y.arrow")


def test_folder_fingerprint_follows_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    seen = [folder_fingerprint(tmp_path)]
    (tmp_path / ".gitkeep").write_bytes(b"hidden files don't count")
    assert folder_fingerprint(tmp_path) == seen[0]
    for name, content in (("a/x", b"2"), ("a/y", b"1"), ("z", b"")):
        (tmp_path / name).write_bytes(content)
        seen.append(folder_fingerprint(tmp_path))
    (tmp_path / "z").rename(tmp_path / "w")
    seen.append(folder_fingerprint(tmp_path))
    assert len(set(seen)) == len(seen)
    with pytest.raises(FileNotFoundError, match="nothing"):
        folder_fingerprint(tmp_path / "nothing")


@settings(deadline=None)
@given(RGB)
def test_png_keeps_every_pixel(array: np.ndarray) -> None:
    data = encode_png(array)
    assert data == encode_png(np.asfortranarray(array))
    np.testing.assert_array_equal(decode_rgb(data, "x"), array)
    assert image_size(data, "x") == (array.shape[1], array.shape[0])


@settings(deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_png_keeps_masks(mask: np.ndarray) -> None:
    decoded = decode_grey(encode_png(mask), "x")
    np.testing.assert_array_equal(decoded, np.where(mask, 255, 0))


@pytest.mark.parametrize("shape", [(2, 2, 4), (2, 2, 1), (0, 2, 3), (2,)])
def test_encode_rejects_other_arrays(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected|without pixels"):
        encode_png(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="float64"):
        encode_png(np.zeros((2, 2, 3)))


def test_decodes_grey_palette_and_sixteen_bits() -> None:
    grey = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)
    three = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(decode_rgb(_encoded(Image.fromarray(grey)), "x"), three)
    np.testing.assert_array_equal(decode_rgb(_encoded(Image.fromarray(grey).convert("P")), "x"), three)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode_rgb(_encoded(deep, kind), "x"), three)
    bilevel = decode_rgb(_encoded(Image.fromarray(grey > 128)), "x")
    np.testing.assert_array_equal(bilevel, np.where(three > 128, 255, 0))


def test_decodes_transparency_over_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    found = decode_rgb(_encoded(Image.fromarray(rgba)), "x")
    np.testing.assert_array_equal(found[0, :2], [[10, 20, 30], [255, 255, 255]])
    assert abs(int(found[0, 2, 0]) - 127) <= 1
    np.testing.assert_array_equal(decode_rgb(_encoded(Image.fromarray(rgba).convert("LA")), "x")[0, 1], [255] * 3)


def test_decodes_cmyk() -> None:
    colours = Image.new("RGB", (16, 16), (200, 40, 40))
    found = decode_rgb(_encoded(colours.convert("CMYK"), "JPEG", quality=95), "x")
    assert np.abs(found.astype(int) - [200, 40, 40]).max() < 12


def test_rejects_float_images() -> None:
    with pytest.raises(ValueError, match="x: expected 8 or 16 bits"):
        decode_rgb(_encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "x")
    with pytest.raises(ValueError, match="x: expected a single-channel"):
        decode_grey(encode_png(np.zeros((2, 2, 3), np.uint8)), "x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_truncated_images_are_named(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = _encoded(Image.fromarray(noise), kind)
    for length in (0, 1, 20, len(data) // 2):
        with pytest.raises(ValueError, match=r"query/one\.png: "):
            decode_rgb(data[:length], "query/one.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_gives_an_image_or_a_value_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "BMP"]))
    encoded = bytearray(_encoded(Image.new("RGB", (9, 7), (10, 200, 30)), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = decode_rgb(bytes(encoded), "x")
    except ValueError as error:
        problem = str(error)
    else:
        problem = "x: none"
        assert array.dtype == np.uint8
        assert array.ndim == 3
        assert array.shape[2] == 3
    assert problem.startswith("x: ")


def test_bombs_and_other_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="x: not a readable image"):
        decode_rgb(_encoded(Image.new("RGB", (4, 4)), "GIF"), "x")
    bilevel = Image.new("1", (20_000, 10_000))  # 200 megapixels in a few kilobytes
    with pytest.raises(ValueError, match=r"x: .*larger than 64 megapixels"):
        decode_rgb(_encoded(bilevel), "x")
    monkeypatch.setattr(shards, "MAX_PIXELS", 99)
    with pytest.raises(ValueError, match="x: 10x10 is larger"):
        decode_rgb(_encoded(Image.new("RGB", (10, 10))), "x")
    with pytest.raises(ValueError, match="x: 10x10 is larger"):
        image_size(_encoded(Image.new("RGB", (10, 10))), "x")
