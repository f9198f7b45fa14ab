"""Rows of mask files: what stage parse makes of encoded images, and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dlcr.data import MASK_SCHEMA, decode_readable, encode_png, write_shard
from dlcr.parsing.parser import load_parser, mask_status, parse_clothes

Columns = dict[str, list]


def mask_maker(model: str, settings: Mapping) -> Callable[[Sequence[tuple[str, bytes, tuple[int, int]]]], Columns]:
    """What makes the rows of a file, columns of MASK_SCHEMA, of images: image_id, encoded, (height, width).

    settings: the section `parse` of params.yaml.
    """
    parser = load_parser(model, settings["labels"])

    def make(rows: Sequence[tuple[str, bytes, tuple[int, int]]]) -> Columns:
        images = decode_readable((image_id, data) for image_id, data, _ in rows)
        found = parse_clothes(parser, list(images.values()), settings["batch"], settings["dilation"])
        masks = dict(zip(images, found, strict=True))
        return mask_rows(
            [image_id for image_id, _, _ in rows],
            [masks.get(place) for place in range(len(rows))],
            [size for _, _, size in rows],
            settings["min_area"],
            settings["max_area"],
        )

    return make


def mask_rows(
    image_ids: Sequence[str],
    masks: Sequence[np.ndarray | None],
    sizes: Sequence[tuple[int, int]],
    min_area: float,
    max_area: float,
) -> Columns:
    """Columns of MASK_SCHEMA for bool masks [H, W]; None: the image is unreadable, and of this size by the manifest."""
    drawn = [np.zeros(size, bool) if mask is None else mask for mask, size in zip(masks, sizes, strict=True)]
    areas = [float(mask.mean()) for mask in drawn]
    return {
        "image_id": list(image_ids),
        "mask": [encode_png(mask) for mask in drawn],
        "area": areas,
        "status": [
            "unreadable" if mask is None else mask_status(area, min_area, max_area)
            for mask, area in zip(masks, areas, strict=True)
        ],
    }


def write_masks(fingerprint: dict, path: Path, image_ids: Sequence[str], columns: Columns) -> None:
    """Write a file of masks; `fingerprint` says what made it."""
    write_shard(path, columns, MASK_SCHEMA, fingerprint)
