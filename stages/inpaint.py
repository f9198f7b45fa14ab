"""Stage inpaint: K variants of every training image, or l of every query, in other clothes IDs' outfits (Sec. 3.1).

    python -m stages.inpaint NAME              # a key of params.generated -> generated/NAME
    python -m stages.inpaint NAME --queries    # a key of params.queries -> generated/queries-NAME

Kinds: `inpainting` fills the clothes mask; `standard` repaints the whole image; `oracle` renders the true outfit, which
only MiniCC knows.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

import dlcr.minicc
from dlcr.data import Images, Masks, load_manifest, open_images, open_masks
from dlcr.data.shards import checksum
from dlcr.inpainting import (
    Expander,
    generate_set,
    inpainting_painter,
    oracle_painter,
    plan_set,
    standard_painter,
)
from dlcr.params import GeneratedSet, Params, QuerySet, load_params, lookup
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import code_hash, model_fingerprint
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str, queries: Annotated[bool, typer.Option(help="NAME is a key of params.queries.")] = False) -> None:
    """Make the generated set NAME."""
    params = load_params()
    determinism.set_up()
    if queries:
        entry = lookup(params.queries, "queries", name)
        folder, split, k = f"queries-{name}", entry.split, entry.variants
    else:
        entry = lookup(params.generated, "generated", name)
        folder, split, k = name, "train", params.k
    start = time.monotonic()
    rows = load_manifest(Path("data", entry.dataset))
    rows = rows[rows["split"] == split]
    images = open_images(Path("data", entry.dataset, "images"))
    masks = open_masks(Path("masks", entry.dataset)) if entry.kind == "inpainting" else None
    prompts = pd.read_parquet(Path("outfits", f"{entry.outfits}.parquet")).set_index("clothes")["prompt"].to_dict()
    plan = plan_set(
        rows,
        prompts,
        k,
        params.seed,
        entry.dataset,
        read_sources(rows["image_id"], images, masks),
        find_skipped(rows["image_id"], masks),
    )
    painter, identity = make_painter(params, entry, images, masks)
    counts = generate_set(Path("generated", folder), plan, painter, identity, params.inpaint.block)
    seconds = time.monotonic() - start
    if counts.taken == 0:  # a set that partly comes from the store says nothing about how long making it takes
        timing.record_images("inpaint", folder, seconds, counts.made)
    print(
        f"{folder}: {k} variants of {len(rows)} images; {counts.made} made, {counts.taken} taken from the store, "
        f"{counts.skipped} skipped ({counts.made / seconds:.1f} images/s)"
    )


def make_painter(params: Params, entry: GeneratedSet | QuerySet, images: Images, masks: Masks | None) -> tuple:
    """What paints the set, and plain data that says so (the same for every k)."""
    identity = {"kind": entry.kind, "dataset": entry.dataset, "outfits": entry.outfits, "seed": params.seed}
    if entry.kind == "oracle":
        identity["code"] = code_hash(dlcr.minicc)
        return oracle_painter(make_renderer(params, entry.dataset)), identity
    settings = params.inpaint.model_dump(exclude={"block"})
    if isinstance(entry, QuerySet):
        settings |= {"steps": entry.steps, "size": entry.size}
    if entry.kind == "standard":
        settings |= {"strength": entry.strength}
    identity |= {"model": model_fingerprint(params.models.inpainter)} | settings
    identity["size"] = list(settings["size"])
    expander = Expander(params.models.inpainter, **settings)
    if masks is None:
        return standard_painter(expander, images), identity
    return inpainting_painter(expander, images, masks), identity


def make_renderer(params: Params, dataset: str) -> Callable[[str, str], np.ndarray]:
    """draw(image_id, clothes) for a domain of MiniCC: the image's scene, rendered in the outfit of a clothes ID."""
    if params.datasets[dataset].reader != "minicc":
        raise ValueError(f"kind oracle needs a dataset that knows the truth (reader minicc), {dataset} does not")
    scenes = dlcr.minicc.benchmark_scenes(dataset, **params.minicc.model_dump())
    by_image = {scene.image_id: scene for scene in scenes}
    outfits = {scene.clothes: scene.outfit for scene in scenes}

    def draw(image_id: str, clothes: str) -> np.ndarray:
        if clothes not in outfits:
            raise ValueError(f"{dataset}: no outfit of clothes ID {clothes!r}; an oracle set needs the dataset's own")
        return dlcr.minicc.render(by_image[image_id], outfits[clothes]).image

    return draw


def read_sources(image_ids: pd.Series, images: Images, masks: Masks | None) -> dict[str, str]:
    """A checksum of what is read for each image: its own bytes and its mask's."""
    return {
        image_id: checksum(images.encoded(image_id)) + ("" if masks is None else checksum(masks.encoded(image_id)))
        for image_id in image_ids
    }


def find_skipped(image_ids: pd.Series, masks: Masks | None) -> dict[str, str]:
    """Images without clothes to inpaint, with the reason."""
    if masks is None:
        return {}
    return {image_id: "empty mask" for image_id in image_ids if masks.status(image_id) == "empty"}


if __name__ == "__main__":
    run_stage(app)
