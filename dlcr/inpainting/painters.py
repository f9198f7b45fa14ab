"""What paints a chunk of a generated set: one variant of one block of images, by each kind of set (Sec. 3.1, Table A1).

A painter is made once in each process that works (`dlcr.runtime.executor`) and takes and gives plain data, so that it
runs on this machine or on another one alike:

    paint = diffusion_painter("models/mini/inpainter", {"steps": 6, "guidance": 3.25, ...}, masked=True)
    samples = paint(chunk)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlcr.data import decode_rgb, encode_png
from dlcr.data.shards import decode_grey
from dlcr.inpainting.quality import measure
from dlcr.inpainting.recolour import recolour

if TYPE_CHECKING:
    from dlcr.inpainting.diffusion import Canvas


@dataclass(frozen=True)
class Chunk:
    """One variant of n images: for each its image_id, the outfit's clothes ID and text, the seed, and encoded pixels.

    Kinds that paint without the masks are measured within them all the same. All chunks of a block of images have the
    same image_ids and pixels.
    """

    image_ids: list[str]
    clothes: list[str]
    prompts: list[str]
    seeds: list[int]
    images: list[bytes]
    masks: list[bytes]


@dataclass(frozen=True)
class Sample:
    """A variant as encoded bytes with its measures (`quality.measure`), or None and the reason why it was not made."""

    image: bytes | None
    skipped: str
    measures: dict[str, float]


Painter = Callable[[Chunk], list[Sample]]


@dataclass(frozen=True)
class _Block:
    """The decoded images of a block: those that could be read, by image_id, and the reasons for the others."""

    image_ids: list[str]
    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    unreadable: dict[str, str]


def diffusion_painter(model: str, settings: dict, masked: bool) -> Painter:
    """Kinds `inpainting` (masked: fills the clothes) and `standard` (image to image without a mask).

    settings: keyword arguments of `Expander`. The images and masks of a block are encoded once for its variants.
    """
    from dlcr.inpainting.expander import Expander  # with diffusers: seconds

    expander = Expander(model, **settings)
    opened: dict[tuple[str, ...], tuple[_Block, Canvas | None]] = {}

    def paint(chunk: Chunk) -> list[Sample]:
        key = tuple(chunk.image_ids)
        if key not in opened:
            opened.clear()  # one block at a time: its variants follow each other
            block = _decode(chunk)
            holes = list(block.masks.values()) if masked else None
            opened[key] = block, expander.prepare(list(block.images.values()), holes) if block.images else None
        block, canvas = opened[key]
        places = [place for place, image_id in enumerate(chunk.image_ids) if image_id in block.images]
        pictures, masks = list(block.images.values()), list(block.masks.values())

        def finish(row: int, variant: np.ndarray) -> Sample:
            return _sample(pictures[row], variant, masks[row])

        made = expander.paint(
            canvas,
            range(len(places)),
            pictures,
            masks if masked else None,
            [chunk.prompts[place] for place in places],
            [chunk.seeds[place] for place in places],
            finish,
        )
        return _with_unreadable(block, chunk, dict(zip(places, made, strict=True)))

    return paint


def colour_painter() -> Painter:
    """Kind `colour` (Fig. 1, left): the masked clothes in another colour, the outfit texts play no part."""

    def paint(chunk: Chunk) -> list[Sample]:
        block = _decode(chunk)
        made = {}
        for place, image_id in enumerate(chunk.image_ids):
            if image_id in block.images:
                image, mask = block.images[image_id], block.masks[image_id]
                made[place] = _sample(image, recolour(image, mask, chunk.seeds[place]), mask)
        return _with_unreadable(block, chunk, made)

    return paint


def oracle_painter(draw: Callable[[str, str], np.ndarray]) -> Painter:
    """Kind `oracle`, the truth: draw(image_id, clothes) is the image as it would look in that outfit."""

    def paint(chunk: Chunk) -> list[Sample]:
        block = _decode(chunk)
        made = {
            place: _sample(block.images[image_id], draw(image_id, chunk.clothes[place]), block.masks[image_id])
            for place, image_id in enumerate(chunk.image_ids)
            if image_id in block.images
        }
        return _with_unreadable(block, chunk, made)

    return paint


def _decode(chunk: Chunk) -> _Block:
    """The images and masks of a chunk; raises ValueError for a mask of another size than its image."""
    images, masks, unreadable = {}, {}, {}
    for image_id, image, mask in zip(chunk.image_ids, chunk.images, chunk.masks, strict=True):
        try:
            images[image_id] = decode_rgb(image, image_id)
        except ValueError as error:
            unreadable[image_id] = f"unreadable image: {error}"
            continue
        masks[image_id] = decode_grey(mask, f"mask of {image_id}") >= 128
        size, expected = masks[image_id].shape, images[image_id].shape[:2]
        if size != expected:
            raise ValueError(f"the mask of {image_id!r} is {list(size)}, its image {list(expected)}")
    return _Block(list(chunk.image_ids), images, masks, unreadable)


def _sample(image: np.ndarray, variant: np.ndarray, mask: np.ndarray) -> Sample:
    return Sample(encode_png(variant), "", measure(image, variant, mask if mask.any() else None))


def _with_unreadable(block: _Block, chunk: Chunk, made: dict[int, Sample]) -> list[Sample]:
    """The samples of all places of a chunk."""
    return [
        made[place] if place in made else Sample(None, block.unreadable[image_id], {})
        for place, image_id in enumerate(chunk.image_ids)
    ]
