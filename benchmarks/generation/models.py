"""The paper's architectures with random weights, or tiny models of the same classes, saved in folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)

from dlcr.pretrain.diffusion_parts import build_tokenizer
from dlcr.pretrain.words import make_tokenizer
from dlcr.runtime.networks import device

QUESTION = "What clothes is the person wearing?"
ATR = (
    "Background, Hat, Hair, Sunglasses, Upper-clothes, Skirt, Pants, Dress, Belt, Left-shoe, Right-shoe, Face, "
    "Left-leg, Right-leg, Left-arm, Right-arm, Bag, Scarf"
)
CHAT = (
    "{% for message in messages %}USER: {% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<image>{% else %} {{ item['text'] }}{% endif %}"
    "{% endfor %}{% endfor %} ASSISTANT:"
)


@contextmanager
def random_weights(dtype: torch.dtype = torch.bfloat16) -> Iterator[None]:
    """Models made inside are of this type and on the GPU, if there is one."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device()), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def save_stable_diffusion(folder: Path, tiny: bool) -> None:
    """Stable Diffusion 1.5 inpainting: 860 M parameters of U-Net with nine input channels, CLIP-L/14's texts."""
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 77
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    small_text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    widths, norm = ((8, 8, 16, 16), 4) if tiny else ((320, 640, 1280, 1280), 32)
    cells = (8, 8, 8, 8) if tiny else (128, 256, 512, 512)
    with random_weights():
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                max_position_embeddings=77,
                hidden_act="quick_gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **(small_text if tiny else text),
            )
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=cells,
            layers_per_block=1 if tiny else 2,
            norm_num_groups=norm,
            sample_size=512,
        )
        unet = UNet2DConditionModel(  # the class's defaults are Stable Diffusion's blocks
            sample_size=64,
            in_channels=9,
            block_out_channels=widths,
            layers_per_block=1 if tiny else 2,
            norm_num_groups=norm,
            cross_attention_dim=encoder.config.hidden_size,
            attention_head_dim=2 if tiny else 8,
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
    StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def save_segformer(folder: Path, tiny: bool, dtype: torch.dtype = torch.bfloat16) -> None:
    """SegFormer-b2 with ATR's 18 labels."""
    shape = {"depths": (3, 4, 6, 3), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 768}
    small = {"depths": (1, 1, 1, 1), "hidden_sizes": (8, 16, 40, 64), "decoder_hidden_size": 16}
    with random_weights(dtype):
        config = SegformerConfig(id2label=dict(enumerate(ATR.split(", "))), **(small if tiny else shape))
        SegformerForSemanticSegmentation(config).save_pretrained(folder)
    side = 64 if tiny else 512
    SegformerImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)


def save_llava(folder: Path, tiny: bool) -> None:
    """The model of `make_llava` in bfloat16, and its processor, saved in a folder."""
    for part in make_llava(tiny, torch.bfloat16):
        part.save_pretrained(folder)


def make_llava(tiny: bool, dtype: torch.dtype) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """LLaVA-1.5-7B: CLIP-L/14 at 336 pixels and a LLaMA of 7 B parameters, which never ends an answer by itself."""
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    side = 28 if tiny else 336
    tokenizer = make_tokenizer([QUESTION], special=["<image>"], chat_template=CHAT)
    pictures = CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False)
    with random_weights(dtype):
        model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=CLIPVisionConfig(image_size=side, patch_size=14, **(small if tiny else vision)),
                text_config=LlamaConfig(
                    vocab_size=32_064,
                    max_position_embeddings=4096,
                    rms_norm_eps=1e-5,
                    eos_token_id=None,
                    pad_token_id=tokenizer.pad_token_id,
                    **(small if tiny else text),
                ),
                image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
                image_seq_length=(side // 14) ** 2,
            )
        )
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return model.eval(), processor
