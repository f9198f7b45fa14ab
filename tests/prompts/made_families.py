"""More small vision-language models of random weights: families whose pictures become tiles or rows of patches."""

import json
from pathlib import Path

from made_models import CLIP_MEAN, CLIP_STD, SHAPE, TEMPLATE, byte_tokenizer, llama, save_model, write
from made_models import KINDS as FIRST
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    Florence2Config,
    Idefics3Config,
    InternVLConfig,
    LlavaConfig,
    LlavaOnevisionConfig,
    Mistral3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    SmolVLMConfig,
)

HALF = [0.5] * 3
PLAIN = {"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False}


def named_tokens(folder: Path, tokenizer: PreTrainedTokenizerFast, **names: str) -> None:
    """Saves a tokenizer whose special tokens have names of their own."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    write(path, json.loads(path.read_text()) | names | {"extra_special_tokens": names})


def saying(tokenizer: PreTrainedTokenizerFast, form: str) -> PreTrainedTokenizerFast:
    """The tokenizer, which puts these special tokens around a text ($A) by itself."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=form, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def make_llava_onevision(folder: Path) -> None:
    """As llava-hf/llava-onevision-qwen2-7b-ov-hf, with tiles of 56x56 instead of 384x384."""
    tokenizer = byte_tokenizer("<image>", "<video>")
    tokenizer.save_pretrained(folder)
    grid = [[56 * rows, 56 * columns] for rows in range(1, 4) for columns in range(1, 4)]
    config = LlavaOnevisionConfig(
        vision_config=SHAPE | SIGLIP | {"image_size": 56, "patch_size": 14},
        text_config=llama(tokenizer),
        image_grid_pinpoints=grid,
        image_token_index=3,
        video_token_index=4,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        tie_word_embeddings=False,
    )
    save_model(folder, config)
    named = {"processor_class": "LlavaOnevisionProcessor"}
    pictures = {"image_processor_type": "LlavaOnevisionImageProcessor", "image_grid_pinpoints": grid, "do_pad": True}
    pictures |= {"image_mean": HALF, "image_std": HALF, "resample": 3, "size": {"height": 56, "width": 56}}
    write(folder / "preprocessor_config.json", PLAIN | named | pictures)
    (folder / "video_processor").mkdir()
    videos = {"video_processor_type": "LlavaOnevisionVideoProcessor", "size": pictures["size"]}
    write(folder / "video_processor" / "preprocessor_config.json", PLAIN | named | videos)
    tokens = {"image_token": "<image>", "video_token": "<video>", "num_image_tokens": 16}
    write(folder / "processor_config.json", named | tokens | {"vision_feature_select_strategy": "full"})
    write(folder / "chat_template.json", {"chat_template": TEMPLATE.replace("IMAGE", "<image>")})


def make_internvl(folder: Path) -> None:
    """As OpenGVLab/InternVL3-1B-hf, with tiles of 56x56 instead of 448x448."""
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    names |= {"video_token": "<video>"}
    tokenizer = byte_tokenizer(*names.values())
    named_tokens(folder, tokenizer, **names)
    config = InternVLConfig(
        vision_config=SHAPE | {"image_size": [56, 56], "patch_size": [14, 14]},
        text_config=llama(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    save_model(folder, config)
    named = {"processor_class": "InternVLProcessor"}
    pictures = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3}
    pictures |= {"size": {"height": 56, "width": 56}}
    tiles = {"image_processor_type": "GotOcr2ImageProcessorFast", "crop_to_patches": False, "max_patches": 12}
    write(folder / "preprocessor_config.json", PLAIN | named | pictures | tiles | {"min_patches": 1})
    videos = {"video_processor_type": "InternVLVideoProcessor"}
    write(folder / "video_preprocessor_config.json", PLAIN | named | pictures | videos)
    write(folder / "processor_config.json", named | {"image_seq_length": 4})
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>\n"))


def make_idefics(folder: Path, kind: type[PretrainedConfig], name: str) -> None:
    """Tiles of 32x32 instead of 512x512 or 364x364."""
    names = {"fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>"}
    names |= {"image_token": "<image>", "end_of_utterance_token": "<end_of_utterance>"}
    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = byte_tokenizer(*names.values(), *rows)
    named_tokens(folder, tokenizer, **names)
    config = kind(
        vision_config=SHAPE | {"image_size": 32, "patch_size": 8},
        text_config=llama(tokenizer),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    save_model(folder, config)
    named = {"processor_class": f"{name}Processor"}
    pictures = {"image_processor_type": f"{name}ImageProcessor", "do_image_splitting": True, "do_pad": True}
    pictures |= {"image_mean": HALF, "image_std": HALF, "resample": 1, "max_image_size": {"longest_edge": 32}}
    write(folder / "preprocessor_config.json", PLAIN | named | pictures | {"size": {"longest_edge": 128}})
    write(folder / "processor_config.json", named | {"image_seq_len": 4})
    write(folder / "chat_template.json", {"chat_template": TEMPLATE.replace("IMAGE", "<image>")})


def make_pixtral(folder: Path, kind: type[PretrainedConfig], patch: int, merged: int, pictures: dict) -> None:
    tokenizer = saying(byte_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]"), "<s> $A")
    tokenizer.save_pretrained(folder)
    vision = {"model_type": "pixtral", "head_dim": 8, "image_size": 128, "patch_size": patch, "rope_theta": 10000.0}
    merging = {"spatial_merge_size": merged} if merged > 1 else {"vision_feature_select_strategy": "full"}
    config = kind(
        vision_config=SHAPE | vision,
        text_config=llama(tokenizer),
        image_token_index=3,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        **merging,
    )
    save_model(folder, config)
    named = {"processor_class": "PixtralProcessor"}
    pictures = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "resample": 3, "size": {"longest_edge": 128}} | pictures
    write(folder / "preprocessor_config.json", PLAIN | named | pictures)
    tokens = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    merging = {"spatial_merge_size": merged} if merged > 1 else {}
    write(folder / "processor_config.json", named | tokens | merging | {"patch_size": patch})
    write(folder / "chat_template.json", {"chat_template": "{{ bos_token }}" + TEMPLATE.replace("IMAGE", "[IMG]")})


def make_pixtral_12b(folder: Path) -> None:
    """As mistral-community/pixtral-12b: a LLaVA by its configuration; pictures of 128 at most instead of 1024."""
    pictures = {"image_processor_type": "PixtralImageProcessor", "patch_size": {"height": 16, "width": 16}}
    make_pixtral(folder, LlavaConfig, 16, 1, pictures)


def make_mistral_3(folder: Path) -> None:
    """As mistralai/Mistral-Small-3.1-24B-Instruct-2503: four patches become one; 128 at most instead of 1540."""
    make_pixtral(folder, Mistral3Config, 14, 2, {"image_processor_type": "PixtralImageProcessorFast", "patch_size": 14})


def make_florence_2(folder: Path) -> None:
    """As florence-community/Florence-2-base: an encoder with a decoder behind it, without a chat template."""
    tokenizer = saying(byte_tokenizer(), "<s> $A </s>")
    named_tokens(folder, tokenizer, image_token="<image>")
    stages = {"depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1]}
    stages |= {"patch_prenorm": [False, True], "embed_dim": [8, 16], "num_heads": [1, 2], "num_groups": [1, 2]}
    text = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": len(tokenizer), "init_std": 1.0}
    text |= {"tie_word_embeddings": False}
    text |= {
        f"{side}_{name}": 2 if name == "attention_heads" else 16
        for side in ("encoder", "decoder")
        for name in ("attention_heads", "ffn_dim")
    }
    config = Florence2Config(
        vision_config=stages | {"window_size": 4, "projection_dim": 16},
        text_config=BartConfig(**text, bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=2),
        image_token_id=3,
        tie_word_embeddings=False,
    )
    save_model(folder, config)
    named = {"processor_class": "Florence2Processor"}
    pictures = {"image_processor_type": "CLIPImageProcessorFast", "do_center_crop": False, "image_seq_length": 17}
    pictures |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3}
    pictures |= {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}}
    write(folder / "preprocessor_config.json", PLAIN | named | pictures)
    write(folder / "processor_config.json", named | {"num_additional_image_tokens": 0})


NEWER = {
    "llava-onevision": make_llava_onevision,
    "internvl 3": make_internvl,
    "smolvlm 2": lambda folder: make_idefics(folder, SmolVLMConfig, "SmolVLM"),
    "idefics 3": lambda folder: make_idefics(folder, Idefics3Config, "Idefics3"),
    "pixtral": make_pixtral_12b,
    "mistral 3": make_mistral_3,
    "florence 2": make_florence_2,
}
KINDS = FIRST | NEWER
