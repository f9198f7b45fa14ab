"""LoRA (Hu et al., ICLR 2022) fused into a pipeline's weights at loading: W + alpha / rank * up @ down.

    fuse_lora(pipeline, "owner/name@revision:lcm.safetensors")    # or a file; nothing of it is left to compute later

Names of tensors are those of kohya's scripts (lora_unet_down_blocks_0_....lora_down.weight, with .alpha) or those of
diffusers and peft (unet.down_blocks.0.....lora_A.weight, or .lora.down.weight).
"""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dlcr.inpainting.diffusion import Inpainter
from dlcr.runtime.weights import find_hub_file

ENDINGS = {
    ".lora_down.weight": "down", ".lora_A.weight": "down", ".lora.down.weight": "down",
    ".lora_up.weight": "up", ".lora_B.weight": "up", ".lora.up.weight": "up",
    ".alpha": "alpha",
}  # fmt: skip
PREFIXES = {
    "lora_unet_": "unet_",
    "lora_te_": "text_encoder_",
    "lora_te1_": "text_encoder_",
    "lora_te2_": "text_encoder_2_",
}
PARTS = ("unet", "text_encoder", "text_encoder_2")


@torch.no_grad()
def fuse_lora(pipeline: Inpainter, model: str) -> None:
    """Add a LoRA to the weights of a pipeline's U-Net and text encoders, in float32, in place.

    model: a safetensors file, or `owner/name@revision:path/in/the/repo.safetensors`. Raises FileNotFoundError without
    it; ValueError for a damaged file, and one line that names a tensor which is of no layer of the pipeline, has
    another shape, lacks its other half or is not finite.
    """
    path = find_hub_file(model, "safetensors")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{model}: not a safetensors file, or cut short: {error}") from error
    layers = _layers(pipeline)
    for name, parts in _by_layer(model, tensors).items():
        if name not in layers:
            raise ValueError(f"{model}: no LoRA of this pipeline: it has no layer {name}")
        weight = layers[name].weight
        if not {"down", "up"} <= parts.keys():
            raise ValueError(f"{model}: {name}: expected a down and an up matrix, found {', '.join(sorted(parts))}")
        down, up = (parts[half].to(weight.device).float() for half in ("down", "up"))
        rank = len(down)
        if up.shape[:2] != (len(weight), rank) or down[0].numel() != weight[0].numel():
            raise ValueError(
                f"{model}: {name}: {list(up.shape)} by {list(down.shape)} is no change of a weight {list(weight.shape)}"
            )
        scale = parts["alpha"].item() / rank if "alpha" in parts else 1.0
        change = scale * (up.flatten(1) @ down.flatten(1)).view_as(weight)
        if not change.isfinite().all():
            raise ValueError(f"{model}: {name}: not finite")
        weight.copy_(weight.float() + change)


def _layers(pipeline: Inpainter) -> dict[str, torch.nn.Module]:
    """The linear and convolutional layers of the networks, by their names with _ for every dot."""
    return {
        _plain(f"{part}_{name}"): module
        for part in PARTS
        for name, module in (getattr(pipeline, part).named_modules() if hasattr(pipeline, part) else ())
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }


def _by_layer(model: str, tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        ending = next((ending for ending in ENDINGS if key.endswith(ending)), None)
        if ending is None:
            raise ValueError(f"{model}: {key}: expected names of tensors that end with {', '.join(ENDINGS)}")
        name = key.removesuffix(ending)
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
        name = _plain(PREFIXES.get(prefix, "") + name.removeprefix(prefix))
        layers.setdefault(name, {})[ENDINGS[ending]] = tensor
    return layers


def _plain(name: str) -> str:
    """Without dots, and without the level `text_model`, which versions of transformers have or have not."""
    return name.replace(".", "_").replace("_text_model_", "_")
