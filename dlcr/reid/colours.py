"""The normalisation of every model's input."""

import torch
from torch import Tensor

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
