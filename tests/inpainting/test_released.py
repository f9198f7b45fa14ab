"""The published strips: every variant with its own pixels and text, and nothing guessed where something is odd."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strips import FIRST, contents, pack_prcc, text_of, train_rows, write_strips

from dlcr.data import encode_png, fingerprint, open_generated, save_manifest, write_shard
from dlcr.data.shards import GENERATED_SCHEMA, checksum
from dlcr.inpainting import released
from dlcr.inpainting.released import ImportCounts, import_released
from dlcr.reid.samples import load_samples

OTHER = "rgb/train/002/A_cropped_rgb001"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released, "BLOCK", 2)
    monkeypatch.setattr(released, "WINDOW", 1)


def test_each_variant_has_its_own_pixels_and_text(packed: Path, tmp_path: Path, small_blocks: None) -> None:
    pixels = write_strips(packed, tmp_path / "release")
    folder = tmp_path / "generated" / "prcc-released"
    assert import_released(tmp_path / "release", packed, folder) == ImportCounts(3, 5, 0, 9, 0)
    assert sorted(contents(folder)) == [f"variant-00{v}-block-000{b}.arrow" for v in range(3) for b in range(3)]
    generated = open_generated(folder)
    rows = train_rows(packed).set_index("image_id")
    assert (generated.variants, generated.image_ids) == (3, rows.index.tolist())
    assert generated.fingerprint["set"] == {"kind": "released", "dataset": "prcc", "variants": 3}
    for (image_id, variant), image in pixels.items():
        np.testing.assert_array_equal(generated[image_id, variant], image)
        assert generated.prompt(image_id, variant) == text_of(rows.index.get_loc(image_id), variant)
    table = generated.table()
    assert table["subject"].tolist() == rows["subject"][table["image_id"]].tolist()
    assert table["source_clothes"].tolist() == rows["clothes"][table["image_id"]].tolist()
    assert set(table["seed"]) == {0}
    assert set(table["skipped"]) == {""}
    assert table["checksum"].tolist() == [
        checksum(encode_png(pixels[row.image_id, row.variant])) for row in table.itertuples()
    ]


def test_equal_texts_are_equal_clothes_and_nobodys_own(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    import_released(tmp_path / "release", packed, tmp_path / "set")
    table = open_generated(tmp_path / "set").table(["prompt", "target_clothes", "source_clothes"])
    assert table["prompt"].nunique() == 14  # of 15: the first two are equal
    assert table.groupby("prompt")["target_clothes"].nunique().eq(1).all()
    assert table["target_clothes"].nunique() == 14
    assert not set(table["target_clothes"]) & set(table["source_clothes"])


def test_a_run_trains_on_it(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    folder = tmp_path / "generated" / "prcc-released"
    import_released(tmp_path / "release", packed, folder)
    samples = load_samples(packed, folder, "progressive")
    assert samples.image_ids == train_rows(packed)["image_id"].tolist()
    assert samples.present.shape == (3, 5)
    assert samples.present.all()


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    ("inside", "prefix"), [("", ""), ("prcc", ""), ("hub/data", ""), ("", "rgb/"), ("PRCC", "rgb/"), ("rgb", "rgb/")]
)
def test_the_release_is_found_below_and_without_leading_folders(
    tmp_path: Path, above: bool, inside: str, prefix: str
) -> None:
    packed = pack_prcc(tmp_path, above)
    pixels = write_strips(packed, tmp_path / "release" / inside, prefix=f"prcc/{prefix}" if above else prefix)
    import_released(tmp_path / "release", packed, tmp_path / "set")
    generated = open_generated(tmp_path / "set")
    assert all(np.array_equal(generated[key], image) for key, image in pixels.items())


def test_a_release_that_is_not_found_or_found_twice(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="release: no such folder for the released strips"):
        import_released(tmp_path / "release", packed, tmp_path / "set")
    write_strips(packed, tmp_path / "release" / "a" / "b" / "c")
    with pytest.raises(ValueError, match=rf"no strips .*{FIRST}\.png .* in \S*release, \S*release/a, \S*release/a/b$"):
        import_released(tmp_path / "release", packed, tmp_path / "set")
    write_strips(packed, tmp_path / "two" / "a")
    write_strips(packed, tmp_path / "two" / "b")
    with pytest.raises(ValueError, match=r"found in several places: \S*two/a/rgb/train, \S*two/b/rgb/train"):
        import_released(tmp_path / "two", packed, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def resized(path: Path, width: int, height: int) -> None:
    path.write_bytes(encode_png(np.zeros((height, width, 3), np.uint8)))


def keep_lines(path: Path, count: int) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def bomb(path: Path) -> None:
    """A PNG whose header claims 10^10 pixels."""
    data = path.read_bytes()
    header = data[12:16] + struct.pack(">II", 100_000, 100_000) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "width": (lambda png: resized(png, 13, 8), r"rgb001\.png is 13 wide, expected a multiple of .* width 4"),
    "count": (lambda png: resized(png, 16, 8), r"rgb001\.png holds 4 variants, expected 3 as in most strips"),
    "scaled": (lambda png: resized(png, 24, 16), r"rgb001\.png is 24x16, 2 times as high as the original \(4x8\)"),
    "cut": (lambda png: png.write_bytes(png.read_bytes()[:-6]), r"rgb001\.png is not a whole PNG"),
    "half": (lambda png: png.write_bytes(png.read_bytes()[:60]), r"rgb001\.png is not a whole PNG"),
    "empty": (lambda png: png.write_bytes(b""), r"rgb001\.png: not a readable image"),
    "flipped": (flip, r"rgb001\.png is not a whole PNG: .*checksum"),
    "jpeg": (
        lambda png: Image.new("RGB", (12, 8)).save(png, "JPEG"),
        r"rgb001\.png is not a whole PNG: another format",
    ),
    "bomb": (bomb, r"rgb001\.png: .*larger than 64 megapixels"),
    "no text": (lambda png: png.with_suffix(".txt").unlink(), r"its text A_cropped_rgb001\.txt is not in the release"),
    "few lines": (lambda png: keep_lines(png.with_suffix(".txt"), 2), r"rgb001\.txt has 2 lines, expected 3"),
    "no lines": (lambda png: keep_lines(png.with_suffix(".txt"), 0), r"rgb001\.txt"),
    "empty line": (lambda png: png.with_suffix(".txt").write_text("a\n\nc\n"), r"line 2 of A_cropped_rgb001\.txt is"),
    "more lines": (lambda png: png.with_suffix(".txt").write_text("a\nb\nc\nd"), r"rgb001\.txt has 4 lines, exp"),
    "not utf-8": (lambda png: png.with_suffix(".txt").write_bytes(b"a\nb\n\xff\n"), r"rgb001\.txt is not UTF-8"),
    "huge text": (lambda png: png.with_suffix(".txt").write_text("a" * 70_000), r"rgb001\.txt is larger than 65536"),
    "missing": (lambda png: png.unlink(), r"A_cropped_rgb001\.jpg: not in the release"),
    "unknown": (
        lambda png: resized(png.with_name("A_cropped_rgb999.png"), 12, 8),
        r"A_cropped_rgb999\.png: no image of the dataset",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_odd_is_named_and_nothing_is_written(packed: Path, tmp_path: Path, damage: str) -> None:
    harm, message = DAMAGES[damage]
    write_strips(packed, tmp_path / "release")
    harm(tmp_path / "release" / f"{FIRST}.png")
    with pytest.raises(ValueError, match=rf"release/rgb/train: 1 problems.*: {FIRST[:14]}.*{message}"):
        import_released(tmp_path / "release", packed, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_all_problems_are_counted_and_ten_named(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    import_released(tmp_path / "release", packed, tmp_path / "set")
    before = contents(tmp_path / "set")
    DAMAGES["scaled"][0](tmp_path / "release" / f"{FIRST}.png")
    DAMAGES["no text"][0](tmp_path / "release" / f"{FIRST}.png")
    (tmp_path / "release" / f"{OTHER}.png").unlink()
    for number in range(900, 910):
        resized(tmp_path / "release" / f"rgb/train/002/A_cropped_rgb{number}.png", 4, 8)
    with pytest.raises(ValueError, match=r"13 problems, 1 of them images that --allow-missing would skip: ") as error:
        import_released(tmp_path / "release", packed, tmp_path / "set")
    assert str(error.value).count(f"{FIRST}.jpg: ") == 2
    assert str(error.value).count("no image of the dataset") == 7
    assert str(error.value).endswith("and 3 more")
    assert contents(tmp_path / "set") == before


def test_originals_hidden_files_and_other_splits_are_no_strangers(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    (tmp_path / "release" / "rgb" / "val" / "001").mkdir(parents=True)
    for name in (f"{FIRST}.jpg", "rgb/train/001/._A.png", "rgb/train/README.txt", "rgb/val/001/A_cropped_rgb999.png"):
        (tmp_path / "release" / name).write_bytes(b"x")
    assert import_released(tmp_path / "release", packed, tmp_path / "set").missing == 0


def test_images_that_the_release_lacks_are_skipped_if_asked(packed: Path, tmp_path: Path) -> None:
    pixels = write_strips(packed, tmp_path / "release")
    for image in (FIRST, OTHER):
        (tmp_path / "release" / f"{image}.png").unlink()
    (tmp_path / "release" / f"{OTHER}.txt").unlink()
    assert import_released(tmp_path / "release", packed, tmp_path / "set", allow_missing=True).missing == 2
    generated = open_generated(tmp_path / "set")
    missing = [f"{FIRST}.jpg", f"{OTHER}.jpg"]
    for (image_id, variant), image in pixels.items():
        if image_id in missing:
            assert generated[image_id, variant] is None
            assert generated.skipped(image_id, variant) == "not in the release"
            assert generated.prompt(image_id, variant) == ""
        else:
            np.testing.assert_array_equal(generated[image_id, variant], image)
    samples = load_samples(packed, tmp_path / "set", "progressive")
    lacking = [image_id in missing for image_id in samples.image_ids]
    assert (samples.present == ~np.array(lacking)).all()


def test_stopped_in_the_middle_it_continues_with_the_same_bytes(
    packed: Path, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_strips(packed, tmp_path / "release")
    import_released(tmp_path / "release", packed, tmp_path / "whole")
    written = []

    def write_four(path: Path, *rest: object) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        write_shard(path, *rest)
        written.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(released, "write_shard", write_four)
        with pytest.raises(KeyboardInterrupt):
            import_released(tmp_path / "release", packed, tmp_path / "set")
    assert sorted(contents(tmp_path / "set")) == sorted(written)
    with pytest.raises(ValueError, match=r"expected 0 to 2|is in one of them only"):
        load_samples(packed, tmp_path / "set", "paired")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()}
    done = import_released(tmp_path / "release", packed, tmp_path / "set")
    assert (done.made, done.kept) == (5, 4)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    assert import_released(tmp_path / "release", packed, tmp_path / "set").made == 0


def test_only_what_changed_is_made_again(packed: Path, tmp_path: Path, small_blocks: None) -> None:
    write_strips(packed, tmp_path / "release")
    import_released(tmp_path / "release", packed, tmp_path / "set")
    before = contents(tmp_path / "set")
    text = tmp_path / "release" / f"{OTHER}.txt"
    text.write_text(text.read_text().replace("shade 2.1", "no"))
    assert import_released(tmp_path / "release", packed, tmp_path / "set").made == 3
    assert open_generated(tmp_path / "set").prompt(f"{OTHER}.jpg", 1) == "Gray shirt| Blue jeans| no shoes"
    changed = {name for name, data in contents(tmp_path / "set").items() if data != before[name]}
    assert changed == {f"variant-00{variant}-block-0001.arrow" for variant in range(3)}
    write_strips(packed, tmp_path / "fewer", k=2)
    assert import_released(tmp_path / "fewer", packed, tmp_path / "set").kept == 0
    assert open_generated(tmp_path / "set").variants == 2


def test_a_set_that_was_not_imported_is_not_replaced(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    path = tmp_path / "set" / "variant-000-block-0000.arrow"
    write_shard(path, {name: [] for name in GENERATED_SCHEMA.names}, GENERATED_SCHEMA, {"set": {"kind": "inpainting"}})
    with pytest.raises(ValueError, match=r"belongs to a set of kind 'inpainting', .* choose another --name"):
        import_released(tmp_path / "release", packed, tmp_path / "set")
    assert fingerprint(path) == {"set": {"kind": "inpainting"}}


@pytest.mark.parametrize("foreign", ["notes.txt", "old/variant-000-block-0000.arrow", ""])
def test_a_folder_that_no_import_made_is_not_filled(packed: Path, tmp_path: Path, foreign: str) -> None:
    write_strips(packed, tmp_path / "release")
    path = tmp_path / "set" / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"set.*choose another --name"):
        import_released(tmp_path / "release", packed, tmp_path / "set")
    assert [file for file in (tmp_path / "set").rglob("*") if file.is_file()] == ([path] if foreign else [])


def test_an_empty_folder_and_leftovers_of_a_stopped_import_are_filled(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ".gitignore").touch()
    assert import_released(tmp_path / "release", packed, tmp_path / "set").made == 3


def test_a_strip_with_right_checksums_that_does_not_decode_is_named(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    path = tmp_path / "release" / f"{OTHER}.png"
    data = path.read_bytes()
    start = data.index(b"IDAT")
    end = start + 4 + struct.unpack(">I", data[start - 4 : start])[0]
    part = b"IDAT" + b"\0" * (end - start - 4)
    path.write_bytes(data[:start] + part + struct.pack(">I", zlib.crc32(part)) + data[end + 4 :])
    with pytest.raises(ValueError, match=rf"{OTHER}\.png: the image is truncated or damaged"):
        import_released(tmp_path / "release", packed, tmp_path / "set")


def test_a_dataset_that_is_not_packed_or_does_not_train(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    with pytest.raises(FileNotFoundError, match=r"ltcc: not packed yet; run `dvc repro prepare@ltcc` first"):
        import_released(tmp_path / "release", tmp_path / "data" / "ltcc", tmp_path / "set")
    save_manifest(train_rows(packed).assign(split="query"), packed / "manifest.parquet")
    with pytest.raises(ValueError, match="prcc: no images of split train"):
        import_released(tmp_path / "release", packed, tmp_path / "set")


def test_two_images_of_one_strip_are_refused(packed: Path, tmp_path: Path) -> None:
    rows = train_rows(packed)
    twin = rows[rows["image_id"] == f"{FIRST}.jpg"].assign(image_id=f"{FIRST}.jpeg")
    save_manifest(pd.concat([rows, twin]), packed / "manifest.parquet")
    write_strips(packed, tmp_path / "release")
    with pytest.raises(ValueError, match=rf"2 problems: .*{FIRST}\.jpeg: shares the strip {FIRST}\.png with another"):
        import_released(tmp_path / "release", packed, tmp_path / "set")


@settings(max_examples=10, deadline=None)
@given(k=st.integers(1, 4), sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3))
def test_the_variants_side_by_side_are_the_strip(
    k: int, sizes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("property")
    columns = {"subject": "1", "clothes": "1-a", "camera": "A", "split": "train", "tracklet": "", "frame": 0}
    rows = pd.DataFrame({"image_id": [f"{number}.jpg" for number in range(len(sizes))], **columns})
    packed = folder / "data" / "toy"
    save_manifest(rows.assign(width=[w for w, _ in sizes], height=[h for _, h in sizes]), packed / "manifest.parquet")
    rng = np.random.default_rng(k)
    strips = {f"{number}.jpg": rng.integers(0, 256, (h, k * w, 3), np.uint8) for number, (w, h) in enumerate(sizes)}
    (folder / "release").mkdir()
    for image_id, strip in strips.items():
        (folder / "release" / image_id).with_suffix(".png").write_bytes(encode_png(strip))
        (folder / "release" / image_id).with_suffix(".txt").write_text("\r\n".join(map(str, range(k))))
    import_released(folder / "release", packed, folder / "set")
    generated = open_generated(folder / "set")
    assert generated.variants == k
    for image_id, strip in strips.items():
        variants = [generated[image_id, variant] for variant in range(k)]
        np.testing.assert_array_equal(np.concatenate(variants, axis=1), strip)
        assert [generated.prompt(image_id, variant) for variant in range(k)] == list(map(str, range(k)))
