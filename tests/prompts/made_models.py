"""Small vision-language models of random weights, with processor files as the real repositories have them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    Gemma3Config,
    InstructBlipConfig,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaProcessor,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
    T5Config,
)

TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
SIZE = {"height": 16, "width": 16}
QUERIES = 3
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLIP_336 = {
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 336},
}
"""LLaVA 1.5's; LLaVA-NeXT's has the same in other words."""


def byte_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """One token for a byte after <pad>, <s>, </s> and these."""
    special = special or ("<image>",)
    alphabet = ["<pad>", "<s>", "</s>", *special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def save_model(folder: Path, config: PretrainedConfig) -> None:
    """Weights in half precision, wild enough that pictures and questions change the answers."""
    model = AutoModelForImageTextToText.from_config(config)
    torch.nn.init.normal_(model.get_output_embeddings().weight)
    if hasattr(model, "query_tokens"):
        torch.nn.init.normal_(model.query_tokens)
        torch.nn.init.normal_(model.language_projection.weight)
    model.half().save_pretrained(folder)


def llama(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(**SHAPE, vocab_size=len(tokenizer), eos_token_id=2, pad_token_id=0, initializer_range=0.5)


def make_llava(folder: Path) -> None:
    tokenizer = byte_tokenizer()
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=SIZE, do_center_crop=False),
        tokenizer,
        patch_size=8,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SHAPE, image_size=16, patch_size=8),
        text_config=llama(tokenizer),
        image_token_index=3,
        vision_feature_select_strategy="default",
    )
    save_model(folder, config)
    processor.save_pretrained(folder)


def make_llava_1_5(folder: Path) -> None:
    """As llava-hf/llava-1.5-7b-hf: pictures of 336x336 by their middle, 576 tokens of 14x14."""
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SHAPE, image_size=336, patch_size=14),
        text_config=llama(tokenizer),
        image_token_index=3,
        vision_feature_select_strategy="default",
    )
    save_model(folder, config)
    named = {"processor_class": "LlavaProcessor"}
    write(folder / "preprocessor_config.json", CLIP_336 | named | {"image_processor_type": "CLIPImageProcessor"})
    patches = {"patch_size": 14, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    write(folder / "processor_config.json", named | patches | {"image_token": "<image>"})
    write(folder / "chat_template.json", {"chat_template": TEMPLATE.replace("IMAGE", "<image>\n")})


def make_llava_next(folder: Path) -> None:
    """As llava-hf/llava-v1.6-mistral-7b-hf: tiles, and a small picture of all."""
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    grid = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**SHAPE, image_size=336, patch_size=56),
        text_config=llama(tokenizer),
        image_token_index=3,
        image_grid_pinpoints=grid,
    )
    save_model(folder, config)
    named = {"processor_class": "LlavaNextProcessor"}
    tiles = {"image_processor_type": "LlavaNextImageProcessor", "image_grid_pinpoints": grid, "do_pad": True}
    write(folder / "preprocessor_config.json", CLIP_336 | named | tiles)
    patches = {"patch_size": 56, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    write(folder / "processor_config.json", named | patches | {"image_token": "<image>"})
    write(folder / "chat_template.json", {"chat_template": TEMPLATE.replace("IMAGE", "<image>\n")})


def make_instructblip(folder: Path, t5: bool = False) -> None:
    """As Salesforce/instructblip-vicuna-7b, whose files name the processor of its sibling for videos."""
    tokenizer, asked = byte_tokenizer(), byte_tokenizer("<image>", "[DEC]")
    small_t5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 260}
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**SHAPE, image_size=16, patch_size=8, initializer_range=0.5),
        qformer_config=InstructBlipQFormerConfig(**SHAPE, vocab_size=len(asked), initializer_range=0.5),
        text_config=T5Config(**small_t5, eos_token_id=2, decoder_start_token_id=0) if t5 else llama(tokenizer),
        num_query_tokens=QUERIES,
        image_token_index=3,
    )
    save_model(folder, config)
    pictures = BlipImageProcessorPil(size=SIZE)
    InstructBlipProcessor(pictures, tokenizer, asked, num_query_tokens=QUERIES).save_pretrained(folder)
    named = {"processor_class": "InstructBlipProcessor", "image_processor_type": "BlipImageProcessor"}
    write(folder / "preprocessor_config.json", pictures.to_dict() | named)
    write(
        folder / "processor_config.json",
        {"num_query_tokens": QUERIES, "processor_class": "InstructBlipVideoProcessor"},
    )


QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def make_qwen(folder: Path, kind: type[PretrainedConfig], vision: dict, rope: dict, pictures: dict) -> None:
    tokenizer = byte_tokenizer(*QWEN)
    tokenizer.save_pretrained(folder)
    token = tokenizer.convert_tokens_to_ids
    text = SHAPE | {"hidden_size": 32, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": len(tokenizer)}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6} | rope
    config = kind(
        text_config=text | {"rope_parameters": rope, "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0},
        vision_config={"depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 32}
        | vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    save_model(folder, config)
    write(folder / "preprocessor_config.json", {"temporal_patch_size": 2, "merge_size": 2} | pictures)
    videos = {"video_processor_type": pictures["processor_class"].replace("Processor", "VideoProcessor")}
    write(folder / "video_preprocessor_config.json", pictures | videos)
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    write(folder / "chat_template.json", {"chat_template": "<|im_start|>" + TEMPLATE.replace("IMAGE", picture)})


def make_qwen_2_5(folder: Path) -> None:
    """As Qwen/Qwen2.5-VL-7B-Instruct."""
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "patch_size": 14,
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }
    make_qwen(folder, Qwen2_5_VLConfig, {"fullatt_block_indexes": [1]}, {}, pictures)


def make_qwen_3(folder: Path) -> None:
    """As Qwen/Qwen3-VL-8B-Instruct; its smallest picture is smaller here."""
    pictures = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
        "patch_size": 16,
        "size": {"longest_edge": 16777216, "shortest_edge": 4096},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    vision = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    make_qwen(folder, Qwen3VLConfig, vision, {"mrope_interleaved": True}, pictures)


def make_gemma_3(folder: Path) -> None:
    """As google/gemma-3-4b-it, whose template says <bos> itself and whose pictures come in a list for each prompt."""
    tokenizer = byte_tokenizer("<start_of_image>", "<end_of_image>", "<image_soft_token>")
    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    write(path, json.loads(path.read_text()) | names | {"extra_special_tokens": names})
    token = tokenizer.convert_tokens_to_ids
    text = SHAPE | {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": len(tokenizer), "sliding_window": 64}
    config = Gemma3Config(
        text_config=text | {"eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1, "tie_word_embeddings": False},
        vision_config=SHAPE
        | {"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14}
        | {"vision_use_head": False},
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        image_token_index=token("<image_soft_token>"),
    )
    save_model(folder, config)
    pictures = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2, "rescale_factor": 1 / 255}
    pictures |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 56, "width": 56}}
    named = {"image_processor_type": "Gemma3ImageProcessor", "processor_class": "Gemma3Processor"}
    write(folder / "preprocessor_config.json", pictures | named | {"do_pan_and_scan": None, "image_seq_length": 4})
    write(folder / "processor_config.json", {"image_seq_length": 4, "processor_class": "Gemma3Processor"})
    template = "{{ bos_token }}" + TEMPLATE.replace("IMAGE", "<start_of_image>")
    write(folder / "chat_template.json", {"chat_template": template})


KINDS = {
    "llava": make_llava,
    "instructblip of LLaMA": make_instructblip,
    "instructblip of T5": lambda folder: make_instructblip(folder, t5=True),
    "llava 1.5": make_llava_1_5,
    "llava-next": make_llava_next,
    "qwen 2.5": make_qwen_2_5,
    "qwen 3": make_qwen_3,
    "gemma 3": make_gemma_3,
}
