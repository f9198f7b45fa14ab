"""A backbone so small that models on it can be computed by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from transformers import ResNetConfig, ResNetModel

from dlcr.reid.models.resnet import BACKBONES


@contextmanager
def tiny_backbone(channels: int) -> Iterator[None]:
    """Within it there is the backbone "tiny" of so many channels."""

    def make(weights: None, last_stride: int) -> ResNetModel:
        shape = {"embedding_size": 4, "hidden_sizes": [4, channels], "depths": [1, 1], "layer_type": "basic"}
        return ResNetModel(ResNetConfig(**shape))

    with patch.dict(BACKBONES, tiny=make):
        yield
