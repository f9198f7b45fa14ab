"""A random IP-Adapter for a tiny pipeline, in the layout and with the names of h94/IP-Adapter; and pictures for it."""

from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from tiny_diffusion import draw_pictures
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dlcr.inpainting.garments import garment_picture

SIDE, HIDDEN, EMBEDDED = 8, 12, 6
"""Of the image encoder: pixels on a side, width of its layers, of its embedding."""
TOKENS, QUERIES, INNER = 4, 3, 64


def save_adapter(folder: Path, model: str | Path, file: str, plus: bool = False) -> None:
    """Weights for the U-Net of a pipeline, as `file` below the folder, and an image encoder beside them."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    path = folder / file
    config = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=4,
        projection_dim=EMBEDDED,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(path.parent / "image_encoder")
    tensors = plus_projection(unet) if plus else plain_projection(unet)
    tensors = {f"image_proj.{name}": tensor for name, tensor in tensors.items()}
    layers = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, layer in enumerate(layers):
        shape = unet.get_submodule(layer.removesuffix(".processor")).to_k.weight.shape
        for part in "kv":
            tensors[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = torch.randn(shape)
    save_file(tensors, path)


def plain_projection(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    width = unet.config.cross_attention_dim
    return {
        "proj.weight": torch.randn(TOKENS * width, EMBEDDED),
        "proj.bias": torch.randn(TOKENS * width),
        "norm.weight": torch.rand(width) + 0.5,
        "norm.bias": torch.randn(width),
    }


def plus_projection(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    width = unet.config.cross_attention_dim
    shapes = {
        "latents": (1, QUERIES, INNER),
        "proj_in.weight": (INNER, HIDDEN),
        "proj_in.bias": (INNER,),
        "proj_out.weight": (width, INNER),
        "proj_out.bias": (width,),
        "norm_out.weight": (width,),
        "norm_out.bias": (width,),
    }
    for layer in range(4):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"layers.{layer}.{norm}.{part}": (INNER,) for part in ("weight", "bias")}
        shapes |= {f"layers.{layer}.0.{name}.weight": (INNER, INNER) for name in ("to_q", "to_out")}
        shapes |= {f"layers.{layer}.0.to_kv.weight": (2 * INNER, INNER)}
        shapes |= {f"layers.{layer}.1.1.weight": (4 * INNER, INNER), f"layers.{layer}.1.3.weight": (INNER, 4 * INNER)}
    return {name: torch.randn(shape) / 2 for name, shape in shapes.items()}


def draw_garments(count: int) -> list[np.ndarray]:
    """Pictures of the clothes of random images."""
    images, masks = draw_pictures(count, (24, 16))
    return [garment_picture(255 - image, mask) for image, mask in zip(images, masks, strict=True)]
