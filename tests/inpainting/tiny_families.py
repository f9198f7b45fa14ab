"""A random pipeline of the real classes for each family of inpainters, a few thousand parameters each, and what
diffusers' own pipeline makes of the same noise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinInpaintPipeline,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxTransformer2DModel,
    QwenImageInpaintPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from tiny_diffusion import SIZE
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from dlcr.pretrain.diffusion_parts import build_scheduler, build_tokenizer


@dataclass(frozen=True)
class Tiny:
    """A family's tiny pipeline.

    save: writes it into a folder. reference: from the folder, the prompt, image [1, 3, H, W] in [-1, 1], mask [1, 1, H,
    W], noise [1, C, h, w], steps and guidance to the latents [1, C, h, w] of diffusers' pipeline. tolerance: of these.
    beside: settings of `Expander` that are folders of the same names in the model's.
    """

    save: Callable[[Path], None]
    reference: Callable[..., torch.Tensor]
    guidance: float
    tolerance: float = 1e-4
    beside: tuple[str, ...] = ()

    def settings(self, model: str) -> dict[str, str]:
        return {name: str(Path(model, name)) for name in self.beside}


def means_only(vae: torch.nn.Module) -> None:
    """Makes the encoder's distribution its mean, as ours takes: pipelines of diffusers draw from it."""
    encode = vae.encode

    def encode_means(*arguments: object, **keywords: object) -> object:
        found = encode(*arguments, **keywords)
        found.latent_dist.sample = lambda generator=None: found.latent_dist.mode()
        return found

    vae.encode = encode_means


def open_pipeline(kind: type[DiffusionPipeline], folder: Path) -> DiffusionPipeline:
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    means_only(pipeline.vae)
    return pipeline


def tiny_vae(channels: int = 4, **settings: object) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=SIZE[0],
        **settings,
    )


def tiny_clip(tokenizer: CLIPTokenizer, kind: type = CLIPTextModel, width: int = 16) -> CLIPTextModel:
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


# --- SDXL


def save_sdxl(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIZE[0] // 2,
        in_channels=9,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16 + 8,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 8,
    )
    StableDiffusionXLInpaintPipeline(
        vae=tiny_vae(scaling_factor=1.3),
        text_encoder=tiny_clip(tokenizer),
        text_encoder_2=tiny_clip(tokenizer, CLIPTextModelWithProjection, 8),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
    ).save_pretrained(folder)


def sdxl(folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object):
    return open_pipeline(StableDiffusionXLInpaintPipeline, folder)(
        prompt, image=pixels, mask_image=mask, latents=noise, output_type="latent", strength=1.0, **settings
    ).images


# --- FLUX.1 Fill


def tiny_t5_tokenizer() -> T5TokenizerFast:
    """One token for each letter."""
    letters = [(letter, -1.0) for letter in "▁|abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    return T5TokenizerFast(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -2.0), *letters], extra_ids=0)


def tiny_t5(tokenizer: T5TokenizerFast, width: int = 16) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )


def save_flux_fill(folder: Path) -> None:
    save_flux(folder, "FluxFillPipeline", 4 * 4 + 4 * 4 + 4 * 2 * 2)


def save_flux(folder: Path, kind: str, channels: int) -> None:
    torch.manual_seed(0)
    clip, t5 = build_tokenizer(), tiny_t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=channels,
        out_channels=4 * 4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    getattr(diffusers, kind)(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=tiny_vae(4, scaling_factor=1.3, shift_factor=0.1),
        text_encoder=tiny_clip(clip),
        tokenizer=clip,
        text_encoder_2=tiny_t5(t5),
        tokenizer_2=t5,
        transformer=transformer,
    ).save_pretrained(folder)


def flux_fill(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    tokens = open_pipeline(FluxFillPipeline, folder)(
        prompt, image=pixels, mask_image=mask, latents=pack(noise), output_type="latent", **settings
    ).images
    return unpack(tokens, *noise.shape[2:])


def pack(latents: torch.Tensor) -> torch.Tensor:
    return FluxFillPipeline._pack_latents(latents, *latents.shape)


def unpack(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return FluxFillPipeline._unpack_latents(tokens, 2 * height, 2 * width, 2)


# --- Stable Diffusion 3


def save_stable_diffusion_3(folder: Path) -> None:
    torch.manual_seed(0)
    clip, t5 = build_tokenizer(), tiny_t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=SIZE[0] // 2,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=16 + 8,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=tiny_vae(16, scaling_factor=1.3, shift_factor=0.1),
        text_encoder=tiny_clip(clip, CLIPTextModelWithProjection),
        tokenizer=clip,
        text_encoder_2=tiny_clip(clip, CLIPTextModelWithProjection, 8),
        tokenizer_2=clip,
        text_encoder_3=tiny_t5(t5, 32),
        tokenizer_3=t5,
    ).save_pretrained(folder)


def stable_diffusion_3(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    return open_pipeline(StableDiffusion3InpaintPipeline, folder)(
        prompt, image=pixels, mask_image=mask, latents=noise, output_type="latent", strength=1.0, **settings
    ).images


# --- FLUX.2 klein


def tiny_qwen_tokenizer(*special: str) -> Qwen2TokenizerFast:
    """One token for each byte, and one for each of these words."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = Qwen2TokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.add_tokens([*special], special_tokens=True)
    tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}{% endfor %}"
    return tokenizer


def save_flux2_klein(folder: Path, is_distilled: bool = False) -> None:
    torch.manual_seed(0)
    tokenizer = tiny_qwen_tokenizer()
    language = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=28,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        tie_word_embeddings=True,
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    vae.bn.running_mean.uniform_(-0.5, 0.5)
    vae.bn.running_var.uniform_(0.5, 1.5)
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(language),
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=is_distilled,
    ).save_pretrained(folder)


def flux2_klein(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    pipeline = open_pipeline(Flux2KleinInpaintPipeline, folder)
    latents = pipeline(
        prompt, image=pixels, mask_image=mask, latents=noise, output_type="latent", strength=1.0, **settings
    ).images
    norm = pipeline.vae.bn
    deviation = (norm.running_var + pipeline.vae.config.batch_norm_eps).sqrt()
    return (pipeline._patchify_latents(latents) - norm.running_mean[:, None, None]) / deviation[:, None, None]


# --- Qwen-Image


def save_qwen_image(folder: Path, *special: str) -> None:
    torch.manual_seed(0)
    tokenizer = tiny_qwen_tokenizer(*special)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
        "patch_size": 14,
    }
    places = {f"{word[2:-6]}_token_id": tokenizer.convert_tokens_to_ids(word) for word in special if "_pad" in word}
    language = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **places)
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, shift_terminal=0.02),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 2],
            num_res_blocks=1,
            temperal_downsample=[True],
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[1.1, 0.9, 1.2, 0.8],
        ),
        text_encoder=Qwen2_5_VLForConditionalGeneration(language),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder)


def qwen_image(
    folder: Path, prompt: str, pixels: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, **settings: object
) -> torch.Tensor:
    """diffusers 0.42 cannot be given `latents` here, so the generator that the noise came from draws it again."""
    pipeline = open_pipeline(QwenImageInpaintPipeline, folder)
    scale = settings.pop("guidance_scale")
    tokens = pipeline(
        prompt,
        image=pixels,
        mask_image=mask,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
        strength=1.0,
        true_cfg_scale=scale,
        negative_prompt="",
        **settings,
    ).images
    assert torch.equal(torch.randn(*noise.shape, generator=torch.Generator().manual_seed(5)), noise)
    return unpack(tokens, *noise.shape[2:])
