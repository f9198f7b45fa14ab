"""Backbones: ResNets of `transformers`, from random or ImageNet weights, with the last stage at stride 1.

resnet = make_backbone("resnet50", "microsoft/resnet-50@<revision>")      # or a local folder or file, or None
LastMap(resnet)(images)                                                   # [B, 2048, H/16, W/16]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from dlcr.reid.models.torchvision_names import has_torchvision_names, load_torchvision, read_weights, tensor_names
from dlcr.runtime.networks import Pretrained, check_network, find_pretrained, loading

if TYPE_CHECKING:
    from transformers import ResNetModel

WEIGHTS_FILE = "model.safetensors"
CLASSIFIER = frozenset({"classifier.1.weight", "classifier.1.bias"})
"""What transformers' ImageNet classifiers, such as microsoft/resnet-50, hold beside the backbone; it is not used."""

RESNET50 = {
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024, 2048],
    "depths": [3, 4, 6, 3],
    "layer_type": "bottleneck",
}
MINI = {
    "embedding_size": 24,
    "hidden_sizes": [24, 48, 96, 160],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}


def resnet50(weights: str | None = None, last_stride: Literal[1, 2] = 1) -> ResNetModel:
    """ResNet-50, its last stage at stride 1 unless told otherwise.

    weights: a local folder, or `owner/name@revision` of a hub, with the names of transformers or of torchvision (such
    as timm/resnet50.tv_in1k, the weights that CAL's authors start from); or a local file *.pth, *.pt or *.safetensors
    with torchvision's names. None starts from random weights. Raises FileNotFoundError when they aren't there,
    ValueError when they are not all those of a ResNet-50 and finite; only an ImageNet classifier may come with them.
    """
    resnet = _load(weights, RESNET50)
    return last_stride_1(resnet) if last_stride == 1 else resnet


def mini_resnet(weights: str | None = None, last_stride: Literal[1, 2] = 1) -> ResNetModel:
    """The backbone of the small models: basic layers, 160-d, for images of 96x48.

    The first pooling is left out, beside the last stride: a head is ten pixels wide there, and hair and face
    are most of what stays when the clothes change. weights: a local folder or `owner/name@revision` with the names of
    transformers; the shipped ones are models/mini/backbone.
    """
    resnet = _load(weights, MINI)
    resnet.embedder.pooler = nn.Identity()
    return last_stride_1(resnet) if last_stride == 1 else resnet


BACKBONES = {"resnet50": resnet50, "mini": mini_resnet}
"""What a model's setting `backbone` may be."""


def make_backbone(name: str, weights: str | None = None, last_stride: Literal[1, 2] = 1) -> ResNetModel:
    """The backbone of BACKBONES; ValueError for another name, and whatever its function raises."""
    if name not in BACKBONES:
        raise ValueError(f"no backbone named {name!r}; there are {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name](weights, last_stride)


def channels_of(resnet: ResNetModel) -> int:
    """D, the channels of its last map."""
    return resnet.config.hidden_sizes[-1]


def last_stride_1(resnet: ResNetModel) -> ResNetModel:
    """Let the last stage keep the resolution, in place: a feature map twice as high and wide (Simple-CCReID,
    models/img_resnet.py)."""
    for module in resnet.encoder.stages[-1].modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return resnet


class LastMap(nn.Module):
    """A model's body that is one ResNet: images [B, 3, H, W] to the last feature map [B, D, h, w].

    h, w are about H / 16, W / 16 (mini: H / 8, W / 8).
    """

    def __init__(self, resnet: ResNetModel) -> None:
        super().__init__()
        self.resnet = resnet

    def forward(self, images: Tensor) -> Tensor:
        return self.resnet(images).last_hidden_state


def max_and_average(maps: Tensor) -> Tensor:
    """Global max and average pooling of maps [B, D, h, w], concatenated to [B, 2D]."""
    return torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], dim=1)


def _load(weights: str | None, shape: dict[str, object]) -> ResNetModel:
    if weights is None:
        return _random(shape)
    file = Path(weights)
    if file.is_file():
        return _from_torchvision(file, shape)
    pretrained = find_pretrained(weights)
    file = Path(pretrained.location) / WEIGHTS_FILE
    if has_torchvision_names(tensor_names(file)):
        return _from_torchvision(file, shape)
    return _from_transformers(weights, pretrained, shape)


def _random(shape: dict[str, object]) -> ResNetModel:
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(ResNetConfig(**shape))


def _from_torchvision(file: Path, shape: dict[str, object]) -> ResNetModel:
    if shape["layer_type"] != "bottleneck":
        raise ValueError(
            f"{file}: the small backbone takes a folder or owner/name@revision with the names of transformers, "
            f"neither torchvision's weights nor a single file"
        )
    state = read_weights(file)
    resnet = _random(shape)
    load_torchvision(resnet, state, file)
    return resnet


def _from_transformers(weights: str, pretrained: Pretrained, shape: dict[str, object]) -> ResNetModel:
    from transformers import ResNetConfig, ResNetModel

    with loading(weights):
        config = ResNetConfig.from_pretrained(pretrained.location, **pretrained.arguments())
    for key, expected in shape.items():
        found = getattr(config, key)
        if found != expected:
            raise ValueError(f"weights {weights!r}: another backbone: {key} is {found!r}, not {expected!r}")
    with loading(weights):
        resnet, report = ResNetModel.from_pretrained(
            pretrained.location,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_network names them
            **pretrained.arguments(),
        )
    check_network(weights, resnet, report | {"unexpected_keys": set(report["unexpected_keys"]) - CLASSIFIER})
    return resnet.float()
