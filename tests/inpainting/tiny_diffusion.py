"""A random pipeline of the real classes, a few thousand parameters, and pictures for it."""

from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from dlcr.pretrain.diffusion_parts import build_scheduler, build_tokenizer

torch.set_num_threads(1)
diffusers.logging.set_verbosity_error()
SIZE = 32, 16


def save_random_pipeline(folder: Path, in_channels: int = 9) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=SIZE[0],
        scaling_factor=1.0,
    )
    unet = UNet2DConditionModel(
        sample_size=SIZE[0] // 2,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def draw_pictures(count: int, size: tuple[int, int] = SIZE) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random images and masks."""
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]
    masks = []
    for number in range(count):
        mask = np.zeros(size, bool)
        mask[size[0] // 4 : -4, 3 + number % 3 : -3] = True
        masks.append(mask)
    return images, masks
