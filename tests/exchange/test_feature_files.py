"""Features come from every kind of file, by name or in order; what does not fit is one line that names the file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange.people import (
    DIMENSIONS,
    compared,
    made_up,
    make_people,
    write_columns,
    write_mat,
    write_npz,
    write_parquet,
    write_safetensors,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.exchange.feature_files import SUFFIXES, arrange, arrange_variants, read_features

WRITERS = {
    "npz": write_npz,
    "safetensors": write_safetensors,
    "parquet": write_parquet,
    "columns.parquet": write_columns,
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("people")
    make_people(folder)
    return compared(folder)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("named", [True, False])
def test_every_kind_by_name_or_in_order(rows: pd.DataFrame, tmp_path: Path, kind: str, named: bool) -> None:
    features = made_up(rows)
    order = np.random.default_rng(1).permutation(len(rows)) if named else np.arange(len(rows))
    path = tmp_path / f"features.{kind}"
    WRITERS[kind](path, features[order], rows["image_id"].iloc[order].tolist() if named else None)
    np.testing.assert_array_equal(arrange(read_features(path), rows, path), features)


@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_by_split(rows: pd.DataFrame, tmp_path: Path, kind: str) -> None:
    features, path = made_up(rows), tmp_path / f"features.{kind}"
    if kind == "mat":
        write_mat(path, features, rows)
    else:
        parts = {part: features[(rows["split"] == part).to_numpy()] for part in set(rows["split"])}
        np.savez(path, **parts)
    np.testing.assert_array_equal(arrange(read_features(path), rows, path), features)


def test_half_precision_and_integers_are_numbers(rows: pd.DataFrame, tmp_path: Path) -> None:
    for dtype in (np.float16, np.float64, np.int8):
        features = (10 * made_up(rows)).astype(dtype)
        write_npz(tmp_path / "x.npz", features, None)
        assert (arrange(read_features(tmp_path / "x.npz"), rows, tmp_path / "x.npz") == features).all()


def test_more_names_than_are_asked_for(rows: pd.DataFrame, tmp_path: Path) -> None:
    """Features of the whole dataset will do, those of unknown images will not."""
    path, names = tmp_path / "x.npz", [*rows["image_id"], "train/t0/000.png"]
    write_npz(path, np.ones((len(names), 3), np.float32), names)
    assert arrange(read_features(path), rows, path, {"train/t0/000.png"}).shape == (len(rows), 3)
    with pytest.raises(ValueError, match=r"1 of 61 names are no images of the dataset, 'train/t0/000.png' for one"):
        arrange(read_features(path), rows, path)


def test_labels_in_another_order_are_noticed(rows: pd.DataFrame, tmp_path: Path) -> None:
    """A .mat names no rows: only its labels tell that they are not the manifest's."""
    path, features = tmp_path / "x.mat", made_up(rows)
    people = pd.factorize(rows["subject"])[0][(rows["split"] == "gallery").to_numpy()]
    write_mat(path, features, rows, gallery_label=np.roll(people, 1))
    with pytest.raises(ValueError, match=r"its labels are not the dataset's subjects: label \d+ .+another order"):
        arrange(read_features(path), rows, path)
    write_mat(path, features, rows, gallery_cam=np.arange(len(people)))
    with pytest.raises(ValueError, match=r"its cams are not the dataset's cameras"):
        arrange(read_features(path), rows, path)


def test_variants_by_array_and_by_row(rows: pd.DataFrame, tmp_path: Path) -> None:
    queries = rows[rows["split"] == "query"].reset_index(drop=True)
    variants = np.random.default_rng(0).normal(size=(len(queries), 3, DIMENSIONS)).astype(np.float32)
    variants[4, 1] = np.nan
    backwards = np.arange(len(queries))[::-1]
    write_npz(tmp_path / "v.npz", variants[backwards], queries["image_id"].iloc[backwards].tolist())
    table = [
        {"image_id": image_id, "variant": number, "features": values}
        for image_id, own in zip(queries["image_id"], variants, strict=True)
        for number, values in enumerate(own)
        if np.isfinite(values).all()
    ]
    pq.write_table(pa.Table.from_pylist(table[::-1]), tmp_path / "v.parquet")
    for name in ("v.npz", "v.parquet"):
        known = set(rows["image_id"])
        where, found, present = arrange_variants(read_features(tmp_path / name), rows, tmp_path / name, known)
        assert (rows["image_id"].iloc[where].to_numpy() == queries["image_id"].to_numpy()).all()
        np.testing.assert_array_equal(found, variants)
        assert (~present).sum() == 1
        assert not present[4, 1]


def spoilt(kind: str, rows: pd.DataFrame, path: Path) -> None:
    """Writes a file with one thing wrong."""
    features, names = made_up(rows), rows["image_id"].tolist()
    if kind == "short":
        features, names = features[:-1], None
    elif kind == "missing":
        features, names = features[:-2], names[:-2]
    elif kind == "twice":
        names[3] = names[1]
    elif kind == "unknown":
        names[3] = "nobody.png"
    elif kind == "nan":
        features[7, 2] = np.nan
    elif kind == "infinite":
        features[7, 2] = np.inf
    elif kind == "texts":
        features = features.astype(str)
    elif kind == "cube":
        features = features[:, None]
    elif kind == "fewer names":
        names = names[:-1]
    elif kind == "nothing":
        features = features[:, :0]
    write_npz(path, features, names)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("short", "59 rows without names; expected 60, the dataset's queries and gallery in the order of its manifest"),
        ("missing", r"no features of 2 of 60 images, 'query_sc/p11/0\d\d.png' for one|no features of 2 of 60 images"),
        ("twice", "is there twice, in rows 1 and 3"),
        ("unknown", "1 of 60 names are no images of the dataset, 'nobody.png' for one; names are image IDs"),
        ("nan", r"the features of 'gallery/.+' are not finite, and those of 0 more"),
        ("infinite", "are not finite"),
        ("texts", r"features must be numbers \[images, dimensions\], found <U"),
        ("cube", r"features must be \[images, dimensions\], found shape \(60, 1, 8\)"),
        ("fewer names", "59 names for 60 rows of features"),
        ("nothing", r"found float32 of shape \(60, 0\)"),
    ],
)
def test_what_does_not_fit(rows: pd.DataFrame, tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "features.npz"
    spoilt(kind, rows, path)
    with pytest.raises(ValueError, match=message) as error:
        arrange(read_features(path), rows, path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit(rows: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for parts, message in (
        ({"query": 24, "gallery": 24}, "no features of split 'query_sc'; it has query, gallery"),
        ({"query": 24, "gallery": 23, "query_sc": 12}, "23 features of split 'gallery', expected 24, in the order"),
        ({"query": 24}, "expected `features`, or `query` and `gallery`, found query"),
    ):
        np.savez(path, **{part: np.ones((count, 3)) for part, count in parts.items()})
        with pytest.raises(ValueError, match=message):
            arrange(read_features(path), rows, path)
    np.savez(path, query=np.ones((24, 3)), gallery=np.ones((24, 4)), query_sc=np.ones((12, 3)))
    with pytest.raises(ValueError, match="features differ in their dimensions: query 3, gallery 4, query_sc 3"):
        arrange(read_features(path), rows, path)


def test_variants_that_do_not_fit(rows: pd.DataFrame, tmp_path: Path) -> None:
    path, known = tmp_path / "v.npz", set(rows["image_id"])
    names = rows["image_id"][rows["split"] == "query"].tolist()
    half = np.ones((len(names), 2, 3))
    half[1, 1, 0] = np.nan
    for values, own, message in (
        (np.ones((24, 3)), names, r"variants must be \[queries, variants, dimensions\], found shape \(24, 3\)"),
        (np.ones((24, 2, 3)), None, "variants need the names of their queries"),
        (half, names, r"variant 1 of 'query/p00/\d+.png' is not finite"),
    ):
        write_npz(path, values, own)
        with pytest.raises(ValueError, match=message):
            arrange_variants(read_features(path), rows, path, known)
    write_npz(path, np.ones((1, 2, 3)), ["gallery/x.png"])
    with pytest.raises(ValueError, match="none of its names is a query"):
        arrange_variants(read_features(path), rows, path, {*known, "gallery/x.png"})


def test_parquet_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for columns, message in (
        ({"image_id": ["a", "b"], "features": [[1.0], [1.0, 2.0]]}, "`features` are of unequal lengths, from 1 to 2"),
        ({"image_id": [1, 2], "features": [[1.0], [2.0]]}, "the column `image_id` must hold texts"),
        ({"variant": [0, 0], "features": [[1.0], [2.0]]}, "variants need the names of their queries, as `image_id`"),
        ({"image_id": ["a", "a"], "variant": [0, 0], "f": [1.0, 2.0]}, "a variant of a query is there twice"),
        ({"image_id": ["a", "a"], "variant": [0, -1], "f": [1.0, 2.0]}, "must hold integers from 0 on"),
        ({"image_id": ["a", "b"], "f": ["x", "y"]}, "must be numbers"),
    ):
        pq.write_table(pa.table(columns), path)
        with pytest.raises(ValueError, match=message):
            read_features(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=25, deadline=None)
@given(cut=st.floats(0, 0.99), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=3))
def test_damage_is_one_line_or_other_numbers(
    rows: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    cut: float,
    flips: list[tuple[float, int]],
) -> None:
    """Truncated and flipped files: an error that names the file, never a traceback of a library."""
    path = tmp_path_factory.mktemp("damaged") / f"x{suffix}"
    features, names = made_up(rows), rows["image_id"].tolist()
    if suffix == ".mat":
        write_mat(path, features, rows)
    else:
        WRITERS[suffix[1:]](path, features, names)
    content = bytearray(path.read_bytes())
    for place, change in flips:
        content[int(place * len(content))] ^= change
    path.write_bytes(content if flips else content[: int(cut * len(content))])
    said = ""
    try:
        arrange(read_features(path), rows, path)
    except ValueError as error:
        said = str(error)
    assert said == "" or said.startswith(str(path))


def test_no_file_and_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x\.npz: no such file"):
        read_features(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"x\.pkl: expected a file that ends in \.npz, \.safetensors, \.parq"):
        read_features(tmp_path / "x.pkl")
    np.save(tmp_path / "x.npz", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "x.npz.npy").rename(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="not a readable NPZ file of numbers and texts"):
        read_features(tmp_path / "x.npz")
