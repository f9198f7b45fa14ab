"""A generated set (G in Sec. 3.1): K re-clothed variants of every image, by (image_id, variant).

Files are variant-major (variant-000-block-0000.arrow, ...): growing K adds files and changes none. The quality gate is
applied when a set is opened: a variant that falls short of `minimum` counts as skipped, and nothing is made again when
the thresholds change.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from dlcr.data.shards import (
    ALIGNMENT_SCHEMA,
    GENERATED_SCHEMA,
    MEASURES,
    decode_rgb,
    fingerprint,
    read_table,
    shard_paths,
)

ALIGNMENT = "alignment"
"""Folder beside the shards, where asked: in shards of the same names, what a describer reads back of each prompt."""
COLUMNS = (*(name for name in GENERATED_SCHEMA.names if name != "image"), "alignment")


class Generated:
    """Variants: `generated[image_id, 0]` is a uint8 [H, W, 3] RGB array, or None if skipped.

    `variants` is K (0 for the empty set), `image_ids` the sorted images, which all have the variants 0 to
    K - 1, `fingerprint` what made the set. Cheap to send to worker processes, which open the shards again.
    """

    def __init__(self, folder: str | Path, minimum: Mapping[str, float]) -> None:
        self.folder = Path(folder)
        self.minimum = dict(minimum)
        self._open()

    def _open(self) -> None:
        paths = shard_paths(self.folder)
        self.fingerprint = _common_fingerprint(paths)
        tables = [_checked(path) for path in paths]
        table = pa.concat_tables(tables) if tables else GENERATED_SCHEMA.empty_table()
        self._table = _gate(_with_alignment(table, self.folder), self.minimum, self.folder)
        index = pd.DataFrame({name: self._table[name].to_pandas() for name in ("image_id", "variant")})
        self.variants = int(index["variant"].max()) + 1 if len(index) else 0
        self._rows, self.image_ids = _index(index, self.variants, self.folder)

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "minimum": self.minimum}

    def __setstate__(self, state: dict) -> None:
        self.folder, self.minimum = state["folder"], state["minimum"]

    def __getattr__(self, name: str) -> object:
        # reached only after unpickling, for what `_open` sets
        if name in ("_table", "_rows", "variants", "image_ids", "fingerprint"):
            self._open()
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        """Return the number of variants of all images together, skipped ones included."""
        return self._table.num_rows

    def __contains__(self, key: tuple[str, int]) -> bool:
        image_id, variant = key
        return image_id in self._rows and 0 <= variant < self.variants

    def __getitem__(self, key: tuple[str, int]) -> np.ndarray | None:
        data = self.encoded(*key)
        return None if data is None else decode_rgb(data, f"{self.folder}: {key[0]} variant {key[1]}")

    def encoded(self, image_id: str, variant: int) -> bytes | None:
        """Return the encoded bytes as stored, None if skipped."""
        return None if self.skipped(image_id, variant) else self._value("image", image_id, variant)

    def prompt(self, image_id: str, variant: int) -> str:
        """Return the outfit text that the variant was inpainted with."""
        return self._value("prompt", image_id, variant)

    def skipped(self, image_id: str, variant: int) -> str:
        """Return why the variant was not made, or was dropped ("quality: ..."); "" if it is there."""
        return self._value("skipped", image_id, variant)

    def table(self, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
        """Return the given columns (any but `image`) of all variants, in stored order (variant-major)."""
        unknown = [name for name in columns if name not in COLUMNS]
        if unknown:
            raise ValueError(f"{self.folder}: no column {unknown[0]!r}, expected some of {list(COLUMNS)}")
        return self._table.select(list(columns)).to_pandas()

    def _value(self, column: str, image_id: str, variant: int) -> object:
        if (image_id, variant) not in self:
            raise ValueError(
                f"{self.folder}: no variant {variant} of image_id {image_id!r}; "
                f"it holds {self.variants} variants of {len(self.image_ids)} images"
            )
        return self._table[column][int(self._rows[image_id][variant])].as_py()


def open_generated(folder: str | Path, minimum: Mapping[str, float] | None = None) -> Generated:
    """Open the generated set in `folder`; without *.arrow files it is the empty set.

    minimum: by measure (change, seam, spread, smoothness, alignment) what a variant must reach; others are dropped. A
    measure that a set does not have (imported ones) drops nothing.

    Raises FileNotFoundError for a missing folder, ValueError for a damaged shard, files of different sets
    together, images that lack a variant or have one twice, and a minimum of alignment where it was not measured.
    """
    return Generated(folder, minimum or {})


def _with_alignment(table: pa.Table, folder: Path) -> pa.Table:
    """The rows with a column `alignment`, null where it was not measured."""
    if not (folder / ALIGNMENT).is_dir():
        return table.append_column("alignment", pa.nulls(table.num_rows, pa.float32()))
    keys = ["image_id", "variant"]
    parts = [read_table(path).replace_schema_metadata() for path in shard_paths(folder / ALIGNMENT)]
    measured = pa.concat_tables(parts or [ALIGNMENT_SCHEMA.empty_table()]).to_pandas().set_index(keys)["alignment"]
    rows = pd.MultiIndex.from_frame(table.select(keys).to_pandas())
    return table.append_column("alignment", pa.array(measured.reindex(rows), pa.float32(), from_pandas=True))


def _gate(table: pa.Table, minimum: Mapping[str, float], folder: Path) -> pa.Table:
    """The rows, those that fall short of a minimum marked as skipped by the first measure they fail."""
    unknown = sorted(set(minimum) - {*MEASURES, "alignment"})
    if unknown:
        raise ValueError(f"no measure {unknown[0]!r} to have a minimum; there are {', '.join(MEASURES)}, alignment")
    wanted = {name: value for name, value in minimum.items() if value > 0}
    if "alignment" in wanted and table.num_rows and not (folder / ALIGNMENT).is_dir():
        raise ValueError(
            f"{folder}: quality.min_alignment needs the folder {ALIGNMENT}/; run the set's stage inpaint again"
        )
    frame = table.select(["skipped", *MEASURES, "alignment"]).to_pandas()
    skipped = frame["skipped"].to_numpy(dtype=object)
    for name, least in wanted.items():
        short = (frame[name] < least).to_numpy() & (skipped == "")
        # rounded down, so that no value reads as if it reached the least one
        values = np.floor(frame.loc[short, name].to_numpy(np.float64) * 1e4) / 1e4
        skipped[short] = [f"quality: {name} {value:g} < {least:g}" for value in values]
    place = table.column_names.index("skipped")
    return table.set_column(place, "skipped", pa.array(skipped, pa.string()))


def _checked(path: Path) -> pa.Table:
    table = read_table(path).replace_schema_metadata()
    if table.schema != GENERATED_SCHEMA:
        raise ValueError(f"{path}: not a shard of a generated set, its columns are {table.column_names}")
    return table


def _common_fingerprint(paths: list[Path]) -> dict:
    """Return the first file's fingerprint; raise ValueError unless all files name the same "set"."""
    found = [fingerprint(path) for path in paths]
    for path, other in zip(paths, found, strict=True):
        if "set" not in other:
            raise ValueError(f"{path}: its fingerprint lacks the key 'set'")
        if other["set"] != found[0]["set"]:
            raise ValueError(
                f"{path}: made by another set ({other['set']!r}) than {paths[0].name} ({found[0]['set']!r})"
            )
    return found[0] if found else {}


def _index(index: pd.DataFrame, variants: int, folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return image_id -> int64 [K] rows, and the sorted image_ids; ValueError unless each has K variants."""
    index = index.assign(row=np.arange(len(index)))
    twice = index.duplicated(["image_id", "variant"])
    if twice.any():
        image_id, variant = index.loc[twice.idxmax(), ["image_id", "variant"]]
        raise ValueError(f"{folder}: variant {variant} of image_id {image_id!r} occurs twice")
    counts = index["image_id"].value_counts()
    if len(index) and (index["variant"].min() < 0 or counts.min() != variants):
        image_id = counts.idxmin()
        has = sorted(index.loc[index["image_id"] == image_id, "variant"])
        raise ValueError(f"{folder}: image_id {image_id!r} has the variants {has}, expected 0 to {variants - 1}")
    index = index.sort_values(["image_id", "variant"], ignore_index=True)
    rows = index["row"].to_numpy().reshape(-1, max(variants, 1))
    image_ids = index["image_id"].iloc[:: max(variants, 1)].tolist()
    return dict(zip(image_ids, rows, strict=True)), image_ids
