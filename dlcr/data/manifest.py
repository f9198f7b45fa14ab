"""The manifest: one row an image, sorted by image_id; all stages take identities from here only."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dlcr.data.shards import MAX_PIXELS
from dlcr.runtime.files import atomic_path

SPLITS = ("train", "val", "val_query", "val_gallery", "query", "query_sc", "gallery")
SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in
     ("image_id", "subject", "clothes", "camera", "split", "tracklet")]
    + [pa.field(name, pa.int32(), nullable=False) for name in ("frame", "width", "height")]
)  # fmt: skip
COLUMNS = tuple(SCHEMA.names)
_TEXT = COLUMNS[:6]
_NUMBERS = COLUMNS[6:]


def load_manifest(path_or_folder: str | Path) -> pd.DataFrame:
    """Return the checked manifest of a Parquet file, or of the folder that holds `manifest.parquet`.

    Columns as in SCHEMA: str for text, int32 for frame, width, height. Raises FileNotFoundError, ValueError.
    """
    path = Path(path_or_folder)
    path = path / "manifest.parquet" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest")
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file: {error}") from error
    return check_manifest(table.to_pandas(), path)


def save_manifest(manifest: pd.DataFrame, path: str | Path) -> None:
    """Check the manifest and write it as Parquet, atomically; the order of rows doesn't change the bytes."""
    manifest = check_manifest(manifest, path)
    table = pa.Table.from_pandas(manifest, schema=SCHEMA, preserve_index=False).replace_schema_metadata()
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd", compression_level=3, version="2.6", row_group_size=1 << 20)


def check_manifest(manifest: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Return the manifest with its exact types, sorted by image_id.

    Raises ValueError naming `source`, the row (counted from 0), its image_id and what was expected, for: no
    rows, wrong columns, missing values or other types, an image_id that is no relative path or occurs twice,
    an unknown split, an empty subject, training images without clothes, clothes shared by two subjects,
    tracklets of several subjects, clothes, cameras or splits, impossible sizes and frames. Camera, tracklet
    and the clothes of other splits may be empty: not every dataset has them.
    """
    if set(manifest.columns) != set(COLUMNS) or len(manifest.columns) != len(COLUMNS):
        raise ValueError(f"{source}: columns are {list(manifest.columns)}, expected {list(COLUMNS)}")
    if manifest.empty:
        raise ValueError(f"{source}: the manifest has no rows")
    manifest = manifest[list(COLUMNS)].reset_index(drop=True)
    for name in _TEXT:
        _require(manifest, name, manifest[name].map(lambda value: isinstance(value, str)), "text", source)
    for name in _NUMBERS:
        _require(manifest, name, manifest[name].map(_is_int32), "a 32-bit integer", source)
    manifest = manifest.astype(dict.fromkeys(_TEXT, "str") | dict.fromkeys(_NUMBERS, np.int32))
    for name, good, expected in _rules(manifest):
        _require(manifest, name, good, expected, source)
    _require_own_clothes(manifest, source)
    _require_whole_tracklets(manifest, source)
    return manifest.sort_values("image_id", ignore_index=True)


def statistics(manifest: pd.DataFrame, k: int) -> dict[str, int]:
    """Return a dataset's row of Table 1, original images and the `k` times as many generated ones, and some more.

    Subjects and clothes are those of the training images; queries and gallery count tracklets where there are any.
    """
    train = manifest[manifest["split"] == "train"]
    compared = manifest[(manifest["tracklet"] == "") | ~manifest["tracklet"].duplicated()]["split"]
    return {
        "original images": len(train),
        "generated images": k * len(train),
        "subjects": train["subject"].nunique(),
        "clothes": train["clothes"].nunique(),
        "queries": int((compared == "query").sum()),
        "gallery": int((compared == "gallery").sum()),
    }


def is_relative_path(path: str) -> bool:
    """Tell whether `path` is a posix path that stays below its root: no `..`, backslash, drive letter."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return False
    return "\\" not in path and ":" not in parts[0] and path.isprintable()


def _rules(manifest: pd.DataFrame) -> list[tuple[str, pd.Series, str]]:
    """Return (column, which rows are good, what is expected) for everything that a single row can break."""
    pixels = manifest["width"].astype(np.int64) * manifest["height"]
    return [
        (
            "image_id",
            manifest["image_id"].map(is_relative_path),
            "a relative posix path that stays in the dataset",
        ),
        ("image_id", ~manifest["image_id"].duplicated(), "every image_id once"),
        ("split", manifest["split"].isin(SPLITS), f"one of {', '.join(SPLITS)}"),
        ("subject", manifest["subject"] != "", "a subject"),
        (
            "clothes",
            (manifest["clothes"] != "") | (manifest["split"] != "train"),
            "clothes for every training image",
        ),
        ("frame", manifest["frame"] >= 0, "0 or more"),
        ("width", manifest["width"] > 0, "1 or more"),
        ("height", manifest["height"] > 0, "1 or more"),
        ("width", pixels <= MAX_PIXELS, f"width x height of at most {MAX_PIXELS} pixels"),
    ]


def _require(manifest: pd.DataFrame, column: str, good: pd.Series, expected: str, source: str | Path) -> None:
    if not good.all():
        row = int((~good.astype(bool)).idxmax())
        image_id, value = manifest["image_id"][row], manifest[column][row]
        value = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"{source}: row {row} (image_id {image_id!r}): {column} is {value!r}, expected {expected}")


def _require_own_clothes(manifest: pd.DataFrame, source: str | Path) -> None:
    """Raise ValueError when two subjects share a clothes ID: CAL relies on outfits of one subject each."""
    pairs = manifest.loc[manifest["clothes"] != "", ["clothes", "subject"]].drop_duplicates()
    shared = pairs[pairs["clothes"].duplicated(keep=False)].sort_values(["clothes", "subject"])
    if len(shared):
        clothes = shared["clothes"].iloc[0]
        subjects = shared.loc[shared["clothes"] == clothes, "subject"].tolist()
        raise ValueError(
            f"{source}: clothes {clothes!r} belong to subjects {subjects[0]!r} and {subjects[1]!r}, "
            f"expected clothes of one subject each, like {subjects[0]}-{clothes}"
        )


def _require_whole_tracklets(manifest: pd.DataFrame, source: str | Path) -> None:
    """Raise ValueError when the frames of a tracklet differ in what a tracklet has only one of."""
    frames = manifest[manifest["tracklet"] != ""]
    for column in ("subject", "clothes", "camera", "split"):
        values = frames[["tracklet", column]].drop_duplicates().sort_values(["tracklet", column])
        mixed = values[values["tracklet"].duplicated(keep=False)]
        if len(mixed):
            found = ", ".join(map(repr, mixed[column][mixed["tracklet"] == mixed["tracklet"].iloc[0]]))
            raise ValueError(
                f"{source}: tracklet {mixed['tracklet'].iloc[0]!r}: {column} is {found}, expected only one"
            )


def _is_int32(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and -(2**31) <= value < 2**31
