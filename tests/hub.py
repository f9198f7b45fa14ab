"""The models that profile prcc names, small: the file lists, configurations, tensors' names and classes of their
repositories, with random weights, so that the loading code meets what `hf download` brings.

    build(origin)  # origin/llava-hf/llava-1.5-7b-hf/config.json, ...

What must not be read is a stub, and code of a repository leaves a file `ran` behind. ResNet-50 has its true size: it
is built by name, not by its configuration. Language models name garments (`hub_words.say`).
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from hub_words import llama_tokenizer, say, token
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

from dlcr.pretrain.diffusion_parts import build_tokenizer

PARSER = "mattmdjaga/segformer_b2_clothes"
LLAVA = "llava-hf/llava-1.5-7b-hf"
INSTRUCTBLIP = "Salesforce/instructblip-vicuna-7b"
LLAMA = "meta-llama/Llama-2-7b-chat-hf"
INPAINTER = "stable-diffusion-v1-5/stable-diffusion-inpainting"
RESNET = "timm/resnet50.tv_in1k"

LABELS = [
    "Background", "Hat", "Hair", "Sunglasses", "Upper-clothes", "Skirt", "Pants", "Dress", "Belt", "Left-shoe",
    "Right-shoe", "Face", "Left-leg", "Right-leg", "Left-arm", "Right-arm", "Bag", "Scarf",
]  # fmt: skip
LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
LLAMA_TEMPLATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' '  + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
CLIP_PIXELS = {
    "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3, "rescale_factor": 0.00392156862745098,
}  # fmt: skip
TEXT = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "rms_norm_eps": 1e-05,
}  # fmt: skip
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 14,
}


def build(origin: Path) -> None:
    """All repositories, as origin/owner/name/..., the same bytes each time."""
    for repository, make in MAKERS.items():
        torch.manual_seed(0)
        make(origin / repository)


def segformer(folder: Path) -> None:
    """A parser that sees each label somewhere, with a handler of its own and what was left of its training."""
    content = {
        "architectures": ["SegformerForSemanticSegmentation"], "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": 0.1, "decoder_hidden_size": 32, "depths": [1, 1, 1, 1], "drop_path_rate": 0.1,
        "downsampling_rates": [1, 4, 8, 16], "hidden_act": "gelu", "hidden_sizes": [16, 32, 40, 64],
        "id2label": {str(number): LABELS[number] for number in sorted(range(18), key=str)}, "image_size": 224,
        "label2id": {label: LABELS.index(label) for label in sorted(LABELS)}, "mlp_ratios": [4, 4, 4, 4],
        "model_type": "segformer", "num_attention_heads": [1, 2, 5, 8], "num_channels": 3, "num_encoder_blocks": 4,
        "patch_sizes": [7, 3, 3, 3], "reshape_last_stage": True, "semantic_loss_ignore_index": 255,
        "sr_ratios": [8, 4, 2, 1], "strides": [4, 2, 2, 2],
    }  # fmt: skip
    network = SegformerForSemanticSegmentation(SegformerConfig(**content)).eval()
    with torch.no_grad():  # random logits prefer one label everywhere: each is given its share
        logits = network(pixel_values=nn.functional.interpolate(torch.randn(4, 3, 8, 8), (256, 256))).logits
        mean, std = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
        network.decode_head.classifier.weight.div_(std[:, None, None, None])
        network.decode_head.classifier.bias.sub_(mean).div_(std)
    write(folder, {"config.json": content | {"_name_or_path": "nvidia/mit-b2", "torch_dtype": "float32"}})
    save_shards(folder, network.state_dict())
    pixels = {
        "do_normalize": True, "do_resize": True, "feature_extractor_type": "SegformerFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "reduce_labels": False, "resample": 2,
        "size": 512,
    }  # fmt: skip
    write(folder, {"preprocessor_config.json": pixels, "trainer_state.json": {}})
    stubs(folder, "pytorch_model.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin")
    (folder / "handler.py").write_text("import pathlib\n\npathlib.Path(__file__).with_name('ran').touch()\n")


def llava(folder: Path) -> None:
    """LLaVA-1.5 with the tensors' names of its time, and a processor that cuts the middle square out of a picture."""
    tokenizer = llama_tokenizer(folder, ["<image>", "<pad>"], {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "clean_up_tokenization_spaces": False,
        "eos_token": "</s>", "extra_special_tokens": {"image_token": "<image>"}, "image_token": "<image>",
        "legacy": False, "pad_token": "<pad>", "padding_side": "left", "processor_class": "LlavaProcessor",
        "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>",
    })  # fmt: skip
    image, pad, size = tokenizer.token_to_id("<image>"), tokenizer.token_to_id("<pad>"), {"height": 56, "width": 56}
    content = {
        "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": image,
        "model_type": "llava", "pad_token_id": pad, "projector_hidden_act": "gelu",
        "text_config": TEXT | {"vocab_size": rows(tokenizer), "torch_dtype": "float16"},
        "vision_config": VISION | {"model_type": "clip_vision_model", "image_size": 56, "projection_dim": 16},
        "tie_word_embeddings": False, "torch_dtype": "float16", "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default", "vocab_size": rows(tokenizer),
    }  # fmt: skip
    write(folder, {
        "config.json": content, "added_tokens.json": {"<image>": image, "<pad>": pad},
        "special_tokens_map.json": {"bos_token": token("<s>"), "eos_token": token("</s>"), "image_token": "<image>",
                                    "pad_token": token("<pad>"), "unk_token": token("<unk>")},
        "chat_template.json": {"chat_template": LLAVA_TEMPLATE},
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": pad},
        "preprocessor_config.json": CLIP_PIXELS | {
            "crop_size": size, "do_center_crop": True, "image_processor_type": "CLIPImageProcessor",
            "processor_class": "LlavaProcessor", "size": {"shortest_edge": 56}},
        "processor_config.json": {
            "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": 14,
            "processor_class": "LlavaProcessor", "vision_feature_select_strategy": "default"},
    })  # fmt: skip
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE)
    network = LlavaForConditionalGeneration(LlavaConfig(**content))
    state = renamed(network, {
        r"^model\.vision_tower\.": "vision_tower.vision_model.", r"^model\.multi_modal": "multi_modal",
        r"^model\.language_model\.": "language_model.model.", r"^lm_head": "language_model.lm_head",
    })  # fmt: skip
    say(state, "language_model.model.embed_tokens.weight", "language_model.lm_head.weight", tokenizer,
        ": The person is wearing a red/white/gray shirt/jacket/sweater with blue/beige/brown jeans/pants/shorts and "
        "black/yellow/pink shoes/sneakers/boots .")  # fmt: skip
    save_shards(folder, halved(state), 3)


def instructblip(folder: Path) -> None:
    """InstructBLIP: two tokenizers, and a processor's configuration that names a class for videos, as the real one."""
    tokenizer = llama_tokenizer(folder, ["[PAD]", "<image>"], {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "</s>", "clean_up_tokenization_spaces": False,
        "eos_token": "</s>", "pad_token": "[PAD]", "processor_class": "InstructBlipProcessor",
        "tokenizer_class": "LlamaTokenizer", "truncation_side": "left", "unk_token": "</s>",
    })  # fmt: skip
    image = tokenizer.token_to_id("<image>")
    letters = "abcdefghijklmnopqrstuvwxyz?"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    questions = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, do_lower_case=True)
    questions.add_special_tokens({"bos_token": "[DEC]"})
    questions.save_pretrained(folder / "qformer_tokenizer")
    (folder / "qformer_tokenizer" / "vocab.txt").write_text("\n".join(words) + "\n")
    content = {
        "architectures": ["InstructBlipForConditionalGeneration"], "image_token_index": image, "num_query_tokens": 4,
        "model_type": "instructblip", "qformer_config": {
            "model_type": "instructblip_qformer", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "encoder_hidden_size": 32, "vocab_size": len(questions)},
        "text_config": TEXT | {"vocab_size": rows(tokenizer), "pad_token_id": 0, "torch_dtype": "float16"},
        "tie_word_embeddings": False, "torch_dtype": "float16", "use_decoder_only_language_model": True,
        "vision_config": VISION | {"model_type": "instructblip_vision_model", "image_size": 28},
    }  # fmt: skip
    write(folder, {
        "config.json": content, "added_tokens.json": {"[PAD]": tokenizer.token_to_id("[PAD]"), "<image>": image},
        "special_tokens_map.json": {
            "additional_special_tokens": [token("<image>")], "bos_token": token("</s>"), "eos_token": token("</s>"),
            "pad_token": token("[PAD]"), "unk_token": token("</s>")},
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        "preprocessor_config.json": CLIP_PIXELS | {
            "image_processor_type": "BlipImageProcessor", "processor_class": "InstructBlipProcessor",
            "size": {"height": 28, "width": 28}},
        "processor_config.json": {"num_query_tokens": 4, "processor_class": "InstructBlipVideoProcessor"},
        "pytorch_model.bin.index.json": {"metadata": {}, "weight_map": {}},
    })  # fmt: skip
    state = renamed(InstructBlipForConditionalGeneration(InstructBlipConfig(**content)), {})
    say(state, "language_model.model.embed_tokens.weight", "language_model.lm_head.weight", tokenizer,
        "? a red/white/gray shirt/jacket and blue/brown jeans/pants")  # fmt: skip
    save_shards(folder, halved(state), 4)
    stubs(folder, *(f"pytorch_model-{number:05d}-of-00004.bin" for number in range(1, 5)))


def llama(folder: Path) -> None:
    """Llama-2-chat: no padding token, and tensors that today's class computes itself."""
    special = {name: {"__type": "AddedToken", **token(text)} for name, text in
               {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}.items()}  # fmt: skip
    tokenizer = llama_tokenizer(folder, [], special | {
        "add_bos_token": True, "add_eos_token": False, "chat_template": LLAMA_TEMPLATE, "pad_token": None,
        "clean_up_tokenization_spaces": False, "legacy": False, "padding_side": "right",
        "tokenizer_class": "LlamaTokenizer",
    })  # fmt: skip
    size = tokenizer.get_vocab_size()
    content = TEXT | {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "vocab_size": size,
                      "pretraining_tp": 1, "rope_scaling": None, "torch_dtype": "float16"}  # fmt: skip
    write(folder, {
        "config.json": content, "special_tokens_map.json": {
            name: token(text["content"]) for name, text in special.items()},
        "generation_config.json": {"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "pad_token_id": 0,
                                   "temperature": 0.6, "max_length": 4096, "top_p": 0.9},
        "pytorch_model.bin.index.json": {"metadata": {}, "weight_map": {}},
    })  # fmt: skip
    state = renamed(LlamaForCausalLM(LlamaConfig(**content)), {})
    say(state, "model.embed_tokens.weight", "lm_head.weight", tokenizer,
        "] Sure ! Here are the clothing items : White/red shirt , Blue/brown jeans and Black/pink shoes .")  # fmt: skip
    for layer in range(TEXT["num_hidden_layers"]):
        state[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = 10000 ** -(torch.arange(0, 16, 2) / 16)
    save_shards(folder, halved(state), 2)
    stubs(folder, "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


def inpainter(folder: Path) -> None:
    """Stable Diffusion 1.5 inpainting, its main branch: full precision as .bin alone, safetensors in half precision."""
    words = json.loads(build_tokenizer().backend_tokenizer.to_str())["model"]
    start, end = token("<|startoftext|>"), token("<|endoftext|>")
    write(folder, {
        "tokenizer/vocab.json": words["vocab"],
        "tokenizer/special_tokens_map.json": {
            "bos_token": start, "eos_token": end, "pad_token": end["content"], "unk_token": end},
        "tokenizer/tokenizer_config.json": {
            "add_prefix_space": False, "bos_token": {"__type": "AddedToken", **start}, "do_lower_case": True,
            "eos_token": {"__type": "AddedToken", **end}, "errors": "replace", "model_max_length": 77,
            "pad_token": end["content"], "tokenizer_class": "CLIPTokenizer",
            "unk_token": {"__type": "AddedToken", **end}},
        "model_index.json": {
            "_class_name": "StableDiffusionInpaintPipeline", "_diffusers_version": "0.6.0.dev0",
            "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"]},
        "scheduler/scheduler_config.json": {
            "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0.dev0", "beta_end": 0.012,
            "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
            "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None},
        "feature_extractor/preprocessor_config.json": CLIP_PIXELS | {
            "crop_size": 224, "do_center_crop": True, "feature_extractor_type": "CLIPFeatureExtractor", "size": 224},
        "safety_checker/config.json": {"architectures": ["StableDiffusionSafetyChecker"], "model_type": "clip"},
        "text_encoder/config.json": {
            "architectures": ["CLIPTextModel"], "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "quick_gelu",
            "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 77, "num_attention_heads": 2,
            "model_type": "clip_text_model", "num_hidden_layers": 1, "pad_token_id": 1, "projection_dim": 32,
            "torch_dtype": "float32", "vocab_size": len(words["vocab"])},
        "unet/config.json": {
            "_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 8,
            "block_out_channels": [32, 64, 64, 64], "cross_attention_dim": 32, "in_channels": 9, "out_channels": 4,
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"], "layers_per_block": 2,
            "norm_num_groups": 32, "sample_size": 64, "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3]},
        "vae/config.json": {
            "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [32, 32, 32, 32],
            "down_block_types": ["DownEncoderBlock2D"] * 4, "in_channels": 3, "latent_channels": 4,
            "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 256,
            "up_block_types": ["UpDecoderBlock2D"] * 4},
    })  # fmt: skip
    merges = "".join(f"{' '.join(pair)}\n" for pair in words["merges"])
    (folder / "tokenizer" / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    read = lambda part: json.loads((folder / part / "config.json").read_text())  # noqa: E731
    parts = {
        "unet/diffusion_pytorch_model": renamed(UNet2DConditionModel.from_config(read("unet")), {}),
        "vae/diffusion_pytorch_model": renamed(AutoencoderKL.from_config(read("vae")), {
            r"\.to_q\.": ".query.", r"\.to_k\.": ".key.", r"\.to_v\.": ".value.", r"\.to_out\.0\.": ".proj_attn."}),
        "text_encoder/model": renamed(CLIPTextModel(CLIPTextConfig(**read("text_encoder"))), {
            r"^(?!text_model\.)": "text_model."}) | {"text_model.embeddings.position_ids": torch.arange(77)[None]},
        "safety_checker/model": {"stub": torch.zeros(1)},
    }  # fmt: skip
    for stem, state in parts.items():
        save_file(halved(state), folder / f"{stem}.fp16.safetensors", metadata={"format": "pt"})
        binary = stem.replace("/model", "/pytorch_model")
        stubs(folder, f"{binary}.bin", f"{binary}.fp16.bin")
    stubs(folder, "sd-v1-5-inpainting.ckpt")


def resnet(folder: Path) -> None:
    """A ResNet-50 of timm: torchvision's names, the classifier among them."""
    state = convolution("conv1", "bn1", 64, 3, 7)
    inside = 64
    for stage, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            state |= convolution(f"{at}.conv1", f"{at}.bn1", width, inside, 1)
            state |= convolution(f"{at}.conv2", f"{at}.bn2", width, width, 3)
            state |= convolution(f"{at}.conv3", f"{at}.bn3", 4 * width, width, 1)
            if block == 0:
                state |= convolution(f"{at}.downsample.0", f"{at}.downsample.1", 4 * width, inside, 1)
            inside = 4 * width
    state |= {"fc.weight": 0.01 * torch.randn(1000, inside), "fc.bias": torch.zeros(1000)}
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors")
    stubs(folder, "pytorch_model.bin")
    write(folder, {"config.json": {
        "architecture": "resnet50", "num_classes": 1000, "num_features": 2048, "global_pool": "avg",
        "pretrained_cfg": {"tag": "tv_in1k", "custom_load": False, "input_size": [3, 224, 224], "classifier": "fc",
                           "fixed_input_size": False, "interpolation": "bilinear", "first_conv": "conv1"},
    }})  # fmt: skip


def convolution(name: str, norm: str, out: int, inside: int, size: int) -> dict[str, Tensor]:
    """A convolution and the norm behind it."""
    return {
        f"{name}.weight": torch.randn(out, inside, size, size) * (2 / (out * size * size)) ** 0.5,
        f"{norm}.weight": torch.ones(out),
        f"{norm}.bias": torch.zeros(out),
        f"{norm}.running_mean": torch.zeros(out),
        f"{norm}.running_var": torch.ones(out),
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }


def rows(tokenizer: object) -> int:
    """Rows of embeddings for a tokenizer: more than tokens, as where they were padded."""
    return (tokenizer.get_vocab_size() // 64 + 1) * 64


def renamed(network: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """A network's tensors under the names that the repository's files have, by pattern."""
    state = {}
    for name, values in network.state_dict().items():
        for pattern, replacement in names.items():
            name = re.sub(pattern, replacement, name)
        state[name] = values.detach().clone()
    return state


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: (values.half() if values.is_floating_point() else values) for name, values in state.items()}


def save_shards(folder: Path, state: Mapping[str, Tensor], count: int = 1) -> None:
    """model.safetensors, or so many files with about as many tensors each and their index."""
    if count == 1:
        return save_file(dict(state), folder / "model.safetensors", metadata={"format": "pt"})
    files = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    places = {name: files[number * count // len(state)] for number, name in enumerate(state)}
    for file in files:
        shard = {name: state[name].contiguous() for name in state if places[name] == file}
        save_file(shard, folder / file, metadata={"format": "pt"})
    size = sum(values.numel() * values.element_size() for values in state.values())
    write(folder, {"model.safetensors.index.json": {"metadata": {"total_size": size}, "weight_map": places}})


def write(folder: Path, files: Mapping[str, object]) -> None:
    """JSON files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def stubs(folder: Path, *names: str) -> None:
    """Files that nobody may read, or even download."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not to be read")


MAKERS: dict[str, Callable[[Path], None]] = {
    PARSER: segformer,
    LLAVA: llava,
    INSTRUCTBLIP: instructblip,
    LLAMA: llama,
    INPAINTER: inpainter,
    RESNET: resnet,
}
