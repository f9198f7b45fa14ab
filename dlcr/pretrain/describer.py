"""Trains the mini describer, a small LLaVA, to answer what a rendered person wears.

    python -m stages.pretrain describer         # about 20 minutes on one core with bfloat16 units

Its vision tower is a DPT of the hybrid kind, a transformer layer on a ResNet: convolutions learn from tens of
thousands of pictures what a plain transformer needs millions for. First the ResNet learns to name garments, colours and
patterns as the Re-ID trunk does (`dlcr.pretrain.backbone`; the heads are then thrown away), then the whole model learns
to answer. Score: share of exactly right items per body part and image, on scenes after the training pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Resampling
from torch import nn
from torch.nn import functional
from transformers import (
    CLIPImageProcessorPil,
    DPTConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    ResNetConfig,
)

from dlcr.minicc import pretrain_scene
from dlcr.pretrain import backbone
from dlcr.pretrain.pool import Pool, pool
from dlcr.pretrain.words import make_tokenizer
from dlcr.prompts import describe, load_describer
from dlcr.prompts.items import PARTS
from dlcr.runtime.progress import progress

QUESTIONS = (
    "What clothes is the person wearing?",
    "What is the person wearing?",
    "Describe the clothes of the person.",
    "What is worn on the upper body, the lower body and the feet?",
)
"""The first one is the release's and the default of params.yaml."""
SIZE = (256, 64)
"""Height and width that pictures of 96x48 are stretched to: garments are told apart by their heights above all."""
PATCH = 32
"""What the ResNet's five halvings leave of SIZE is 8x2 patches; DPT wants a square number of them."""
TOKENS = (SIZE[0] // PATCH) * (SIZE[1] // PATCH) + 1
"""Of an image, for the language model: the patches and a class token."""


@dataclass(frozen=True)
class Recipe:
    """How the shipped describer was made."""

    scenes: int = 30000
    held_out: int = 1000
    epochs: int = 10
    tower_rate: float = 3e-3
    steps: int = 900
    rate: float = 1e-3
    batch: int = 64
    weight_decay: float = 0.01
    seed: int = 0
    trunk: tuple[int, ...] = (24, 48, 96, 160)
    width: int = 192
    layers: int = 2
    heads: int = 3


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores of what was saved.

    `settings` overrides fields of `Recipe`.
    """
    recipe = Recipe(**settings)
    torch.manual_seed(recipe.seed)
    scenes = pool(recipe.scenes + recipe.held_out)
    processor = make_processor()
    model = make_model(processor.tokenizer, recipe)
    train(model, processor, Pool(*(column[: recipe.scenes] for column in scenes)), recipe)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    return score(str(folder), scenes, recipe.scenes)


def make_processor() -> LlavaProcessor:
    """Tokenizer with LLaVA's chat template and a CLIP image processor."""
    template = (
        "{% for message in messages %}{{ message['role'].upper() }}:"
        "{% for item in message['content'] %}"
        "{% if item['type'] == 'image' %} <image>{% else %} {{ item['text'] }}{% endif %}"
        "{% endfor %} {% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    tokenizer = make_tokenizer(["USER: ASSISTANT:", *QUESTIONS], special=["<image>"], chat_template=template)
    images = CLIPImageProcessorPil(
        size={"height": SIZE[0], "width": SIZE[1]}, resample=Resampling.BILINEAR, do_center_crop=False
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def make_model(tokenizer: object, recipe: Recipe) -> LlavaForConditionalGeneration:
    """LLaVA of a hybrid DPT as vision tower, a two-layer projector and LLaMA, all small."""
    shape = {"hidden_size": recipe.width, "num_attention_heads": recipe.heads}
    trunk = ResNetConfig(
        embedding_size=recipe.trunk[0],
        hidden_sizes=list(recipe.trunk),
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    vision = DPTConfig(
        **shape,
        is_hybrid=True,
        backbone_config=trunk,
        backbone_featmap_shape=[1, recipe.trunk[-1], SIZE[0] // PATCH, SIZE[1] // PATCH],
        num_hidden_layers=1,
        intermediate_size=2 * recipe.width,
        image_size=list(SIZE),
        patch_size=PATCH,
    )
    text = LlamaConfig(
        **shape,
        num_hidden_layers=recipe.layers,
        intermediate_size=2 * recipe.width,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=TOKENS,
            vision_feature_select_strategy="full",
            vision_feature_layer=-1,
        )
    )


def train(model: LlavaForConditionalGeneration, processor: LlavaProcessor, scenes: Pool, recipe: Recipe) -> None:
    """The tower's ResNet as an attribute recogniser, then everything to answer; AdamW, one cycle each."""
    train_tower(model.model.vision_tower.embeddings.backbone, processor, scenes, recipe)
    model.train()
    model.set_attn_implementation("eager")  # the fused attention's backward pass is slow on CPUs
    batches = training_batches(scenes, processor, recipe)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    with progress(recipe.steps, "training the describer", unit="step") as bar:
        for _ in range(recipe.steps):
            batch = next(batches)
            inputs = _answered(processor, batch.question, [scenes.words[row] for row in batch.rows], batch.pixels)
            labels = inputs.pop("labels")
            with torch.autocast("cpu", torch.bfloat16):
                hidden = model.model(**inputs).last_hidden_state
                asked = labels[:, 1:] != -100
                logits = model.lm_head(hidden[:, :-1][asked]).float()
                loss = functional.cross_entropy(logits, labels[:, 1:][asked])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            bar.update(1)


def train_tower(trunk: nn.Module, processor: LlavaProcessor, scenes: Pool, recipe: Recipe) -> None:
    """Lets the ResNet recognise what people wear and look like, on pictures as the processor makes them."""
    trunk.to(memory_format=torch.channels_last)
    heads = backbone.Heads(recipe.trunk[-1])
    labels, measures = backbone.attributes(recipe.scenes)
    measures = (measures - measures.mean(0)) / measures.std(0)

    def maps_of(pictures: torch.Tensor) -> torch.Tensor:
        pixels = as_processed(pictures.permute(0, 3, 1, 2).float(), processor)
        return trunk(pixels.contiguous(memory_format=torch.channels_last)).feature_maps[-1]

    plan = backbone.Recipe(
        recipe.scenes, recipe.held_out, recipe.epochs, recipe.batch, recipe.tower_rate, recipe.weight_decay, recipe.seed
    )
    backbone.train(maps_of, trunk, heads, scenes.images, labels, measures, plan)


def score(model: str, scenes: Pool, first: int) -> dict:
    """Share of images whose item is exactly right, per body part, on scenes from `first` on.

    Of all of them, and of those that look like the main benchmark (`minicc_...`; the others are night and
    crowd).
    """
    describer = load_describer(model)
    images, truth = scenes.images[first:], scenes.words[first:]
    answers = []
    for start in range(0, len(images), 64):
        answers += describe(describer, list(images[start : start + 64]), QUESTIONS[0])
    right = np.array([_right_items(answer, words) for answer, words in zip(answers, truth, strict=True)])
    plain = np.array([pretrain_scene(first + i).domain == "minicc" for i in range(len(right))])
    scores = {f"accuracy_{part}": round(float(right[:, i].mean()), 4) for i, part in enumerate(PARTS)}
    scores |= {f"minicc_accuracy_{part}": round(float(right[plain, i].mean()), 4) for i, part in enumerate(PARTS)}
    return scores | {"images": len(right)}


def _right_items(answer: str, truth: str) -> list[bool]:
    items = [item.strip() for item in answer.split("|")]
    return [
        len(items) == 3 and item == wanted.strip()
        for item, wanted in zip(items + [""] * 3, truth.split("|"), strict=False)
    ]


class Batch(NamedTuple):
    """One training batch."""

    rows: np.ndarray  # int64 [N]
    pixels: torch.Tensor  # float32 [N, 3, *SIZE], as the image processor makes them
    question: str


def as_processed(pictures: torch.Tensor, processor: LlavaProcessor) -> torch.Tensor:
    """What the image processor makes of float pictures [N, 3, H, W] in [0, 255], as one tensor operation."""
    images = processor.image_processor
    size = (images.size["height"], images.size["width"])
    mean, std = (torch.tensor(values)[:, None, None] for values in (images.image_mean, images.image_std))
    return (functional.interpolate(pictures, size=size, mode="bilinear") / 255 - mean) / std


def training_batches(scenes: Pool, processor: LlavaProcessor, recipe: Recipe) -> Iterator[Batch]:
    """Endless batches; pictures are mirrored and moved by a pixel or two at random."""
    rng = np.random.default_rng(recipe.seed)
    while True:
        rows = rng.integers(len(scenes.images), size=recipe.batch)
        pictures = scenes.images[rows]
        pictures = np.where(rng.random(len(rows))[:, None, None, None] < 0.5, pictures[:, :, ::-1], pictures)
        y, x = rng.integers(0, 5, size=2)
        pictures = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")[:, y : y + 96, x : x + 48]
        pixels = as_processed(torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), processor)
        yield Batch(rows, pixels, QUESTIONS[rng.integers(len(QUESTIONS)) if rng.random() < 0.5 else 0])


def _answered(processor: LlavaProcessor, question: str, answers: list[str], pixels: torch.Tensor) -> dict:
    """Inputs of LLaVA with the answers appended; `labels` are -100 outside them."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    tokenizer = processor.tokenizer
    start = tokenizer(prompt.replace("<image>", "<image>" * TOKENS), return_tensors="pt")["input_ids"]
    ends = [torch.tensor([*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]) for answer in answers]
    labels = nn.utils.rnn.pad_sequence(ends, batch_first=True, padding_value=-100)
    ids = torch.cat([start.repeat(len(answers), 1), labels.clamp(min=tokenizer.pad_token_id)], 1)
    return {
        "input_ids": ids,
        "pixel_values": pixels,
        "labels": torch.cat([torch.full((len(answers), start.shape[1]), -100), labels], 1),
    }
