"""Stage inpaint: K variants of every training image, or l of every query, in other clothes IDs' outfits (Sec. 3.1).

    python -m stages.inpaint NAME      # a key of params.generated -> generated/NAME

How the images are painted says the set's kind: a module of dlcr/inpainting/kinds.
"""

import shutil
import time
from functools import partial
from pathlib import Path

import pandas as pd
import typer

from dlcr.data import Images, Masks, load_manifest, open_images, open_masks
from dlcr.data.generated import ALIGNMENT
from dlcr.data.shards import checksum
from dlcr.inpainting import align_set, alignment_judge, generate_set, plan_set
from dlcr.inpainting.garments import choose_garments
from dlcr.inpainting.kinds import find_kind
from dlcr.params import Params, load_params, lookup
from dlcr.runtime import timing
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Make the generated set NAME."""
    params = load_params()
    entry = lookup(params.generated, "generated", name)
    kind = find_kind(entry.kind)
    folder, k = Path("generated", name), entry.k or params.k
    start = time.monotonic()
    manifest = load_manifest(Path("data", entry.dataset))
    rows = manifest[manifest["split"] == entry.split]
    images = open_images(Path("data", entry.dataset, "images"))
    masks = open_masks(Path("masks", entry.dataset))
    prompts = pd.read_parquet(Path("outfits", f"{entry.outfits}.parquet")).set_index("clothes")["prompt"].to_dict()
    plan = plan_set(
        rows,
        prompts,
        k,
        params.seed,
        entry.dataset,
        read_sources(rows["image_id"], images, masks),
        find_skipped(rows["image_id"], masks) if kind.within_masks else {},
    )
    if kind.shows:
        worn = manifest[manifest["split"] == "train"]
        ids = worn["image_id"]
        sources, unusable = read_sources(ids, images, masks), find_skipped(ids, masks)
        plan = choose_garments(plan, worn, sources, unusable, params.seed, entry.dataset)
    build, paints = kind.choose(params, entry)
    identity = {"kind": entry.kind, "dataset": entry.dataset, "outfits": entry.outfits, "seed": params.seed} | paints
    counts = generate_set(folder, plan, build, partial(read_pixels, images, masks), identity, params.inpaint.block)
    seconds = time.monotonic() - start
    if counts.taken == 0:  # a set that partly comes from the store says nothing about how long making it takes
        timing.record_images("inpaint", folder.name, seconds, counts.made)
    print(
        f"{folder.name}: {k} variants of {len(rows)} images; {counts.made} made, {counts.taken} taken from the store, "
        f"{counts.skipped} skipped ({counts.made / seconds:.1f} images/s)"
    )
    if params.quality.alignment:
        measure_alignment(params, folder)
    else:
        shutil.rmtree(folder / ALIGNMENT, ignore_errors=True)


def measure_alignment(params: Params, folder: Path) -> None:
    """Let the judge describe every variant of the set."""
    model = params.models.describers[params.models.judge]
    settings = params.describe.model_dump()
    identity = {"model": model_fingerprint(model), "describe": settings}
    described = align_set(folder, partial(alignment_judge, model, settings), identity)
    print(
        f"{folder.name}: {described} variants described by {params.models.judge} for their alignment with the prompts"
    )


def read_pixels(images: Images, masks: Masks, image_id: str) -> tuple[bytes, bytes]:
    """The encoded image and mask of an image."""
    return images.encoded(image_id), masks.encoded(image_id)


def read_sources(image_ids: pd.Series, images: Images, masks: Masks) -> dict[str, str]:
    """A checksum of what is read for each image: its own bytes and its mask's."""
    return {
        image_id: "".join(checksum(data) for data in read_pixels(images, masks, image_id)) for image_id in image_ids
    }


def find_skipped(image_ids: pd.Series, masks: Masks) -> dict[str, str]:
    """Images whose mask is not to be inpainted, with the reason: nothing found, too much, or an unreadable image."""
    reasons = {image_id: masks.status(image_id) for image_id in image_ids}
    return {image_id: f"{status} mask" for image_id, status in reasons.items() if status != "ok"}


if __name__ == "__main__":
    run_stage(app)
