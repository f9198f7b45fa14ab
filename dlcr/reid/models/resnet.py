"""Trunks: ResNets of `transformers`, from random or ImageNet weights, with the last stage at stride 1.

trunk = resnet50("microsoft/resnet-50@<revision>")      # or a local folder or file, or None
Trunk(trunk)(images)                                    # [B, 2048, H/16, W/16]
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from dlcr.reid.models.torchvision_names import has_torchvision_names, load_torchvision, read_weights, tensor_names
from dlcr.runtime.checkpoint import Checkpoint, check_network, find_checkpoint, loading

WEIGHTS_FILE = "model.safetensors"
CLASSIFIER = frozenset({"classifier.1.weight", "classifier.1.bias"})
"""What transformers' ImageNet classifiers, such as microsoft/resnet-50, hold beside the trunk; it is not used."""

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
    trunk = _trunk(weights, RESNET50)
    return last_stride_1(trunk) if last_stride == 1 else trunk


def mini_resnet(weights: str | None = None, last_stride: Literal[1, 2] = 1) -> ResNetModel:
    """The trunk of the small models: basic layers, 160-d, for images of 96x48.

    The first pooling is left out, beside the last stride: a head is ten pixels wide there, and hair and face
    are most of what stays when the clothes change. weights: a local folder or `owner/name@revision` with the names of
    transformers; the shipped ones are models/mini/backbone.
    """
    trunk = _trunk(weights, MINI)
    trunk.embedder.pooler = nn.Identity()
    return last_stride_1(trunk) if last_stride == 1 else trunk


def last_stride_1(trunk: ResNetModel) -> ResNetModel:
    """Let the last stage keep the resolution, in place: a feature map twice as high and wide (PEERS: CAL)."""
    for module in trunk.encoder.stages[-1].modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return trunk


class Trunk(nn.Module):
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


def _trunk(weights: str | None, shape: dict[str, object]) -> ResNetModel:
    if weights is None:
        return ResNetModel(ResNetConfig(**shape))
    file = Path(weights)
    if file.is_file():
        return _torchvision_trunk(file, shape)
    checkpoint = find_checkpoint(weights)
    file = Path(checkpoint.location) / WEIGHTS_FILE
    if has_torchvision_names(tensor_names(file)):
        return _torchvision_trunk(file, shape)
    return _transformers_trunk(weights, checkpoint, shape)


def _torchvision_trunk(file: Path, shape: dict[str, object]) -> ResNetModel:
    if shape["layer_type"] != "bottleneck":
        raise ValueError(
            f"{file}: the small trunk takes a folder or owner/name@revision with the names of transformers, "
            f"neither torchvision's weights nor a single file"
        )
    state = read_weights(file)
    trunk = ResNetModel(ResNetConfig(**shape))
    load_torchvision(trunk, state, file)
    return trunk


def _transformers_trunk(weights: str, checkpoint: Checkpoint, shape: dict[str, object]) -> ResNetModel:
    with loading(weights):
        config = ResNetConfig.from_pretrained(checkpoint.location, **checkpoint.arguments())
    for key, expected in shape.items():
        if getattr(config, key) != expected:
            raise ValueError(f"weights {weights!r}: another trunk: {key} is {getattr(config, key)!r}, not {expected!r}")
    with loading(weights):
        trunk, report = ResNetModel.from_pretrained(
            checkpoint.location,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_network names them
            **checkpoint.arguments(),
        )
    check_network(weights, trunk, report | {"unexpected_keys": set(report["unexpected_keys"]) - CLASSIFIER})
    return trunk.float()
