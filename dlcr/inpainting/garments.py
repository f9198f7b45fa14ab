"""Clothes as a picture: what a model that is shown an outfit, and not only told of it, sees, and whose picture that is.

plan = choose_garments(plan_set(...), images, sources, unusable, seed, "prcc")     # a column garment: an image_id
shown_garments(Path("generated/garment"))                      # of each variant of a set the image that was shown
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import decode_rgb, fingerprint, read_table
from dlcr.data.shards import shard_paths
from dlcr.inpainting.painters import decode_mask
from dlcr.runtime.seeds import seed_of

GARMENT, GARMENTS = "garment", "garments"
"""The column of a plan, and the key in a file's fingerprint: image_ids by row, "" where nothing is shown."""


def choose_garments(
    plan: pd.DataFrame,
    images: pd.DataFrame,
    sources: Mapping[str, str],
    unusable: Mapping[str, str],
    seed: int,
    dataset: str,
) -> pd.DataFrame:
    """The plan of a set (`generate.plan_set`) with the image in which each row's outfit is shown.

    images: the dataset's training images, columns image_id and clothes. sources: as for `plan_set`, of these. unusable:
    reasons by image_id, of those without a usable mask. Adds the columns garment, an image of the target clothes drawn
    by the row's own image_id and variant alone, and garment_source, its checksum. Rows whose clothes have no usable
    image are skipped. Raises ValueError for clothes that are not the dataset's.
    """
    there = images.sort_values("image_id")
    usable = there[~there["image_id"].isin(list(unusable))].groupby("clothes")["image_id"].agg(list).to_dict()
    strange = sorted(set(plan["target_clothes"]) - set(there["clothes"]))
    if strange:
        raise ValueError(f"{dataset}: no training image of clothes {strange[0]!r}, whose picture is to be shown")
    shown = [
        _draw(usable.get(target, []), seed_of(seed, dataset, image_id, int(variant), GARMENT))
        for target, image_id, variant in zip(plan["target_clothes"], plan["image_id"], plan["variant"], strict=True)
    ]
    lacking = [
        skipped or ("" if picture else f"no garment: no usable mask of clothes {target}")
        for skipped, picture, target in zip(plan["skipped"], shown, plan["target_clothes"], strict=True)
    ]
    return plan.assign(skipped=lacking, garment=shown, garment_source=[sources.get(picture, "") for picture in shown])


def _draw(images: list[str], seed: int) -> str:
    return images[np.random.default_rng(seed).integers(len(images))] if images else ""


def shown_garments(folder: Path) -> pd.DataFrame:
    """Which image was shown for each variant of a set of kind garment: columns image_id, variant and garment.

    Raises ValueError for a file that does not say so, as those of other kinds.
    """
    parts = []
    for path in shard_paths(folder):
        found = fingerprint(path).get(GARMENTS)
        if found is None:
            raise ValueError(f"{path}: does not say what was shown, as sets of kind garment do")
        parts.append(read_table(path).select(["image_id", "variant"]).to_pandas().assign(garment=found))
    return pd.concat(parts, ignore_index=True)


def decode_garment(image_id: str, image: bytes, mask: bytes) -> np.ndarray:
    """`garment_picture` of an encoded image and its mask. Raises ValueError where they are damaged or of two sizes."""
    picture = decode_rgb(image, image_id)
    return garment_picture(picture, decode_mask(mask, image_id, picture))


def garment_picture(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The clothes of an image alone, uint8 [S, S, 3]: cropped to the clothes mask's box, everything else white.

    image: uint8 [H, W, 3] RGB; mask: bool [H, W], True = clothes. S is the longer side of the box; the shorter one is
    filled with white on both sides, so that an image encoder, which crops to a square, sees the whole outfit.
    Raises ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("the clothes mask is empty: there is no garment to show")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    clothes = np.where(mask[box][..., None], image[box], np.uint8(255))
    height, width = clothes.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    picture = np.full((side, side, 3), 255, np.uint8)
    picture[top : top + height, left : left + width] = clothes
    return picture
