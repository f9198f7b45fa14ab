"""A generated set as a dataset that `datasets.load_dataset` of Hugging Face reads, with Croissant metadata.

data/train-00000-of-00002.parquet and so on: a row a variant, its picture as struct<bytes, path>; README.md: the card
with its YAML; croissant.json: MLCommons Croissant 1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from dlcr.data.shards import MEASURES
from dlcr.exchange.cards import card, is_own
from dlcr.exchange.croissant import croissant
from dlcr.exchange.sources import Source
from dlcr.runtime.files import write_json, write_text
from dlcr.runtime.progress import progress

FILE_BYTES = 256 * 2**20
ROWS = 100
"""Rows in a row group, as many as are in memory at a time."""
_TEXT = ("image_id", "subject", "source_clothes", "target_clothes", "camera", "tracklet", "prompt", "checksum")
TYPES = {
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    **dict.fromkeys(_TEXT, pa.string()),
    "variant": pa.int16(),
    "frame": pa.int32(),
    "seed": pa.int64(),
    **dict.fromkeys((*MEASURES, "alignment"), pa.float32()),
}
NAMES = {pa.string(): "string", pa.int16(): "int16", pa.int32(): "int32", pa.int64(): "int64", pa.float32(): "float32"}
"""Types as the library `datasets` names them."""


def schema() -> pa.Schema:
    """The columns, with the features of the library `datasets` as metadata."""
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": NAMES[kind], "_type": "Value"}
        for name, kind in TYPES.items()
    }
    return pa.schema(list(TYPES.items()), {"huggingface": json.dumps({"info": {"features": features}})})


def write_parquet(source: Source, folder: Path) -> str:
    """Write a set as a Hugging Face dataset into `folder`. Returns what was written.

    Its split is that of the images, train or query. The originals are not in it: `image_id` names them.
    """
    (folder / "data").mkdir()
    splits, files = [], []
    with progress(len(source.made), f"export {source.name}", "variant") as bar:
        for split, rows in source.made.groupby("split", sort=True):
            paths, size = _write_files(_tables(source, rows), folder / "data", split, bar.update)
            splits.append({"name": split, "num_bytes": size, "num_examples": len(rows)})
            files += paths
    says = f"{len(files)} Parquet file{'s' if len(files) > 1 else ''} in data/, read by `datasets.load_dataset`"
    head = yaml.safe_dump(_header(source, splits, files), sort_keys=False, allow_unicode=True)
    write_text(folder / "README.md", f"---\n{head}---\n\n{card(source, says)}")
    write_json(folder / "croissant.json", croissant(source, files))
    return says


def _tables(source: Source, rows: pd.DataFrame) -> Iterator[pa.Table]:
    for start in range(0, len(rows), ROWS):
        part = rows.iloc[start : start + ROWS]
        pictures = [
            {"bytes": source.generated.encoded(image_id, variant), "path": _file_name(image_id, variant)}
            for image_id, variant in zip(part["image_id"], part["variant"], strict=True)
        ]
        columns = {name: part[name] for name in TYPES if name != "image"}
        arrays = [pa.array(pictures, TYPES["image"])]
        arrays += [pa.array(values, TYPES[name], from_pandas=True) for name, values in columns.items()]
        yield pa.Table.from_arrays(arrays, schema=schema())


def _file_name(image_id: str, variant: int) -> str:
    return f"{PurePosixPath(image_id).with_suffix('').as_posix().replace('/', '_')}-{variant:03d}.png"


def _write_files(tables: Iterator[pa.Table], folder: Path, split: str, count: object) -> tuple[list[Path], int]:
    """Write the tables into files of FILE_BYTES or little more; the files, and the bytes of the tables."""
    paths, total = [], 0
    table = next(tables)
    while table is not None:
        path, size = folder / f"{len(paths)}", 0
        with pq.ParquetWriter(path, schema(), compression="zstd") as writer:
            while table is not None and size < FILE_BYTES:
                writer.write_table(table)
                size += table.nbytes
                count(table.num_rows)
                table = next(tables, None)
        paths.append(path)
        total += size
    names = [f"{split}-{number:05d}-of-{len(paths):05d}.parquet" for number in range(len(paths))]
    return [path.rename(path.with_name(name)) for path, name in zip(paths, names, strict=True)], total


def _header(source: Source, splits: list[dict], files: list[Path]) -> dict:
    """The card's YAML, as the hub documents it."""
    features = [{"name": name, "dtype": "image" if name == "image" else NAMES[kind]} for name, kind in TYPES.items()]
    licence = {"license": "apache-2.0"} if is_own(source) else {"license": "other", "license_name": "of-the-original"}
    return {
        **licence,
        "pretty_name": f"{source.title} in other clothes ({source.name})",
        "task_categories": ["image-feature-extraction"],
        "tags": ["person-re-identification", "clothes-changing", "synthetic", *(["private"] if source.private else [])],
        "size_categories": [_size(len(source.made))],
        "dataset_info": {
            "features": features,
            "splits": splits,
            "download_size": sum(path.stat().st_size for path in files),
            "dataset_size": sum(split["num_bytes"] for split in splits),
        },
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split["name"], "path": f"data/{split['name']}-*"} for split in splits],
            }
        ],
    }


def _size(rows: int) -> str:
    """The hub's word for so many rows."""
    steps = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
    return next((word for limit, word in steps.items() if rows < limit), "10M<n<100M")
