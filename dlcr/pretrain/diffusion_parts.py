"""The parts of the small inpainting model, all real Hugging Face classes, and the folder they are saved to.

AutoencoderKL (factor 4: 96 x 48 pixels to 24 x 12 x 4), CLIPTextModel with a CLIPTokenizer that knows MiniCC's words,
UNet2DConditionModel with the nine input channels of Stable Diffusion inpainting, and a v-prediction schedule whose last
step is pure noise (zero terminal signal): at so few cells the usual schedule would leak the mean colour in training and
miss it when sampling.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dlcr.minicc import COLOURS, FOOTWEAR_KINDS, LOWER_KINDS, PATTERNS, UPPER_KINDS

SIZE = 96, 48
TEXT_WIDTH = 128
TEXT_LENGTH = 16
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer (byte-pair encoding): each of MiniCC's words is one token, other text falls into letters."""
    vocabulary = (*COLOURS, *PATTERNS, *UPPER_KINDS, *LOWER_KINDS, *FOOTWEAR_KINDS)
    words = {part for word in vocabulary for part in word.split("-")}
    merges = learn_merges(words)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), _START, _END]
    numbered = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=numbered, merges=merges, model_max_length=TEXT_LENGTH)


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first, until each word is one piece that ends in "</w>".

    Of equally frequent pairs the alphabet decides: the trainer of `tokenizers` picks another one from run to run.
    """
    pieces = [[*word[:-1], word[-1] + "</w>"] for word in sorted(words)]
    merges = []
    while pairs := Counter(pair for word in pieces for pair in pairwise(word)):
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        pieces = [_merge(word, merges[-1]) for word in pieces]
    return merges


def _merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in word:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers of width TEXT_WIDTH: enough to bind colours and patterns to their garments."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return CLIPTextModel(config)


def build_vae() -> AutoencoderKL:
    """1.6 M parameters; two halvings, four latent channels."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=SIZE[0],
        scaling_factor=1.0,
    )


def build_unet() -> UNet2DConditionModel:
    """8.5 M parameters; words are read at half and at a quarter of the latents' resolution."""
    return UNet2DConditionModel(
        sample_size=SIZE[0] // 4,
        in_channels=9,
        out_channels=4,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """Scaled-linear betas rescaled to zero terminal signal, v-prediction, steps counted from the noisy end."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # has no effect here; pipelines insist on it
    )


def save_pipeline(
    folder: Path, vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> None:
    """Saves the whole as a StableDiffusionInpaintPipeline in half precision, safetensors only.

    Written beside `folder` first, then each part is moved into its place; other files in `folder` stay.
    """
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(beside, safe_serialization=True)
    for source in sorted(path for path in beside.rglob("*") if path.is_file()):
        target = folder / source.relative_to(beside)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.chmod(0o644)  # weights are written for their owner only
        source.replace(target)
    shutil.rmtree(beside)
