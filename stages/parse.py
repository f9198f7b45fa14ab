"""Stage parse: a mask of the clothes for every training image and query (Sec. 3.1; PAPER: stage 1, step 1).

    python -m stages.parse NAME        # a key of params.datasets: data/NAME -> masks/NAME

Every image gets a mask and a status: "ok"; "empty" or "implausible" where it covers less than `parse.min_area` or more
than `parse.max_area` of the image; "unreadable" where the image can't be decoded. Only "ok" ones are inpainted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import typer

import dlcr.parsing
from dlcr.data import (
    MASK_SCHEMA,
    Images,
    decode_rgb,
    encode_png,
    folder_fingerprint,
    load_manifest,
    open_images,
    read_table,
    write_shard,
)
from dlcr.params import load_params, lookup
from dlcr.parsing import load_parser, mask_status, parse_clothes
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import code_hash, model_fingerprint
from dlcr.runtime.executor import run_chunks
from dlcr.runtime.progress import progress
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import Store, key_of

SPLITS = ("train", "query", "query_sc")
SHARD = 1024  # masks in one file; a stopped stage loses at most one file's work

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Chunk:
    """The images of one file: encoded, with their sizes (height, width) by the manifest."""

    image_ids: list[str]
    images: list[bytes]
    sizes: list[tuple[int, int]]


Columns = dict[str, list]


@app.command()
def main(name: str) -> None:
    """Mask the clothes in the dataset NAME."""
    params = load_params()
    lookup(params.datasets, "datasets", name)
    determinism.set_up()
    start = time.monotonic()
    manifest = load_manifest(Path("data", name))
    wanted = manifest[manifest["split"].isin(SPLITS)]
    sizes = dict(zip(wanted["image_id"], zip(wanted["height"], wanted["width"], strict=True), strict=True))
    images = open_images(Path("data", name, "images"))
    settings = params.parse.model_dump()
    fingerprint = {
        "dataset": name,
        "images": folder_fingerprint(Path("data", name, "images")),
        "model": model_fingerprint(params.models.parser),
        "parse": settings,
    }
    build = partial(mask_maker, params.models.parser, settings)
    statuses, taken = write_masks(Path("masks", name), build, images, sizes, fingerprint)
    if taken == 0:  # masks from the store say nothing about how long making them takes
        timing.record_images("parse", name, time.monotonic() - start, len(sizes))
    odd = [f"{statuses.count(status)} of them {status}" for status in ("empty", "implausible", "unreadable")]
    print(f"{name}: {len(sizes)} masks, {', '.join(odd)}")


def write_masks(
    folder: Path,
    build: Callable[[], Callable[[Chunk], Columns]],
    images: Images,
    sizes: dict[str, tuple[int, int]],
    fingerprint: dict,
) -> tuple[list[str], int]:
    """Write the mask shards of the images of `sizes` (height, width by image_id) into `folder`.

    Returns the status of every mask, and how many came from the store.
    """
    store, ids = Store(), list(sizes)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"masks-{first // SHARD:05d}.arrow": ids[first : first + SHARD] for first in range(0, len(ids), SHARD)}
    for stale in folder.glob("masks-*.arrow"):
        if stale.name not in files:
            stale.unlink()
    made_by = {"stage": "parse", "code": code_hash(dlcr.parsing), **fingerprint}
    keys = {name: key_of({"ids": part, **made_by}) for name, part in files.items()}
    with progress(len(ids), "parse") as bar:
        missing = [name for name in files if not store.take(keys[name], folder / name)]
        bar.update(sum(len(part) for name, part in files.items() if name not in missing))
        chunks = _chunks({name: files[name] for name in missing}, images, sizes)
        with closing(run_chunks(build, chunks, "masks")) as results:
            for name, columns in results:
                write_shard(folder / name, columns, MASK_SCHEMA, fingerprint)
                store.put(keys[name], folder / name)
                bar.update(len(files[name]))
    statuses = [status for name in files for status in read_table(folder / name)["status"].to_pylist()]
    return statuses, len(ids) - sum(len(files[name]) for name in missing)


def mask_maker(model: str, settings: dict) -> Callable[[Chunk], Columns]:
    """What makes the rows of a file: columns of MASK_SCHEMA. settings: the section `parse` of params.yaml."""
    parser = load_parser(model, settings["labels"])

    def make(chunk: Chunk) -> Columns:
        images = {}
        for image_id, data in zip(chunk.image_ids, chunk.images, strict=True):
            try:
                images[image_id] = decode_rgb(data, image_id)
            except ValueError:
                continue  # has the status "unreadable"
        masks = parse_clothes(parser, list(images.values()), settings["batch"], settings["dilation"])
        found = dict(zip(images, masks, strict=True))
        return mask_rows(chunk.image_ids, found, chunk.sizes, settings["min_area"], settings["max_area"])

    return make


def mask_rows(
    image_ids: Sequence[str],
    masks: dict[str, np.ndarray],
    sizes: Sequence[tuple[int, int]],
    min_area: float,
    max_area: float,
) -> Columns:
    """Columns of MASK_SCHEMA for bool masks [H, W]; an image without one is unreadable."""
    all_masks = [masks.get(image_id, np.zeros(size, bool)) for image_id, size in zip(image_ids, sizes, strict=True)]
    areas = [float(mask.mean()) for mask in all_masks]
    return {
        "image_id": list(image_ids),
        "mask": [encode_png(mask) for mask in all_masks],
        "area": areas,
        "status": [
            mask_status(area, min_area, max_area) if image_id in masks else "unreadable"
            for image_id, area in zip(image_ids, areas, strict=True)
        ],
    }


def _chunks(
    files: dict[str, list[str]], images: Images, sizes: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, Callable[[], Chunk]]]:
    for name, part in files.items():
        yield name, partial(_chunk, part, images, sizes)


def _chunk(image_ids: list[str], images: Images, sizes: dict[str, tuple[int, int]]) -> Chunk:
    return Chunk(image_ids, [images.encoded(i) for i in image_ids], [sizes[i] for i in image_ids])


if __name__ == "__main__":
    run_stage(app)
