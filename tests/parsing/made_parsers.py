"""Tiny segmentation models of random weights, each in its real repository's file layout.

`preprocessor_config.json` holds the keys of the repository named beside it, with smaller sizes.
"""

import json
import re

import torch
from transformers import (
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    BeitConfig,
    ConvNextConfig,
    Data2VecVisionConfig,
    DPTConfig,
    EomtConfig,
    EomtDinov3Config,
    Mask2FormerConfig,
    MaskFormerConfig,
    OneFormerConfig,
    Sapiens2Config,
    SegformerConfig,
    UperNetConfig,
)

NAMES = ["Background", "Hair", "Upper_Clothing", "Torso", "Lower_Clothing", "Left_Foot", "Left_Shoe"]
CLOTHES = (2, 4, 6)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
STANDARD = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
FLAGS = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 0.00392156862745098}
VIT = {
    "image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip
SWIN = {
    "model_type": "swin", "image_size": 32, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "window_size": 2, "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
QUERIES = {
    "num_queries": 8, "encoder_feedforward_dim": 8, "dim_feedforward": 8, "num_attention_heads": 2,
    "encoder_layers": 1, "decoder_layers": 2,
}  # fmt: skip
SENTENCE = "the task is semantic"
SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
LETTERS = sorted(set(SENTENCE) - {" "})
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "th", "the</w>", *SPECIAL]

CONFIGS = {
    "segformer": lambda names: SegformerConfig(
        depths=(1, 1), num_encoder_blocks=2, hidden_sizes=(8, 16), decoder_hidden_size=8, num_attention_heads=(1, 2),
        sr_ratios=(2, 1), patch_sizes=(3, 3), strides=(2, 2), mlp_ratios=(1, 1), **names,
    ),
    "upernet": lambda names: UperNetConfig(
        backbone_config=ConvNextConfig(
            hidden_sizes=[8] * 4, depths=[1] * 4, out_features=["stage1", "stage2", "stage3", "stage4"]
        ),
        hidden_size=8, pool_scales=[1, 2], auxiliary_in_channels=8, auxiliary_channels=8, **names,
    ),
    "beit": lambda names: BeitConfig(
        **VIT, out_indices=[1, 2, 3, 4], pool_scales=[1, 2], auxiliary_channels=8, use_relative_position_bias=True,
        **names,
    ),
    "data2vec-vision": lambda names: Data2VecVisionConfig(
        **VIT, out_indices=[1, 2, 3, 4], pool_scales=[1, 2], auxiliary_channels=8, **names
    ),
    "dpt": lambda names: DPTConfig(
        **VIT, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8] * 4, fusion_hidden_size=8, **names
    ),
    "sapiens2": lambda names: Sapiens2Config(
        **{**VIT, "image_size": [32, 24], "num_hidden_layers": 2}, num_register_tokens=2,
        head_config={"upsample_out_channels": [8, 8], "conv_out_channels": [8]}, **names,
    ),
    "maskformer": lambda names: MaskFormerConfig(
        backbone_config={**SWIN}, fpn_feature_size=32, mask_feature_size=32,
        decoder_config={
            "model_type": "detr", "d_model": 16, "num_queries": 8, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
        },
        **names,
    ),
    "mask2former": lambda names: Mask2FormerConfig(
        backbone_config={**SWIN}, feature_size=32, mask_feature_size=32, hidden_dim=32, **QUERIES, **names
    ),
    "oneformer": lambda names: OneFormerConfig(
        backbone_config={**SWIN}, conv_dim=32, mask_dim=32, hidden_dim=32, text_encoder_width=64,
        text_encoder_num_layers=1, text_encoder_vocab_size=len(VOCABULARY), text_encoder_n_ctx=2, **QUERIES, **names,
    ),
    "eomt": lambda names: EomtConfig(
        **{**VIT, "num_hidden_layers": 3}, mlp_ratio=1, num_blocks=1, num_queries=8, num_upscale_blocks=1, **names
    ),
    "eomt_dinov3": lambda names: EomtDinov3Config(
        **{**VIT, "num_hidden_layers": 3}, num_blocks=1, num_queries=8, num_upscale_blocks=1, **names
    ),
}  # fmt: skip
EOMT = {**FLAGS, **IMAGENET, "ignore_index": None, "image_processor_type": "EomtImageProcessorFast", "resample": 2}
PROCESSORS = {
    "segformer": {  # mattmdjaga/segformer_b2_clothes
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "SegformerFeatureExtractor", **IMAGENET,
        "reduce_labels": False, "resample": 2, "size": {"height": 32, "width": 32},
    },
    "upernet": {  # openmmlab/upernet-convnext-tiny
        **FLAGS, **IMAGENET, "do_reduce_labels": True, "image_processor_type": "SegformerImageProcessor",
        "resample": 2, "size": {"height": 32, "width": 32},
    },
    "beit": {  # microsoft/beit-base-finetuned-ade-640-640
        "crop_size": 32, "do_center_crop": False, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "BeitFeatureExtractor", **STANDARD, "reduce_labels": True, "resample": 2, "size": 32,
    },
    "data2vec-vision": {  # as BEiT's
        "crop_size": 32, "do_center_crop": False, "do_normalize": True, "do_resize": True,
        "feature_extractor_type": "BeitFeatureExtractor", **STANDARD, "reduce_labels": True, "resample": 2, "size": 32,
    },
    "dpt": {  # Intel/dpt-large-ade
        "do_normalize": True, "do_resize": True, "ensure_multiple_of": 1, "feature_extractor_type":
        "DPTFeatureExtractor", **STANDARD, "keep_aspect_ratio": False, "resample": 2, "size": 32,
    },
    "sapiens2": {  # facebook/sapiens2-seg-0.4b
        **FLAGS, **IMAGENET, "crop_size": {"height": 224, "width": 224}, "do_center_crop": False, "do_pad": False,
        "image_processor_type": "Sapiens2ImageProcessor", "resample": 2, "size": {"height": 32, "width": 24},
    },
    "maskformer": {  # facebook/maskformer-swin-tiny-ade
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "MaskFormerFeatureExtractor",
        "ignore_index": 255, **IMAGENET, "max_size": 256, "reduce_labels": True, "resample": 2, "size": 64,
        "size_divisibility": 32,
    },
    "mask2former": {  # facebook/mask2former-swin-tiny-ade-semantic, and proportions kept as in its panoptic one
        **FLAGS, **IMAGENET, "_max_size": 256, "ignore_index": 255, "image_processor_type": "Mask2FormerImageProcessor",
        "num_labels": 150, "reduce_labels": True, "resample": 2, "size": {"longest_edge": 256, "shortest_edge": 64},
        "size_divisor": 32,
    },
    "oneformer": {  # shi-labs/oneformer_ade20k_swin_tiny
        **FLAGS, **IMAGENET, "_max_size": 256, "class_info_file": "ade20k_panoptic.json", "ignore_index": 255,
        "image_processor_type": "OneFormerImageProcessor", "num_labels": 150, "num_text": 134,
        "metadata": {"0": "wall", "thing_ids": [1], "class_names": ["wall"]}, "processor_class": "OneFormerProcessor",
        "repo_path": "shi-labs/oneformer_demo", "resample": 2, "size": {"longest_edge": 256, "shortest_edge": 64},
    },
    # tue-mps/ade20k_semantic_eomt_large_512, and the panoptic one of 640 pixels
    "eomt": {**EOMT, "do_pad": False, "do_split_image": True, "size": {"longest_edge": None, "shortest_edge": 32}},
    "eomt_dinov3": {**EOMT, "do_pad": True, "do_split_image": False, "size": {"longest_edge": 32, "shortest_edge": 32}},
}  # fmt: skip
SEMANTIC = ("segformer", "upernet", "beit", "data2vec-vision", "dpt", "sapiens2")
UNIVERSAL = ("maskformer", "mask2former", "oneformer", "eomt", "eomt_dinov3")


def save_parser(folder, family, names=NAMES, **processor):
    """A model whose weights are large enough that its labels differ from place to place, and what lies beside it."""
    torch.manual_seed(1)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    auto = AutoModelForSemanticSegmentation if family in SEMANTIC else AutoModelForUniversalSegmentation
    network = auto.from_config(CONFIGS[family](labels))
    for name, weights in network.named_parameters():
        if weights.dim() > 1:
            gain = 6 if re.search(r"class_(predictor|embed)|mask_(embed|head)", name) else 1.5
            torch.nn.init.normal_(weights, std=gain * weights[0].numel() ** -0.5)
    network.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {**PROCESSORS[family], **processor})
    if family == "oneformer":
        write_json(folder / "vocab.json", {token: number for number, token in enumerate(VOCABULARY)})
        (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\n")
        end = SPECIAL[1]
        tokens = {"bos_token": SPECIAL[0], "eos_token": end, "pad_token": end, "unk_token": end}
        write_json(folder / "special_tokens_map.json", tokens)
        write_json(
            folder / "tokenizer_config.json",
            {**tokens, "errors": "replace", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"},
        )
    return folder


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2) + "\n")
