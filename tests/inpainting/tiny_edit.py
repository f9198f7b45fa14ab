"""A tiny Qwen-Image-Edit, and what diffusers' own pipeline makes of the same noise."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from diffusers import QwenImageEditInpaintPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_inpaint
from PIL import Image
from tiny_families import means_only, save_qwen_image, tiny_qwen_tokenizer, unpack
from transformers import Qwen2VLImageProcessorPil, Qwen2VLProcessor

from dlcr.prompts.processor import LeftOut, _for_pictures

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def save_qwen_image_edit(folder: Path) -> None:
    """Qwen-Image's architecture, an index of its own, and a processor as in the published repository."""
    save_qwen_image(folder, *SPECIAL)
    Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}).save_pretrained(
        folder / "processor"
    )
    path = folder / "model_index.json"
    index = json.loads(path.read_text()) | {"_class_name": "QwenImageEditPipeline"}
    path.write_text(json.dumps(index | {"processor": ["transformers", "Qwen2VLProcessor"]}))


def qwen_image_edit(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    """diffusers chooses the size itself, and leaves out which tokens are an image's: both are put right here."""
    tokenizer = tiny_qwen_tokenizer(*SPECIAL)
    images = Qwen2VLImageProcessorPil.from_pretrained(folder / "processor")
    processor = _for_pictures(Qwen2VLProcessor).from_args_and_dict([images, tokenizer, LeftOut()], {})
    pipeline = QwenImageEditInpaintPipeline.from_pretrained(folder, processor=processor)
    pipeline.set_progress_bar_config(disable=True)
    means_only(pipeline.vae)
    network = pipeline.text_encoder
    forward = network.forward
    network.forward = lambda **inputs: forward(
        mm_token_type_ids=(inputs["input_ids"] == network.config.image_token_id).int(), **inputs
    )
    scale, size = settings.pop("guidance_scale"), (settings.pop("width"), settings.pop("height"), None)
    with mock.patch.object(pipeline_qwenimage_edit_inpaint, "calculate_dimensions", return_value=size):
        tokens = pipeline(
            prompt=prompt,
            negative_prompt="",
            image=to_picture(pixels),
            mask_image=mask,
            generator=torch.Generator().manual_seed(5),
            output_type="latent",
            strength=1.0,
            true_cfg_scale=scale,
            **settings,
        ).images
    return unpack(tokens, *noise.shape[2:])


def to_picture(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(((pixels[0].permute(1, 2, 0) + 1) * 127.5).round().numpy().astype(np.uint8))
