"""Images and masks of a packed dataset by image_id, from memory-mapped shards.

The objects are cheap to send to worker processes: they carry the folder's name and open its shards again.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from dlcr.data.shards import decode_grey, decode_rgb, read_table, shard_paths


class Shards:
    """The rows of a folder's shards by image_id: what `Images` and `Masks` share."""

    column = "image"

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._open()

    def _open(self) -> None:
        paths = shard_paths(self.folder)
        if not paths:
            raise ValueError(f"{self.folder}: holds no *.arrow shards")
        tables = [read_table(path) for path in paths]
        for path, table in zip(paths, tables, strict=True):
            missing = {"image_id", self.column} - set(table.column_names)
            if missing:
                raise ValueError(f"{path}: lacks the column {sorted(missing)[0]!r}, it has {table.column_names}")
            if table.schema != tables[0].schema:
                raise ValueError(f"{path}: its columns differ from those of {paths[0].name}")
        self._table = pa.concat_tables([table.replace_schema_metadata() for table in tables])
        self._rows: dict[str, int] = {}
        for row, image_id in enumerate(self._table["image_id"].to_pylist()):
            if self._rows.setdefault(image_id, row) != row:
                raise ValueError(f"{self.folder}: image_id {image_id!r} occurs twice")

    def __getstate__(self) -> dict:
        return {"folder": self.folder}

    def __setstate__(self, state: dict) -> None:
        self.folder = state["folder"]

    def __getattr__(self, name: str) -> object:
        # reached only after unpickling, for what `_open` sets
        if name in ("_table", "_rows"):
            self._open()
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    @property
    def ids(self) -> list[str]:
        """All image_ids in stored order (sorted, for what this project writes)."""
        return list(self._rows)

    def encoded(self, image_id: str) -> bytes:
        """Return the encoded bytes as stored. Raises ValueError naming an unknown image_id."""
        return self._value(self.column, image_id)

    def _value(self, column: str, image_id: str) -> object:
        row = self._rows.get(image_id)
        if row is None:
            raise ValueError(f"{self.folder}: no image_id {image_id!r} among its {len(self)}")
        return self._table[column][row].as_py()


class Images(Shards):
    """Images by image_id: `images[image_id]` is a uint8 [H, W, 3] RGB array."""

    def __getitem__(self, image_id: str) -> np.ndarray:
        return decode_rgb(self.encoded(image_id), f"{self.folder}: {image_id}")


class Masks(Shards):
    """Clothes masks (m_i, Sec. 3.1) by image_id: `masks[image_id]` is bool [H, W], True = to be inpainted."""

    column = "mask"

    def __getitem__(self, image_id: str) -> np.ndarray:
        return decode_grey(self.encoded(image_id), f"{self.folder}: {image_id}") >= 128

    def status(self, image_id: str) -> str:
        """Return "ok", or "empty" where the parser found too little clothing to inpaint."""
        return self._value("status", image_id)

    def area(self, image_id: str) -> float:
        """Return the masked share of the image, 0 to 1."""
        return self._value("area", image_id)


def open_images(folder: str | Path) -> Images:
    """Open the image shards of `folder` (`data/<dataset>/images`, `data/minicc/truth` for label maps).

    Raises FileNotFoundError for a missing folder, ValueError naming a damaged shard or an image_id that
    occurs twice.
    """
    return Images(folder)


def open_masks(folder: str | Path) -> Masks:
    """Open the mask shards of `folder` (`masks/<dataset>`). Raises as `open_images`."""
    return Masks(folder)
