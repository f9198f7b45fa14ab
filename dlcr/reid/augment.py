"""Random augmentation of whole batches, as in CAL (Simple-CCReID data/img_transforms.py).

With probability one half each: enlarge by 1.125 and crop, mirror, erase a rectangle; a model says which of these its
training has. kornia crops and mirrors. All random numbers of a batch are drawn before its images are touched, so that
each of several processes augments its share of a batch as a single one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlcr.reid.colours import normalise

if TYPE_CHECKING:
    import kornia.augmentation as K
    from kornia.augmentation.container.params import ParamItem

STEPS = ("crop", "mirror", "erase")
ENLARGE = 1.125
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)
# CAL fills what it erases with this colour, meant for unnormalised images, after normalising
ERASED_COLOUR = (0.4914, 0.4822, 0.4465)
TRIES = 100


@dataclass(frozen=True)
class Drawn:
    """The random numbers of N images: kornia's, and `boxes`, int64 [N, 4]: the rows from the first number to the one
    before the second, and the columns likewise from the third and fourth, are erased; none where all are 0."""

    moves: list[ParamItem]
    boxes: Tensor


def draw(count: int, size: tuple[int, int], steps: tuple[str, ...] = STEPS) -> Drawn:
    """The random numbers for `count` images of `size` (height, width), from torch's global generator on the CPU."""
    moves = _moves(steps).forward_parameters(torch.Size((count, 3, *size)))
    return Drawn(moves, draw_boxes(count, size) if "erase" in steps else torch.zeros((count, 4), dtype=torch.int64))


def draw_boxes(count: int, size: tuple[int, int]) -> Tensor:
    """What is erased of `count` images of `size` (height, width): `Drawn.boxes`, zeros for half of the images.

    A rectangle has an area of .02 to .4 of the image's and an aspect (height / width) of .3 to 1 / .3, both drawn
    uniformly; one that does not fit into the image is drawn again, up to TRIES times. It lies anywhere within.
    """
    height, width = size
    area, aspect = torch.rand((2, count, TRIES), dtype=torch.float64)
    area = (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area) * (height * width)
    aspect = ERASED_ASPECT[0] + (ERASED_ASPECT[1] - ERASED_ASPECT[0]) * aspect
    tall, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (tall < height) & (wide < width)
    first = fits.int().argmax(1, keepdim=True)
    tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    erased, top, left = torch.rand((3, count), dtype=torch.float64)
    top, left = (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor()
    boxes = torch.stack([top, top + tall, left, left + wide], 1).long()
    return torch.where((fits.any(1) & (erased < 0.5))[:, None], boxes, 0)


def augment(images: Tensor, drawn: Drawn, of: Tensor, steps: tuple[str, ...] = STEPS) -> Tensor:
    """Augmented and normalised float32 [N, 3, H, W] of uint8 [N, H, W, 3].

    `of` int64 [N]: which of the `drawn` each image takes; those of a clip share one. `steps` as in `draw`.
    """
    from kornia.augmentation.container.params import ParamItem

    own = [
        ParamItem(
            item.name, {key: value if key == "forward_input_shape" else value[of] for key, value in item.data.items()}
        )
        for item in drawn.moves
    ]
    result = erase(_moves(steps)(normalise(images), params=own), drawn.boxes[of])
    return result.contiguous(memory_format=torch.channels_last)


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Normalised images [N, 3, H, W] with ERASED_COLOUR in their boxes (`Drawn`)."""
    top, bottom, left, right = boxes.to(images.device).T[:, :, None]
    rows, columns = (torch.arange(length, device=images.device) for length in images.shape[2:])
    inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None]
    colour = torch.tensor(ERASED_COLOUR, dtype=images.dtype, device=images.device)[:, None, None]
    return torch.where(inside[:, None], colour, images)


@cache
def _moves(steps: tuple[str, ...]) -> K.AugmentationSequential:
    """Kornia's part of the steps. ValueError for a step that there is not."""
    import kornia.augmentation as K

    for step in steps:
        if step not in STEPS:
            raise ValueError(f"no augmentation named {step!r}; there are {', '.join(STEPS)}")
    room = (ENLARGE - 1) / 2
    made = {
        # enlarging about the centre and moving within the room is a random crop of the enlarged image; kornia's own
        # crops are made of all images of a batch or of none
        "crop": lambda: K.RandomAffine(
            0.0, translate=(room, room), scale=(ENLARGE, ENLARGE), padding_mode="border", p=0.5
        ),
        "mirror": lambda: K.RandomHorizontalFlip(p=0.5),
    }
    return K.AugmentationSequential(*(make() for step, make in made.items() if step in steps), data_keys=["input"])
