"""Stage faces: the best face of every query and gallery image, for GEFF (Table 3; bar371/GEFF).

    python -m stages.faces NAME        # a key of params.faces -> faces/NAME/faces.parquet

Of every image a detection score and an embedding of length 1, or 0 and zeros where no face was found or the image can't
be decoded. Results are kept chunk by chunk, so that a stopped stage goes on where it was.
"""

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import typer

from dlcr.data import folder_fingerprint, load_manifest, open_images
from dlcr.faces import face_maker, join_parts, query_and_gallery, source_fingerprint, write_faces, write_part
from dlcr.params import load_params, lookup
from dlcr.runtime import timing
from dlcr.runtime.resume import make_files, parts_folder, split_rows
from dlcr.runtime.stage import run_stage

CHUNK = 1024  # images; a stopped stage loses at most one chunk's work

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Find the faces NAME."""
    params = load_params()
    entry = lookup(params.faces, "faces", name)
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
    images, files = open_images(folder / "images"), split_rows(ids, CHUNK, "{:08d}.arrow")
    with parts_folder("faces", name) as parts:
        made = make_files(
            parts,
            files,
            build=partial(face_maker, params.models.faces, settings["batch"]),
            payload=lambda ids: [(image_id, images.encoded(image_id)) for image_id in ids],
            key=lambda ids: {"stage": "faces", "ids": ids, **fingerprint},
            write=write_part,
            desc="faces",
        )
        table, unreadable = join_parts([parts / file for file in files])
        write_faces(table, Path("faces", name, "faces.parquet"), fingerprint)
    if made == len(ids):  # faces from the store say nothing about how long finding them takes
        timing.record_images("faces", name, time.monotonic() - start, made)
    print(f"{name}: {np.count_nonzero(table['score'])} faces in {len(ids)} images")
    if unreadable:
        print(f"warning: {unreadable} images can't be decoded and have no face", file=sys.stderr)


if __name__ == "__main__":
    run_stage(app)
