"""Random augmentation of whole batches, and the normalisation of every model input (PEERS: CAL, "Images").

With probability one half each: enlarge by 1.125 and crop, mirror, erase a rectangle. All random numbers of a
batch are drawn from one generator on the CPU, in a fixed number and order, so an interrupted run goes on with
the same images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

ENLARGE = 1.125
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = 0.3
ERASE_TRIES = 10
# CAL writes this colour, meant for unnormalised images, into normalised ones; kept, as the paper's results
# were made so
ERASED_COLOUR = (0.4914, 0.4822, 0.4465)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] in RGB to float32 [B, 3, H, W], of mean 0 and deviation 1 on ImageNet."""
    return standardise_colours(images.permute(0, 3, 1, 2).float() / 255)


def standardise_colours(pictures: Tensor) -> Tensor:
    """`normalise` for float [B, 3, H, W] in [0, 1]."""
    mean = torch.tensor(MEAN, device=pictures.device)[:, None, None]
    std = torch.tensor(STD, device=pictures.device)[:, None, None]
    return (pictures - mean) / std


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augmented and normalised float32 [B, 3, H, W] of uint8 [B, H, W, 3]. `generator` lives on the CPU."""
    count, height, width, _ = images.shape
    cropped, mirrored, erased = (torch.rand(3, count, generator=generator) < 0.5).to(images.device)
    offsets = torch.rand(2, count, generator=generator)
    boxes = erase_boxes(count, height, width, generator).to(images.device)
    result = normalise(images)
    result = torch.where(cropped[:, None, None, None], enlarge_and_crop(result, offsets), result)
    result = torch.where(mirrored[:, None, None, None], result.flip(3), result)
    inside = _inside(boxes, height, width) & erased[:, None, None]
    colour = torch.tensor(ERASED_COLOUR, device=images.device)[:, None, None]
    return torch.where(inside[:, None], colour, result).contiguous(memory_format=torch.channels_last)


def enlarge_and_crop(images: Tensor, offsets: Tensor) -> Tensor:
    """Enlarge float [B, 3, H, W] by 1.125 and cut out H x W. `offsets` [2, B] in 0..1: top, left."""
    count, _, height, width = images.shape
    large = F.interpolate(
        images, (round(height * ENLARGE), round(width * ENLARGE)), mode="bilinear", align_corners=False
    )
    room = torch.tensor([[large.shape[2] - height], [large.shape[3] - width]])
    top, left = (offsets * room).round().long().to(images.device)
    rows = top[:, None, None] + torch.arange(height, device=images.device)[:, None]
    columns = left[:, None, None] + torch.arange(width, device=images.device)
    cut = large.permute(0, 2, 3, 1)[torch.arange(count, device=images.device)[:, None, None], rows, columns]
    return cut.permute(0, 3, 1, 2)


def erase_boxes(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A random rectangle for each of `count` images: int64 [count, 4] of top, left, height, width.

    Area 0.02 to 0.4 of the image, aspect 0.3 to 1 / 0.3, both uniform; the first of 10 tries that is smaller
    than the image counts, and height = width = 0 says that none was (CAL tries 100 times; nearly all fit
    within 3).
    """
    area, aspect, top, left = torch.rand(4, count, ERASE_TRIES, generator=generator, dtype=torch.float64)
    area = (ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0])) * height * width
    aspect = ERASED_ASPECT + aspect * (1 / ERASED_ASPECT - ERASED_ASPECT)
    h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (h < height) & (w < width)
    top, left = (top * (height - h + 1)).floor(), (left * (width - w + 1)).floor()
    first = fits.long().argmax(1, keepdim=True)
    boxes = torch.stack([x.gather(1, first)[:, 0] for x in (top, left, h, w)], dim=1).long()
    return torch.where(fits.any(1)[:, None], boxes, 0)


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """bool [B, H, W]: the pixels inside each image's box."""
    top, left, h, w = (boxes[:, i, None] for i in range(4))
    y, x = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    return ((y >= top) & (y < top + h))[:, :, None] & ((x >= left) & (x < left + w))[:, None, :]
