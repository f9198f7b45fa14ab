"""ResNets under torchvision's names, in the backbones of `transformers`.

CAL's authors start from torchvision's ResNet-50 (Simple-CCReID, models/img_resnet.py). Both libraries build the same
network: torchvision's documentation says that its bottlenecks have their stride in the 3x3 convolution ("ResNet V1.5"),
which is what `ResNetConfig(downsample_in_bottleneck=False)` means, and both use BatchNorm2d with its default epsilon of
1e-5. Only the names differ:

    conv1, bn1                      embedder.embedder.convolution, .normalization
    layer1.0.conv2, layer1.0.bn2    encoder.stages.0.layers.0.layer.1.convolution, .normalization
    layer1.0.downsample.0, .1       encoder.stages.0.layers.0.shortcut.convolution, .normalization
    fc                              none: the classifier is not used
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dlcr.runtime.networks import check_network

if TYPE_CHECKING:
    from transformers import ResNetModel

CLASSIFIER = frozenset({"fc.weight", "fc.bias"})
STAGES = re.compile(
    r"encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<layer>\d+)\.(shortcut|layer\.(?P<place>\d))\."
    r"(?P<kind>convolution|normalization)\.(?P<tensor>\w+)"
)


def torchvision_name(name: str) -> str:
    """torchvision's name of a tensor of a ResNetModel's state dict; ValueError for a name that it does not have."""
    stem = re.fullmatch(r"embedder\.embedder\.(?P<kind>convolution|normalization)\.(?P<tensor>\w+)", name)
    if stem:
        return f"{_kind(stem)}1.{stem['tensor']}"
    place = STAGES.fullmatch(name)
    if not place:
        raise ValueError(f"{name}: no tensor of a ResNetModel")
    layer = f"layer{int(place['stage']) + 1}.{place['layer']}"
    if place["place"] is None:
        return f"{layer}.downsample.{int(place['kind'] == 'normalization')}.{place['tensor']}"
    return f"{layer}.{_kind(place)}{int(place['place']) + 1}.{place['tensor']}"


def has_torchvision_names(names: Collection[str]) -> bool:
    """Are these the names of torchvision's state dict, whole or not, of some ResNet?"""
    return any(re.match(r"layer\d\.\d+\.(conv|bn|downsample)", name) for name in names)


def tensor_names(path: Path) -> list[str]:
    """The names of a safetensors file's tensors, without reading these. ValueError if it is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file: {error}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from *.safetensors, *.pth or *.pt; no code that the file may hold is run.

    ValueError unless the file holds a dict of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a file of weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path}: expected a state dict, names with their tensors")
    return state


def load_torchvision(resnet: ResNetModel, state: dict[str, Tensor], source: Path) -> None:
    """Put torchvision's weights, in any floating type, into the backbone, in place; the classifier is dropped.

    Raises what `check_network` raises, naming `source` and, by torchvision's names, the tensors that are missing,
    unexpected, of another shape or not finite. Only batch norm's counters `num_batches_tracked` may be missing, as in
    files older than these; nothing is computed with them.
    """
    own = resnet.state_dict()
    theirs = {torchvision_name(name): name for name in own}
    other = {name for name in theirs.keys() & state.keys() if state[name].shape != own[theirs[name]].shape}
    resnet.load_state_dict({theirs[name]: state[name] for name in theirs.keys() & state.keys() - other}, strict=False)
    report = {
        "missing_keys": [name for name in theirs.keys() - state.keys() if not name.endswith(".num_batches_tracked")],
        "unexpected_keys": state.keys() - theirs.keys() - CLASSIFIER,
        "mismatched_keys": [f"{n} {list(state[n].shape)} instead of {list(own[theirs[n]].shape)}" for n in other],
    }
    check_network(str(source), resnet, report)


def _kind(place: re.Match[str]) -> str:
    return "conv" if place["kind"] == "convolution" else "bn"
