"""A generated set G = {(x̂_ij, s_i, c_ij)}: K re-clothed variants of every image, written file by file (Sec. 3.1).

A file holds one variant of one block of images and is taken from the store where everything that makes it is as before.
So a stopped run continues with the same bytes, and a larger K adds files and changes none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import pandas as pd
import torch

from dlcr.data import GENERATED_SCHEMA, Images, Masks, encode_png, write_shard
from dlcr.data.shards import checksum
from dlcr.inpainting import diffusion, expander
from dlcr.inpainting.assign import assign_outfits
from dlcr.inpainting.expander import Expander
from dlcr.runtime.files import remove_leftovers
from dlcr.runtime.progress import progress
from dlcr.runtime.store import Store, key_of

PLAN = ["image_id", "subject", "source_clothes", "target_clothes", "variant", "prompt", "seed", "skipped", "source"]

Paint = Callable[[pd.DataFrame], list[np.ndarray]]
"""Rows of the plan, of one variant, to their images uint8 [H, W, 3]."""
Painter = Callable[[list[str]], Paint]
"""Opens a block of images, by image_id, once for all its variants."""


@dataclass(frozen=True)
class Counts:
    """What a run did, in variants of images."""

    made: int
    taken: int
    skipped: int


def plan_set(
    images: pd.DataFrame,
    prompts: Mapping[str, str],
    k: int,
    seed: int,
    dataset: str,
    sources: Mapping[str, str],
    skipped: Mapping[str, str],
) -> pd.DataFrame:
    """What is to be made: one row a variant with the columns PLAN, variant-major and by image_id.

    images: columns image_id, subject, clothes. prompts: outfit text by clothes ID. sources: per image_id a checksum of
    all that is read for it (image, mask). skipped: reasons by image_id. Raises as `assign_outfits`.
    """
    clothes = images["clothes"].tolist()
    plan = assign_outfits(images["image_id"].tolist(), clothes, list(prompts), k, seed, dataset)
    worn = images.set_index("image_id")
    plan["subject"] = worn["subject"].loc[plan["image_id"]].to_numpy()
    plan["source_clothes"] = worn["clothes"].loc[plan["image_id"]].to_numpy()
    plan["prompt"] = [prompts[target] for target in plan["target_clothes"]]
    plan["skipped"] = [skipped.get(image_id, "") for image_id in plan["image_id"]]
    plan["source"] = [sources[image_id] for image_id in plan["image_id"]]
    return plan[PLAN]


def generate_set(
    folder: Path, plan: pd.DataFrame, painter: Painter, identity: dict, block: int, store: Store | None = None
) -> Counts:
    """Write the files of a plan into `folder`, and remove its other *.arrow files.

    identity: plain JSON data that says what paints (model weights, settings), the same for every K; kept in each file
    under "set". block: images in one file.
    """
    store = store or Store()
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    image_ids = plan["image_id"].drop_duplicates().tolist()
    blocks = [image_ids[start : start + block] for start in range(0, len(image_ids), block)]
    variants = dict(list(plan.groupby("variant", sort=True)))
    names = {file_name(variant, number) for variant in variants for number in range(len(blocks))}
    for stale in folder.glob("*.arrow"):
        if stale.name not in names:
            stale.unlink()
    made = taken = 0
    with progress(len(plan), f"inpainting {folder.name}") as bar:
        for number, ids in enumerate(blocks):
            open_block = _Lazy(painter)
            for variant, rows in variants.items():
                rows = rows.iloc[number * block : number * block + len(ids)]
                path = folder / file_name(variant, number)
                key = key_of([identity, versions(), rows.to_numpy().tolist()])
                if store.take(key, path):
                    taken += len(rows)
                else:
                    columns = _columns(rows, open_block)
                    write_shard(path, columns, GENERATED_SCHEMA, {"set": identity, "inputs": _inputs(rows)})
                    store.put(key, path)
                    made += len(rows)
                bar.update(len(rows))
    return Counts(made, taken, int((plan["skipped"] != "").sum()))


def file_name(variant: int, block: int) -> str:
    """Names that sort variant-major."""
    return f"variant-{variant:03d}-block-{block:04d}.arrow"


def versions() -> dict[str, str]:
    """The code and libraries that decide about pixels; part of the store's keys, not of the files."""
    code = hashlib.sha256()
    for module in (diffusion, expander):
        code.update(Path(module.__file__).read_bytes())
    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "code": code.hexdigest()}


class _Lazy:
    """Opens a block when the first of its files has to be made, and only once."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.paint: Paint | None = None

    def __call__(self, rows: pd.DataFrame) -> list[np.ndarray]:
        if self.paint is None:
            self.paint = self.painter(rows["image_id"].tolist())
        return self.paint(rows)


def _columns(rows: pd.DataFrame, paint: Paint) -> dict[str, list]:
    wanted = rows[rows["skipped"] == ""]
    painted = paint(wanted) if len(wanted) else []
    encoded = {image_id: encode_png(image) for image_id, image in zip(wanted["image_id"], painted, strict=True)}
    columns = {name: rows[name].tolist() for name in PLAN if name != "source"}
    columns["image"] = [encoded.get(image_id) for image_id in rows["image_id"]]
    columns["checksum"] = ["" if data is None else checksum(data) for data in columns["image"]]
    return columns


def _inputs(rows: pd.DataFrame) -> str:
    """One hash of all that a file is made from, beside the set's identity."""
    return key_of(rows.to_numpy().tolist())


def inpainting_painter(expander: Expander, images: Images, masks: Masks) -> Painter:
    """Inpaints the clothes (kind `inpainting`); raises ValueError for a mask of another size than its image."""

    def open_block(image_ids: list[str]) -> Paint:
        pictures = {image_id: images[image_id] for image_id in image_ids}
        holes = {image_id: masks[image_id] for image_id in image_ids}
        for image_id, hole in holes.items():
            if hole.shape != pictures[image_id].shape[:2]:
                raise ValueError(
                    f"{masks.folder}: the mask of {image_id!r} is {list(hole.shape)}, "
                    f"its image {list(pictures[image_id].shape[:2])}"
                )
        canvas = expander.prepare(list(pictures.values()), list(holes.values()))
        return _paint(expander, canvas, pictures, holes)

    return open_block


def standard_painter(expander: Expander, images: Images) -> Painter:
    """Image to image without a mask (kind `standard`)."""

    def open_block(image_ids: list[str]) -> Paint:
        pictures = {image_id: images[image_id] for image_id in image_ids}
        return _paint(expander, expander.prepare(list(pictures.values()), None), pictures, None)

    return open_block


def oracle_painter(draw: Callable[[str, str], np.ndarray]) -> Painter:
    """The truth (kind `oracle`): draw(image_id, target_clothes) is the image as it would look in that outfit."""

    def paint(rows: pd.DataFrame) -> list[np.ndarray]:
        return [draw(*pair) for pair in zip(rows["image_id"], rows["target_clothes"], strict=True)]

    return lambda image_ids: paint


def _paint(
    expander: Expander, canvas: diffusion.Canvas, pictures: dict[str, np.ndarray], holes: dict[str, np.ndarray] | None
) -> Paint:
    places = {image_id: place for place, image_id in enumerate(pictures)}

    def paint(rows: pd.DataFrame) -> list[np.ndarray]:
        ids: Sequence[str] = rows["image_id"].tolist()
        return expander.paint(
            canvas,
            [places[image_id] for image_id in ids],
            [pictures[image_id] for image_id in ids],
            None if holes is None else [holes[image_id] for image_id in ids],
            rows["prompt"].tolist(),
            rows["seed"].tolist(),
        )

    return paint
