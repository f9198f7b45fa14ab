"""Stage inpaint: K variants of every training image, or l of every query, in other clothes IDs' outfits (Sec. 3.1).

    python -m stages.inpaint NAME      # a key of params.generated -> generated/NAME

Kinds: `inpainting` fills the clothes mask; `standard` repaints the whole image; `colour` recolours the mask; `oracle`
renders the true outfit, which only MiniCC knows.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import typer

import dlcr.minicc
from dlcr.data import Images, Masks, load_manifest, open_images, open_masks
from dlcr.data.generated import ALIGNMENT
from dlcr.data.shards import checksum
from dlcr.inpainting import (
    Painter,
    align_set,
    alignment_judge,
    colour_painter,
    diffusion_painter,
    generate_set,
    oracle_painter,
    plan_set,
)
from dlcr.params import GeneratedSet, Params, load_params, lookup
from dlcr.runtime import determinism, timing
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Make the generated set NAME."""
    params = load_params()
    entry = lookup(params.generated, "generated", name)
    determinism.set_up()
    folder, k = Path("generated", name), entry.k or params.k
    start = time.monotonic()
    rows = load_manifest(Path("data", entry.dataset))
    rows = rows[rows["split"] == entry.split]
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
        find_skipped(rows["image_id"], masks) if entry.kind in ("inpainting", "colour") else {},
    )
    build, identity = choose_painter(params, entry)
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


def choose_painter(params: Params, entry: GeneratedSet) -> tuple[Callable[[], Painter], dict]:
    """What makes the set's painter, and plain data that says what paints (the same for every k)."""
    identity = {"kind": entry.kind, "dataset": entry.dataset, "outfits": entry.outfits, "seed": params.seed}
    if entry.kind == "oracle":
        if params.datasets[entry.dataset].reader != "minicc":
            raise ValueError(
                f"kind oracle needs a dataset that knows the truth (reader minicc), {entry.dataset} does not"
            )
        build = partial(scene_painter, entry.dataset, params.minicc.model_dump())
        return build, identity
    if entry.kind == "colour":
        return colour_painter, identity
    settings = params.inpaint.model_dump(exclude={"block"})
    settings |= {key: value for key, value in (("steps", entry.steps), ("size", entry.size)) if value}
    if entry.kind == "standard":
        settings |= {"strength": entry.strength}
    identity |= {"model": model_fingerprint(params.models.inpainter)} | settings | {"size": list(settings["size"])}
    if entry.discriminator != "none":
        guide = {"weight": entry.weight, "times": entry.times}
        discriminator = str(Path("discriminators", entry.discriminator))
        identity |= guide | {"times": list(entry.times), "discriminator": model_fingerprint(discriminator)}
        settings |= guide | {"discriminator": discriminator}
    return partial(diffusion_painter, params.models.inpainter, settings, entry.kind == "inpainting"), identity


def scene_painter(dataset: str, sizes: dict) -> Painter:
    """The oracle of a domain of MiniCC: an image's scene, rendered in the outfit of a clothes ID."""
    scenes = dlcr.minicc.benchmark_scenes(dataset, **sizes)
    by_image = {scene.image_id: scene for scene in scenes}
    outfits = {scene.clothes: scene.outfit for scene in scenes}

    def draw(image_id: str, clothes: str) -> np.ndarray:
        if clothes not in outfits:
            raise ValueError(f"{dataset}: no outfit of clothes ID {clothes!r}; an oracle set needs the dataset's own")
        return dlcr.minicc.render(by_image[image_id], outfits[clothes]).image

    return oracle_painter(draw)


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
