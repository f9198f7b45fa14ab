"""Random augmentation of whole batches (PEERS: CAL, "Images").

With probability one half each: enlarge by 1.125 and crop, mirror, erase a rectangle; kornia does the work. All random
numbers of a batch are drawn before its images are touched, so that each of several processes augments its share of a
batch as a single one would.
"""

from functools import cache

import kornia.augmentation as K
import torch
from kornia.augmentation.container.params import ParamItem
from torch import Tensor

from dlcr.reid.colours import normalise

ENLARGE = 1.125
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)
# CAL fills what it erases with (.4914, .4822, .4465), a colour meant for unnormalised images, after normalising;
# kornia takes one number
ERASED_VALUE = 0.4734


def draw(count: int, size: tuple[int, int]) -> list[ParamItem]:
    """The random numbers for `count` images of `size` (height, width), from torch's global generator on the CPU."""
    return _augmentation().forward_parameters(torch.Size((count, 3, *size)))


def augment(images: Tensor, drawn: list[ParamItem], of: Tensor) -> Tensor:
    """Augmented and normalised float32 [N, 3, H, W] of uint8 [N, H, W, 3].

    `of` int64 [N]: which of the `drawn` each image takes; those of a clip share one.
    """
    own = [
        ParamItem(
            item.name, {key: value if key == "forward_input_shape" else value[of] for key, value in item.data.items()}
        )
        for item in drawn
    ]
    result = _augmentation()(normalise(images), params=own)
    return result.contiguous(memory_format=torch.channels_last)


@cache
def _augmentation() -> K.AugmentationSequential:
    """Kornia's pipeline. Erasing comes last, on normalised images, as in CAL."""
    room = (ENLARGE - 1) / 2
    return K.AugmentationSequential(
        # enlarging about the centre and moving within the room is a random crop of the enlarged image; kornia's own
        # crops are made of all images of a batch or of none
        K.RandomAffine(0.0, translate=(room, room), scale=(ENLARGE, ENLARGE), padding_mode="border", p=0.5),
        K.RandomHorizontalFlip(p=0.5),
        K.RandomErasing(scale=ERASED_AREA, ratio=ERASED_ASPECT, value=ERASED_VALUE, p=0.5),
        data_keys=["input"],
    )
