"""Faces of a dataset's test images between stages: faces/<name>/faces.parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dlcr.data import fingerprint, read_table, write_shard
from dlcr.faces.finder import check_faces
from dlcr.runtime.files import atomic_path

TEST_SPLITS = ("query", "query_sc", "gallery")


@dataclass(frozen=True)
class Faces:
    """Faces of images, in the order of the file: `scores` float32 [N] and `embeddings` float32 [N, E] as of
    `find_faces`. `path` is named in errors.
    """

    path: Path
    image_ids: list[str]
    scores: np.ndarray
    embeddings: np.ndarray

    def of(self, image_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Scores [n] and embeddings [n, E] of these images, in this order. Raises ValueError for an unknown one."""
        place = {image_id: row for row, image_id in enumerate(self.image_ids)}
        unknown = [image_id for image_id in image_ids if image_id not in place]
        if unknown:
            raise ValueError(f"{self.path}: no image_id {unknown[0]!r} among its {len(place)}")
        rows = np.array([place[image_id] for image_id in image_ids], np.intp)
        return self.scores[rows], self.embeddings[rows]


def query_and_gallery(manifest: pd.DataFrame) -> pd.DataFrame:
    """The images that faces are looked for in: queries and gallery."""
    return manifest[manifest["split"].isin(TEST_SPLITS)]


def face_schema(width: int) -> pa.Schema:
    """Columns of a table of faces with embeddings of length `width`."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("score", pa.float32(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


def write_part(path: Path, image_ids: Sequence[str], found: tuple[np.ndarray, np.ndarray, int]) -> None:
    """Write what `face_maker` found in some of the images, for `join_parts`."""
    scores, embeddings, unreadable = found
    columns = {"image_id": image_ids, "score": scores, "embedding": list(embeddings)}
    write_shard(path, columns, face_schema(embeddings.shape[1]), {"unreadable": unreadable})


def join_parts(paths: Sequence[Path]) -> tuple[pa.Table, int]:
    """All parts as one table of `face_schema`, and how many of the images can't be decoded."""
    table = pa.concat_tables([read_table(path).replace_schema_metadata() for path in paths])
    return table, sum(fingerprint(path)["unreadable"] for path in paths)


def write_faces(table: pa.Table, path: Path, made_by: dict) -> None:
    """Writes a table of `face_schema` as Parquet, atomically; `made_by` says what made it (metadata key `dlcr`)."""
    table = table.replace_schema_metadata({b"dlcr": json.dumps(made_by, sort_keys=True).encode()})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd", version="2.6")


def open_faces(path: str | Path, manifest: pd.DataFrame) -> Faces:
    """The faces of a dataset's queries and gallery, checked against its manifest.

    Raises FileNotFoundError if the stage faces hasn't run; ValueError, naming the file, if it is none of its files, its
    images are not the manifest's, each once, or a row is neither a face nor none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run `python -m stages.faces {path.parent.name}` first")
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file: {error}") from error
    width = getattr(table.schema.field("embedding").type, "list_size", 0) if "embedding" in table.column_names else 0
    if not table.schema.equals(face_schema(width)) or any(column.null_count for column in table.columns):
        raise ValueError(f"{path}: expected image_id, score and embedding (a list of fixed size), found {table.schema}")
    ids = table["image_id"].to_pylist()
    if wrong := sorted(set(ids) ^ set(query_and_gallery(manifest)["image_id"])):
        where = "the manifest" if wrong[0] in set(ids) else "it"
        raise ValueError(f"{path}: {where} lacks image_id {wrong[0]!r} ({len(wrong)} such): not faces of this dataset")
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path}: image_id {next(i for i in ids if ids.count(i) > 1)!r} occurs twice")
    embeddings = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(ids), width)
    scores = table["score"].to_numpy()
    check_faces(scores, embeddings, f"{path}: row")
    return Faces(path, ids, scores, embeddings)
