"""What painters share: each paints a chunk of a generated set, one variant of one block of images (Sec. 3.1).

A painter is made once in each process that works (`dlcr.runtime.executor`) and takes and gives plain data, so that it
runs on this machine or on another one alike. Each kind of set has its own (`dlcr.inpainting.kinds`):

    paint = inpainting.build("models/mini/inpainter", {"steps": 6, "guidance": 3.25, ...})
    samples = paint(chunk)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlcr.data import decode_rgb, encode_png
from dlcr.data.shards import decode_grey
from dlcr.inpainting.quality import measure


@dataclass(frozen=True)
class Chunk:
    """One variant of n images: for each its image_id, the outfit's clothes ID and text, the seed, and encoded pixels.

    garments: for kinds that show clothes, of each the image_id of a picture of them, the encoded image and its mask.

    Kinds that paint without the masks are measured within them all the same. All chunks of a block of images have the
    same image_ids and pixels.
    """

    image_ids: list[str]
    clothes: list[str]
    prompts: list[str]
    seeds: list[int]
    images: list[bytes]
    masks: list[bytes]
    garments: list[tuple[str, bytes, bytes]] | None = None


@dataclass(frozen=True)
class Sample:
    """A variant as encoded bytes with its measures (`quality.measure`), or None and the reason why it was not made."""

    image: bytes | None
    skipped: str
    measures: dict[str, float]


Painter = Callable[[Chunk], list[Sample]]


@dataclass(frozen=True)
class Block:
    """The decoded images of a block: those that could be read, by image_id, and the reasons for the others."""

    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    unreadable: dict[str, str]


def one_by_one(draw: Callable[[np.ndarray, np.ndarray, Chunk, int], np.ndarray]) -> Painter:
    """A painter that makes each variant alone.

    draw(image, mask, chunk, place) gives the variant of the image at a place of the chunk: from uint8 [H, W, 3] RGB and
    bool [H, W] to uint8 [H, W, 3].
    """

    def paint(chunk: Chunk) -> list[Sample]:
        block = decode_block(chunk)
        made = {}
        for place, image_id in enumerate(chunk.image_ids):
            if image_id in block.images:
                image, mask = block.images[image_id], block.masks[image_id]
                made[place] = make_sample(image, draw(image, mask, chunk, place), mask)
        return all_samples(block, chunk, made)

    return paint


def decode_block(chunk: Chunk) -> Block:
    """The images and masks of a chunk; raises ValueError for a mask of another size than its image."""
    images, masks, unreadable = {}, {}, {}
    for image_id, image, mask in zip(chunk.image_ids, chunk.images, chunk.masks, strict=True):
        try:
            images[image_id] = decode_rgb(image, image_id)
        except ValueError as error:
            unreadable[image_id] = f"unreadable image: {error}"
            continue
        masks[image_id] = decode_mask(mask, image_id, images[image_id])
    return Block(images, masks, unreadable)


def decode_mask(mask: bytes, image_id: str, image: np.ndarray) -> np.ndarray:
    """The mask bool [H, W] of an image uint8 [H, W, 3]; raises ValueError naming one of another size."""
    found = decode_grey(mask, f"mask of {image_id}") >= 128
    if found.shape != image.shape[:2]:
        raise ValueError(f"the mask of {image_id!r} is {list(found.shape)}, its image {list(image.shape[:2])}")
    return found


def make_sample(image: np.ndarray, variant: np.ndarray, mask: np.ndarray) -> Sample:
    """A variant, encoded and measured within the mask, or as a whole where that is empty: arrays as for `measure`."""
    return Sample(encode_png(variant), "", measure(image, variant, mask if mask.any() else None))


def all_samples(block: Block, chunk: Chunk, made: dict[int, Sample]) -> list[Sample]:
    """The samples of a chunk: those made, by their place in it, and for the others why they could not be read."""
    return [
        made[place] if place in made else Sample(None, block.unreadable[image_id], {})
        for place, image_id in enumerate(chunk.image_ids)
    ]
