"""Trunks: ResNets of `transformers`, from random or ImageNet weights, with the last stage at stride 1.

trunk = resnet50("microsoft/resnet-50@<revision>")      # or a local folder, or None
feature_map(trunk, images)                              # [B, 2048, H/16, W/16]
"""

from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from dlcr.runtime.checkpoint import find_checkpoint

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


def resnet50(weights: str | None = None) -> ResNetModel:
    """ResNet-50 with last stride 1.

    weights: a local folder, or `repo@revision` of a hub; None starts from random weights. Raises
    FileNotFoundError or OSError when they aren't there, ValueError when they are not those of a ResNet-50.
    """
    return last_stride_1(_trunk(weights, RESNET50))


def mini_resnet(weights: str | None = None) -> ResNetModel:
    """The trunk of the small models: basic layers, 160-d, for images of 96x48.

    The first pooling is left out, beside the last stride: a head is ten pixels wide there, and hair and face
    are most of what stays when the clothes change. weights as in `resnet50`; the shipped ones are
    models/mini/backbone.
    """
    trunk = _trunk(weights, MINI)
    trunk.embedder.pooler = nn.Identity()
    return last_stride_1(trunk)


def last_stride_1(trunk: ResNetModel) -> ResNetModel:
    """Let the last stage keep the resolution, in place: a feature map twice as high and wide (PEERS: CAL)."""
    for module in trunk.encoder.stages[-1].modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return trunk


def feature_map(trunk: ResNetModel, images: Tensor) -> Tensor:
    """The last feature map [B, D, h, w] of images [B, 3, H, W]; h, w about H / 16, W / 16 (mini: / 8)."""
    return trunk(images).last_hidden_state


def _trunk(weights: str | None, shape: dict[str, object]) -> ResNetModel:
    if weights is None:
        return ResNetModel(ResNetConfig(**shape))
    checkpoint = find_checkpoint(weights)
    trunk = ResNetModel.from_pretrained(checkpoint.location, use_safetensors=True, **checkpoint.arguments())
    for key, expected in shape.items():
        if getattr(trunk.config, key) != expected:
            raise ValueError(
                f"weights {weights!r}: another trunk: {key} is {getattr(trunk.config, key)!r}, not {expected!r}"
            )
    return trunk.float()
