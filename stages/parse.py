"""Stage parse: a mask of the clothes for every training image and query (Sec. 3.1).

    python -m stages.parse NAME        # a key of params.datasets: data/NAME -> masks/NAME

Every image gets a mask and a status: "ok"; "empty" or "implausible" where it covers less than `parse.min_area` or more
than `parse.max_area` of the image; "unreadable" where the image can't be decoded. Only "ok" ones are inpainted.
"""

import time
from functools import partial
from pathlib import Path

import typer

from dlcr.data import folder_fingerprint, load_manifest, open_images, read_table
from dlcr.params import load_params, lookup
from dlcr.parsing import mask_maker, write_masks
from dlcr.runtime import timing
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.resume import make_files, split_rows
from dlcr.runtime.stage import run_stage

SPLITS = ("train", "query", "query_sc")
SHARD = 1024  # masks in one file; a stopped stage loses at most one file's work

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Mask the clothes in the dataset NAME."""
    params = load_params()
    lookup(params.datasets, "datasets", name)
    start = time.monotonic()
    manifest = load_manifest(Path("data", name))
    wanted = manifest[manifest["split"].isin(SPLITS)]
    sizes = dict(zip(wanted["image_id"], zip(wanted["height"], wanted["width"], strict=True), strict=True))
    images = open_images(Path("data", name, "images"))
    settings, folder = params.parse.model_dump(), Path("masks", name)
    fingerprint = {
        "dataset": name,
        "images": folder_fingerprint(Path("data", name, "images")),
        "model": model_fingerprint(params.models.parser),
        "parse": settings,
    }
    files = split_rows(list(sizes), SHARD, "masks-{:05d}.arrow")
    made = make_files(
        folder,
        files,
        build=partial(mask_maker, params.models.parser, settings),
        payload=lambda ids: [(image_id, images.encoded(image_id), sizes[image_id]) for image_id in ids],
        key=lambda ids: {"stage": "parse", "ids": ids, **fingerprint},
        write=partial(write_masks, fingerprint),
        desc="parse",
    )
    if made == len(sizes):  # masks from the store say nothing about how long making them takes
        timing.record_images("parse", name, time.monotonic() - start, made)
    statuses = [status for file in files for status in read_table(folder / file)["status"].to_pylist()]
    odd = [f"{statuses.count(status)} of them {status}" for status in ("empty", "implausible", "unreadable")]
    print(f"{name}: {len(sizes)} masks, {', '.join(odd)}")


if __name__ == "__main__":
    run_stage(app)
