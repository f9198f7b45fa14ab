"""What the page's two browsers show: retrievals query by query (`rankings`), and generated samples.

    browsers = gather(root, params, results)
    browsers = fit(browsers, room=8_000_000)      # as many of both as so many bytes hold

What is shown is drawn with a seed, of a dataset of any size; every picture is a small copy and is kept once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps

from dlcr.data import Generated, load_manifest, open_generated, open_images, open_masks
from dlcr.params import Params
from dlcr.reporting.album import Album
from dlcr.reporting.figures import overlay
from dlcr.reporting.rankings import gather_retrievals
from dlcr.reporting.results import Result
from dlcr.reporting.sheets import private_item
from dlcr.runtime.seeds import seed_of

SAMPLES = 60
"""The most training images that the browser holds."""
MEASURES = ("change", "seam", "spread", "smoothness", "alignment")


@dataclass(frozen=True)
class Browsers:
    """Plain data for JSON. What an item calls `picture`, and what its `hits` begin with, is a place in `pictures`; None
    is a gap.

    pictures: (name, data URI, person); all are "" where no item shows it. retrievals and samples: the most telling
    first, as `gather` drew them; `fit` keeps the first ones. rankings and pair: as from `gather_retrievals`.
    """

    pictures: list[tuple[str, str, str]] = field(default_factory=list)
    retrievals: list[dict] = field(default_factory=list)
    samples: list[dict] = field(default_factory=list)
    rankings: list[dict] = field(default_factory=list)
    pair: list[int] = field(default_factory=list)


def gather(root: Path, params: Params, results: Mapping[str, Result | None]) -> Browsers:
    """The browsers' data: how all evaluations of `report.dataset` ranked, and the set `report.samples`.

    Empty where nothing was run, and where pictures may not be passed on (`sheets.private_item`). Raises ValueError
    naming a file that is damaged or lacks a column.
    """
    dataset = params.report.dataset
    if private_item(params) or not (root / "data" / dataset).is_dir():
        return Browsers()
    album = Album()
    manifest = load_manifest(root / "data" / dataset)
    retrievals, rankings, pair = gather_retrievals(root, params, results, manifest, album)
    samples = _samples(root, params, manifest, album)
    return Browsers(album.pictures, retrievals, samples, rankings, pair)


def fit(browsers: Browsers, room: int) -> Browsers:
    """The first retrievals and samples, in turn, whose JSON with pictures fits into `room` bytes; each by image ID."""
    kept: dict[str, list[dict]] = {"retrievals": [], "samples": []}
    shown: set[int] = set()
    bare = replace(browsers, pictures=[("", "", "")] * len(browsers.pictures), retrievals=[], samples=[])
    left = room - _size(bare)
    for kind, item in _in_turn(browsers):
        new = set(_places(item)) - shown
        left -= _size(item) + sum(_size(browsers.pictures[place]) for place in new)
        if left < 0:
            break
        shown |= new
        kept[kind].append(item)
    pictures = [picture if place in shown else ("", "", "") for place, picture in enumerate(browsers.pictures)]
    ordered = {kind: sorted(items, key=lambda item: item["id"]) for kind, items in kept.items()}
    return replace(browsers, pictures=pictures, **ordered)


def script_data(browsers: Browsers) -> str:
    """The browsers as JSON that is safe within a script element."""
    return _dumped(asdict(browsers))


def _size(value: object) -> int:
    """Bytes of a part of the page's JSON, with what stands between it and the next."""
    return len(_dumped(asdict(value) if isinstance(value, Browsers) else value)) + 1


def _dumped(value: object) -> str:
    return htmlsafe_json_dumps(value, separators=(",", ":"))


def _in_turn(browsers: Browsers) -> Iterable[tuple[str, dict]]:
    pairs = zip_longest(browsers.retrievals, browsers.samples)
    both = chain.from_iterable((("retrievals", one), ("samples", other)) for one, other in pairs)
    return ((kind, item) for kind, item in both if item is not None)


def _places(value: object) -> Iterable[int]:
    """The pictures that an item shows."""
    if isinstance(value, dict):
        place = value.get("picture")
        yield from () if place is None else (place,)
        yield from (hit[0] for hit in value.get("hits", ()))
        value = list(value.values())
    if isinstance(value, list):
        yield from chain.from_iterable(_places(item) for item in value)


def choose_samples(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most `SAMPLES` rows of a manifest: a shuffled image of each subject in turn."""
    images = images.sort_values("image_id").sample(frac=1, random_state=np.random.default_rng(seed))
    turn = images.groupby("subject").cumcount()
    return images.assign(turn=turn).sort_values("turn", kind="stable").head(SAMPLES).drop(columns="turn")


def _samples(root: Path, params: Params, manifest: pd.DataFrame, album: Album) -> list[dict]:
    dataset = params.report.dataset
    folder = root / "generated" / params.report.samples
    if not folder.is_dir():
        return []
    variants = open_generated(folder, params.quality.minimum())
    images = open_images(root / "data" / dataset / "images")
    masks = open_masks(root / "masks" / dataset) if (root / "masks" / dataset).is_dir() else None
    train = manifest[(manifest["split"] == "train") & manifest["image_id"].isin(set(variants.image_ids))]
    chosen = choose_samples(train, seed_of("sample-browser", params.seed))
    table = variants.table(["image_id", "variant", "prompt", "target_clothes", "skipped", *MEASURES])
    made = dict(iter(table[table["image_id"].isin(set(chosen["image_id"]))].groupby("image_id")))

    items = []
    for row in chosen[["image_id", "subject", "clothes", "camera"]].to_dict("records"):
        image_id = row.pop("image_id")
        original = images[image_id]
        shown = [
            _made(image_id, values, variants, album)
            for values in made[image_id].sort_values("variant").to_dict("records")
        ]
        kind = "gaps" if any(variant["skipped"] for variant in shown) else "complete"
        place = album.add(("image", image_id), image_id, lambda original=original: original)
        item = {"id": image_id, "kind": kind, "picture": place, **row}
        items.append(item | {"mask": _mask(image_id, original, masks, album), "variants": shown})
    return items


def _made(image_id: str, values: dict, variants: Generated, album: Album) -> dict:
    """A variant of a training image with its prompt, its measures, or why it is not there."""
    return {
        "picture": album.add_variant(variants, image_id, int(values["variant"])),
        "prompt": values["prompt"],
        "clothes": values["target_clothes"],
        "skipped": values["skipped"],
        "measures": {name: _short(values[name]) for name in MEASURES if pd.notna(values[name])},
    }


def _mask(image_id: str, original: np.ndarray, masks, album: Album) -> dict:
    """The mask over its image, and the parser's word on it."""
    if masks is None or image_id not in masks:
        return {"picture": None, "status": "not run"}
    place = album.add(("mask", image_id), f"{image_id}, mask", lambda: overlay(original, masks[image_id]))
    return {"picture": place, "status": masks.status(image_id), "area": _short(masks.area(image_id))}


def _short(value: float) -> float:
    return round(float(value), 3)
