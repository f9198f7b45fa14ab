"""The parts of the mini IP-Adapter, all real classes, and the folder they are saved to: h94/IP-Adapter's layout.

CLIPVisionModelWithProjection (48 x 48 pixels), diffusers' ImageProjection to four tokens, and a pair of matrices for
each layer of the U-Net that reads the text.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from dlcr.pretrain.diffusion_parts import TEXT_WIDTH
from dlcr.runtime.files import atomic_path

SIDE = 48
TOKENS = 4
"""What diffusers expects of an IP-Adapter that is no Plus."""
FOLDER, WEIGHTS = "models", "ip-adapter_sd15.safetensors"


def build_image_encoder() -> CLIPVisionModelWithProjection:
    """Three layers of width 128 over 8 x 8 patches of 6 pixels: 0.6 M parameters."""
    config = CLIPVisionConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        projection_dim=2 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=6,
        initializer_factor=1.0,
    )
    return CLIPVisionModelWithProjection(config)


def build_processor() -> CLIPImageProcessorPil:
    """Resizes a garment's picture to SIDE x SIDE, with CLIP's own means and deviations."""
    return CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE)


def pixels_of(pictures: list[np.ndarray]) -> Tensor:
    """Pictures uint8 [H, W, 3] as the encoder's input, float32 [N, 3, SIDE, SIDE]."""
    return build_processor()(pictures, return_tensors="pt", input_data_format="channels_last").pixel_values


def attach(unet: UNet2DConditionModel) -> tuple[nn.Module, nn.ModuleList]:
    """Puts a new adapter into the U-Net by diffusers' own loader: its projection, and its attention processors that
    have weights, in the file's order. Each matrix begins as the layer's own for the text."""
    layers = [name.removesuffix(".processor") for name in unet.attn_processors if not name.endswith("attn1.processor")]
    attention = {
        f"{2 * number + 1}.to_{part}_ip.weight": getattr(unet.get_submodule(layer), f"to_{part}")
        .weight.detach()
        .clone()
        for number, layer in enumerate(layers)
        for part in "kv"
    }
    width, wide = TEXT_WIDTH, 2 * TEXT_WIDTH
    line = nn.Linear(wide, TOKENS * width)
    projection = {
        "proj.weight": line.weight.detach(), "proj.bias": line.bias.detach(), "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }  # fmt: skip
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": attention}], low_cpu_mem_usage=False)
    processors = nn.ModuleList([one for one in unet.attn_processors.values() if isinstance(one, nn.Module)])
    for module in (unet.encoder_hid_proj, processors):
        module.requires_grad_(True)
    return unet.encoder_hid_proj, processors


def save_adapter(
    folder: Path, encoder: CLIPVisionModelWithProjection, projection: nn.Module, layers: nn.ModuleList
) -> None:
    """Saves in half precision what `load_ip_adapter` reads: <folder>/models/ip-adapter_sd15.safetensors and
    <folder>/models/image_encoder."""
    inner = projection.image_projection_layers[0]
    tensors = {
        "image_proj.proj.weight": inner.image_embeds.weight, "image_proj.proj.bias": inner.image_embeds.bias,
        "image_proj.norm.weight": inner.norm.weight, "image_proj.norm.bias": inner.norm.bias,
    }  # fmt: skip
    for number, layer in enumerate(layers):
        for part in "kv":
            tensors[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = getattr(layer, f"to_{part}_ip")[0].weight
    place = folder / FOLDER / "image_encoder"
    place.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / FOLDER / WEIGHTS) as part:
        save_file({name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}, part)
    copy.deepcopy(encoder).half().save_pretrained(place)
    build_processor().save_pretrained(place)
    for path in (folder / FOLDER).rglob("*.*"):
        path.chmod(0o644)  # weights are written for their owner only
