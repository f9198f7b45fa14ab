"""Stage parse: a mask of the clothes for every training image and query (Sec. 3.1; PAPER: stage 1, step 1).

    python -m stages.parse NAME        # a key of params.datasets: data/NAME -> masks/NAME

A mask that covers less than `parse.min_area` of its image is kept, but marked "empty": there is nothing to
inpaint.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import typer

import dlcr.parsing
from dlcr.data import (
    MASK_SCHEMA,
    Images,
    encode_png,
    folder_fingerprint,
    load_manifest,
    open_images,
    read_table,
    write_shard,
)
from dlcr.params import Parse, load_params, lookup
from dlcr.parsing import Parser, load_parser, parse_clothes
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import code_hash, model_fingerprint
from dlcr.runtime.progress import progress
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import Store, key_of

SPLITS = ("train", "query", "query_sc")
SHARD = 1024  # masks in one file; a stopped stage loses at most one file's work

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Mask the clothes in the dataset NAME."""
    params = load_params()
    lookup(params.datasets, "datasets", name)
    determinism.set_up()
    start = time.monotonic()
    manifest = load_manifest(Path("data", name))
    images = open_images(Path("data", name, "images"))
    ids = manifest.loc[manifest["split"].isin(SPLITS), "image_id"].tolist()
    parser = load_parser(params.models.parser)
    fingerprint = {
        "code": code_hash(dlcr.parsing),
        "dataset": name,
        "images": folder_fingerprint(Path("data", name, "images")),
        "model": model_fingerprint(params.models.parser),
        "parse": params.parse.model_dump(),
    }
    empty, taken = write_masks(Path("masks", name), parser, images, ids, params.parse, fingerprint)
    if taken == 0:  # masks from the store say nothing about how long making them takes
        timing.record_images("parse", name, time.monotonic() - start, len(ids))
    print(f"{name}: {len(ids)} masks, {empty} of them empty")


def write_masks(
    folder: Path, parser: Parser, images: Images, ids: Sequence[str], settings: Parse, fingerprint: dict
) -> tuple[int, int]:
    """Write the mask shards of the images `ids` into `folder`.

    Returns how many masks are empty, and how many came from the store.
    """
    store, empty, taken = Store(), 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"masks-{number:05d}.arrow" for number in range(-(-len(ids) // SHARD))]
    for stale in set(folder.glob("masks-*.arrow")) - set(paths):
        stale.unlink()
    with progress(len(ids), "parse") as bar:
        for number, path in enumerate(paths):
            part = ids[number * SHARD : (number + 1) * SHARD]
            key = key_of({"stage": "parse", "ids": list(part), **fingerprint})
            if store.take(key, path):
                taken += len(part)
            else:
                masks = parse_clothes(parser, [images[i] for i in part], settings.batch, settings.dilation)
                write_shard(path, mask_rows(part, masks, settings.min_area), MASK_SCHEMA, fingerprint)
                store.put(key, path)
            empty += read_table(path)["status"].to_pylist().count("empty")
            bar.update(len(part))
    return empty, taken


def mask_rows(ids: Sequence[str], masks: Sequence[np.ndarray], min_area: float) -> dict[str, list]:
    """Columns of MASK_SCHEMA for bool masks [H, W]."""
    areas = [float(mask.mean()) for mask in masks]
    return {
        "image_id": list(ids),
        "mask": [encode_png(mask) for mask in masks],
        "area": areas,
        "status": ["empty" if area < min_area else "ok" for area in areas],
    }


if __name__ == "__main__":
    run_stage(app)
