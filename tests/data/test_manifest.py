"""The manifest: the same bytes for the same rows, and every defect named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.data.manifest import (
    COLUMNS,
    check_manifest,
    is_relative_path,
    load_manifest,
    save_manifest,
    statistics,
)


def _manifest(count: int = 4) -> pd.DataFrame:
    splits = ["train", "query", "gallery", "train"]
    rows = [
        {
            "image_id": f"{number}.png",
            "subject": str(number % 2),
            "clothes": f"{number % 2}-{number % 3}",
            "camera": "A",
            "split": splits[number % 4],
            "tracklet": "",
            "frame": number,
            "width": 48,
            "height": 96,
        }
        for number in range(count)
    ]
    return pd.DataFrame(rows)


def test_round_trip_sorted_and_typed(tmp_path: Path) -> None:
    save_manifest(_manifest()[::-1], tmp_path / "manifest.parquet")
    found = load_manifest(tmp_path)
    assert found["image_id"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert found.columns.tolist() == list(COLUMNS)
    assert [str(kind) for kind in found.dtypes] == ["str"] * 6 + ["int32"] * 3
    pd.testing.assert_frame_equal(found, load_manifest(tmp_path / "manifest.parquet"))


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    manifest = _manifest()
    variants = [
        manifest,
        manifest[::-1],
        manifest[sorted(COLUMNS)],
        manifest.astype(object),
        _saved(manifest, tmp_path),
    ]
    contents = set()
    for variant in variants:
        save_manifest(variant, tmp_path / "x.parquet")
        contents.add((tmp_path / "x.parquet").read_bytes())
    assert len(contents) == 1


def _saved(manifest: pd.DataFrame, folder: Path) -> pd.DataFrame:
    save_manifest(manifest, folder / "first.parquet")
    return load_manifest(folder / "first.parquet")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("image_id", "0.png", "expected every image_id once"),
        ("image_id", "../2.png", "expected a relative posix path"),
        ("image_id", "", "expected a relative posix path"),
        ("split", "test", "split is 'test', expected one of train, val, val_query"),
        ("subject", "", "subject is '', expected a subject"),
        ("subject", None, "expected text"),
        ("subject", 3, "subject is 3, expected text"),
        ("camera", np.nan, "camera is nan, expected text"),
        ("frame", -1, "frame is -1, expected 0 or more"),
        ("frame", 1.5, "frame is 1.5, expected a 32-bit integer"),
        ("frame", True, "expected a 32-bit integer"),
        ("width", 0, "width is 0, expected 1 or more"),
        ("height", 2**31, "expected a 32-bit integer"),
        ("height", 2_000_000, "expected width x height of at most"),
    ],
)
def test_defects_name_source_row_and_value(column: str, value: object, expected: str) -> None:
    manifest = _manifest().astype(object)
    manifest.loc[2, column] = value
    with pytest.raises(ValueError, match=expected) as error:
        check_manifest(manifest, "x.parquet")
    assert str(error.value).startswith("x.parquet: row 2 (image_id ")


def test_training_images_need_clothes_and_clothes_one_subject() -> None:
    manifest = _manifest()
    manifest.loc[3, "clothes"] = ""
    with pytest.raises(ValueError, match=r"row 3 .*expected clothes for every training image"):
        check_manifest(manifest, "x")
    manifest.loc[[1, 3], "clothes"] = ["", "1-9"]  # a query may lack them
    check_manifest(manifest, "x")
    manifest.loc[0, "clothes"] = "1-9"
    with pytest.raises(ValueError, match="clothes '1-9' belong to subjects '0' and '1'"):
        check_manifest(manifest, "x")


def test_columns_and_rows_are_needed() -> None:
    with pytest.raises(ValueError, match=r"x: columns are .* expected \['image_id'"):
        check_manifest(_manifest().drop(columns="camera"), "x")
    with pytest.raises(ValueError, match="x: columns are"):
        check_manifest(_manifest().assign(more=1), "x")
    with pytest.raises(ValueError, match="x: the manifest has no rows"):
        check_manifest(_manifest()[:0], "x")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.parquet"):
        load_manifest(tmp_path)
    save_manifest(_manifest(), tmp_path / "manifest.parquet")
    data = (tmp_path / "manifest.parquet").read_bytes()
    for content in (b"", data[:-10], data[: len(data) // 2]):
        (tmp_path / "manifest.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"manifest\.parquet: not a readable Parquet"):
            load_manifest(tmp_path)


def test_statistics_are_table_1s_row() -> None:
    numbers = {"original images": 4, "generated images": 40, "subjects": 2, "clothes": 4, "queries": 2, "gallery": 2}
    assert statistics(check_manifest(_manifest(8), "x"), k=10) == numbers


def test_statistics_count_tracklets() -> None:
    manifest = _manifest(8).assign(subject="1", clothes="1-1")
    manifest.loc[manifest["split"] == "gallery", "tracklet"] = "t"
    assert statistics(check_manifest(manifest, "x"), k=1)["gallery"] == 1


@pytest.mark.parametrize("column", ["subject", "camera", "split"])
def test_a_tracklet_of_two_kinds_is_named(column: str) -> None:
    manifest = _manifest(8).assign(subject="1", clothes="", camera="A", split="gallery", tracklet="t")
    check_manifest(manifest, "x")
    manifest.loc[3, column] = "query"
    with pytest.raises(ValueError, match=f"x: tracklet 't': {column} is '.*', '.*', expected only one"):
        check_manifest(manifest, "x")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b.png", "..", ".", "", "C:", "x\\y", "q c1"]), min_size=1, max_size=4))
def test_relative_paths_stay_below_the_root(parts: list[str]) -> None:
    good = all(part in ("a", "b.png", "q c1") or (part == "C:" and place) for place, part in enumerate(parts))
    assert is_relative_path("/".join(parts)) == good
