"""Tables of texts between stages: descriptions/<dataset>.parquet and outfits/<set>.parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dlcr.runtime.files import atomic_path


def write_texts(table: pd.DataFrame, path: Path, fingerprint: dict) -> None:
    """Writes text columns as Parquet, atomically; `fingerprint` says what made them (metadata key `dlcr`)."""
    columns = {column: table[column].tolist() for column in table}
    schema = pa.schema(
        [(column, pa.string()) for column in columns],
        {b"dlcr": json.dumps(fingerprint, sort_keys=True).encode()},
    )
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns, schema=schema), part, compression="zstd", version="2.6")


def read_descriptions(name: str) -> dict[str, list[str]]:
    """Responses by clothes ID, in the order of the images, of descriptions/<name>.parquet.

    Errors as of `read_descriptions_by_image`.
    """
    return {clothes: list(responses.values()) for clothes, responses in read_descriptions_by_image(name).items()}


def read_descriptions_by_image(name: str) -> dict[str, dict[str, str]]:
    """Responses by clothes ID and image ID, both sorted, of descriptions/<name>.parquet.

    Raises FileNotFoundError if the stage describe hasn't run.
    """
    path = Path("descriptions", f"{name}.parquet")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run `python -m stages.describe {name}` first")
    table = pd.read_parquet(path).sort_values("image_id")
    return {
        str(clothes): dict(zip(rows["image_id"].astype(str), rows["response"], strict=True))
        for clothes, rows in table.groupby("clothes", sort=True)
    }
