"""A tiny Kandinsky 2.2, its prior, and what diffusers' own pipelines make of the same noise."""

from pathlib import Path

import torch
from diffusers import (
    DDPMScheduler,
    KandinskyV22InpaintPipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
)
from tiny_diffusion import SIZE
from tiny_families import tiny_clip
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from dlcr.inpainting.families.kandinsky import PRIOR_GUIDANCE, PRIOR_STEPS
from dlcr.pretrain.diffusion_parts import build_tokenizer
from dlcr.runtime.seeds import seed_of


def save_kandinsky(folder: Path, variance_type: str = "fixed_small") -> None:
    """The decoder's repository, and the prior's in the folder `prior` of it."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIZE[0] // 2,
        in_channels=9,
        out_channels=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=8,
        encoder_hid_dim=12,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    )
    movq = VQModel(
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(32, 32),  # its norms have 32 groups
        layers_per_block=1,
        latent_channels=4,
        num_vq_embeddings=12,
        norm_num_groups=4,
        vq_embed_dim=4,
        norm_type="spatial",
    )
    movq.decoder.conv_out.weight.data.mul_(0.1)  # or most pixels are black or white
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1, variance_type=variance_type
    )
    KandinskyV22InpaintPipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder)
    tokenizer = build_tokenizer()
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=6, embedding_dim=12, num_layers=1, num_embeddings=16
    )
    prior.clip_mean.data.uniform_(-0.5, 0.5)
    prior.clip_std.data.uniform_(0.5, 1.5)
    vision = CLIPVisionConfig(
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=12,
        image_size=16,
        patch_size=8,
    )
    KandinskyV22PriorPipeline(
        prior=prior,
        image_encoder=CLIPVisionModelWithProjection(vision),
        text_encoder=tiny_clip(tokenizer, CLIPTextModelWithProjection, 12),
        tokenizer=tokenizer,
        scheduler=UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0),
        image_processor=CLIPImageProcessorPil(),
    ).save_pretrained(folder / "prior")


def kandinsky_prior(folder: Path, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeddings [1, D] of a prompt and of none, by diffusers' pipeline with the noise of our generator."""
    pipeline = KandinskyV22PriorPipeline.from_pretrained(folder / "prior")
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed_of("Kandinsky's prior", prompt))
    return pipeline(
        prompt, num_inference_steps=PRIOR_STEPS, guidance_scale=PRIOR_GUIDANCE, generator=generator
    ).to_tuple()


def kandinsky(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    """The generator that the noise came from draws that of each step too."""
    pipeline = KandinskyV22InpaintPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    image, zero = kandinsky_prior(folder, prompt)
    return pipeline(
        image_embeds=image,
        negative_image_embeds=zero,
        image=pixels,
        mask_image=mask.clone(),
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
        **settings,
    ).images
