"""Stage faces: the best face of every query and gallery image, for GEFF (PEERS: GEFF).

    python -m stages.faces NAME        # a key of params.faces -> faces/NAME/faces.parquet

Of every image a detection score and an embedding of length 1, or 0 and zeros where no face was found or the image can't
be decoded. Results are kept chunk by chunk, so that a stopped stage goes on where it was.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import typer

import dlcr.faces
from dlcr.data import Images, decode_rgb, folder_fingerprint, load_manifest, open_images, read_table, write_shard
from dlcr.faces import face_schema, find_faces, load_faces, query_and_gallery, source_fingerprint, write_faces
from dlcr.params import load_params, lookup
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import code_hash
from dlcr.runtime.executor import run_chunks
from dlcr.runtime.progress import progress
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import checkpoint_dir, key_of

CHUNK = 1024  # images; a stopped stage loses at most one chunk's work

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Chunk:
    """Images, encoded."""

    image_ids: list[str]
    images: list[bytes]


@dataclass(frozen=True)
class Found:
    """Scores float32 [N] and embeddings float32 [N, E] of a chunk, and how many of its images can't be decoded."""

    scores: np.ndarray
    embeddings: np.ndarray
    unreadable: int


@app.command()
def main(name: str) -> None:
    """Find the faces NAME."""
    params = load_params()
    entry = lookup(params.faces, "faces", name)
    determinism.set_up()
    start = time.monotonic()
    folder, settings = Path("data", entry.dataset), params.find_faces.model_dump()
    ids = query_and_gallery(load_manifest(folder))["image_id"].tolist()
    if not ids:
        raise ValueError(f"{folder}: no query or gallery images to find faces in")
    fingerprint = {
        "dataset": entry.dataset,
        "find_faces": settings,
        "images": folder_fingerprint(folder / "images"),
        "model": source_fingerprint(params.models.faces),
    }
    kept = checkpoint_dir(key_of({"stage": "faces", "code": code_hash(dlcr.faces), "ids": ids, **fingerprint}))
    resumed = kept.is_dir()
    build = partial(face_maker, params.models.faces, settings["batch"])
    table = find_all(build, open_images(folder / "images"), ids, kept)
    write_faces(table, Path("faces", name, "faces.parquet"), fingerprint)
    shutil.rmtree(kept, ignore_errors=True)
    if not resumed:  # the rest of a stopped run says nothing about how long all of it takes
        timing.record_images("faces", name, time.monotonic() - start, len(ids))
    print(f"{name}: {np.count_nonzero(table['score'])} faces in {len(ids)} images")


def find_all(build: Callable[[], Callable[[Chunk], Found]], images: Images, ids: list[str], kept: Path) -> pa.Table:
    """The faces of the images `ids`, as a table of `face_schema`; finished chunks are taken from the folder `kept`."""
    files = {f"{first:08d}.arrow": ids[first : first + CHUNK] for first in range(0, len(ids), CHUNK)}
    missing = {name: part for name, part in files.items() if not (kept / name).is_file()}
    unreadable = 0
    with progress(len(ids), "faces") as bar:
        bar.update(len(ids) - sum(len(part) for part in missing.values()))
        with closing(run_chunks(build, _chunks(missing, images), "faces")) as results:
            for name, found in results:
                columns = {"image_id": files[name], "score": found.scores, "embedding": list(found.embeddings)}
                write_shard(kept / name, columns, face_schema(found.embeddings.shape[1]), {"stage": "faces"})
                unreadable += found.unreadable
                bar.update(len(files[name]))
    if unreadable:
        print(f"warning: {unreadable} images can't be decoded and have no face", file=sys.stderr)
    return pa.concat_tables([read_table(kept / name).replace_schema_metadata() for name in files])


def face_maker(source: str, batch: int) -> Callable[[Chunk], Found]:
    """What finds the faces of a chunk."""
    finder = load_faces(source)

    def make(chunk: Chunk) -> Found:
        images = {}
        for place, (image_id, data) in enumerate(zip(chunk.image_ids, chunk.images, strict=True)):
            try:
                images[place] = decode_rgb(data, image_id)
            except ValueError:
                continue  # has no face
        scores = np.zeros(len(chunk.images), np.float32)
        embeddings = np.zeros((len(chunk.images), finder.width), np.float32)
        rows = np.array(list(images), np.intp)
        scores[rows], embeddings[rows] = find_faces(finder, list(images.values()), batch)
        return Found(scores, embeddings, len(chunk.images) - len(images))

    return make


def _chunks(files: dict[str, list[str]], images: Images) -> Iterator[tuple[str, Callable[[], Chunk]]]:
    for name, part in files.items():
        yield name, partial(_chunk, part, images)


def _chunk(image_ids: list[str], images: Images) -> Chunk:
    return Chunk(image_ids, [images.encoded(image_id) for image_id in image_ids])


if __name__ == "__main__":
    run_stage(app)
