"""Trains the mini describer, a small LLaVA, to answer what a rendered person wears.

    python -m stages.pretrain describer         # about 10 minutes on one core with bfloat16 units

First the vision tower learns every word of the outfit with a linear head a word (heads that are then thrown
away), then the whole model learns to answer. Score: share of exactly right items per body part and image, on
scenes after the training pool.
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
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from dlcr.minicc import LABELS, pretrain_scene
from dlcr.pretrain.pool import Pool, pool
from dlcr.pretrain.words import make_tokenizer, split_words
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
IMAGE = 96
WIDE = 144
PATCH = 16
"""The tower sees a square: pictures are stretched to IMAGE x WIDE pixels and lose a sixth on either side,
where nobody walks, so that a patch is 16 rows x 5.3 columns of a picture of 96x48."""


@dataclass(frozen=True)
class Recipe:
    """How the shipped describer was made."""

    scenes: int = 12000
    held_out: int = 1000
    tower_steps: int = 1200
    steps: int = 350
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0
    width: int = 192
    tower_layers: int = 5
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
        size={"height": IMAGE, "width": WIDE},
        crop_size={"height": IMAGE, "width": IMAGE},
        resample=Resampling.BILINEAR,
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
    """LLaVA of CLIP's vision tower, a two-layer projector and LLaMA, all small."""
    shape = {"hidden_size": recipe.width, "num_attention_heads": recipe.heads}
    vision = CLIPVisionConfig(
        **shape,
        num_hidden_layers=recipe.tower_layers,
        intermediate_size=3 * recipe.width,
        image_size=IMAGE,
        patch_size=PATCH,
        projection_dim=recipe.width,
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
            image_seq_length=(IMAGE // PATCH) ** 2 + 1,
            vision_feature_select_strategy="full",
            vision_feature_layer=-1,
        )
    )


class Heads(nn.Module):
    """What the tower is taught with: a linear classifier of each word of the outfit on its class token, and
    of the body part that each patch shows."""

    def __init__(self, width: int, sizes: list[int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.words = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        self.parts = nn.Linear(width, len(LABELS))

    def forward(self, features: torch.Tensor, words: torch.Tensor, parts: torch.Tensor) -> torch.Tensor:
        """Sum of the cross-entropies.

        features [N, 1 + patches, width]; words int64 [N, 7]; parts [N, patches, labels], each label's
        share of a patch.
        """
        features = self.norm(features)
        shown = self.parts(features[:, 1:]).float()
        loss = functional.cross_entropy(shown.transpose(1, 2), parts.transpose(1, 2))
        for column, head in enumerate(self.words):
            loss = loss + functional.cross_entropy(head(features[:, 0]).float(), words[:, column])
        return loss


def train(model: LlavaForConditionalGeneration, processor: LlavaProcessor, scenes: Pool, recipe: Recipe) -> None:
    """The tower with its heads first, then everything; AdamW, a one-cycle learning rate for each phase."""
    targets, sizes = _word_targets(scenes.words)
    heads = Heads(recipe.width, sizes)
    batches = _batches(scenes, processor, recipe)
    model.train()
    model.set_attn_implementation("eager")  # the fused attention's backward pass is slow on CPUs
    tower = model.model.vision_tower

    def tower_loss(batch: Batch) -> torch.Tensor:
        return heads(tower(batch.pixels).last_hidden_state, targets[batch.rows], batch.parts)

    def full_loss(batch: Batch) -> torch.Tensor:
        inputs = _answered(processor, batch.question, [scenes.words[row] for row in batch.rows], batch.pixels)
        labels = inputs.pop("labels")
        hidden = model.model(**inputs).last_hidden_state
        asked = labels[:, 1:] != -100
        logits = model.lm_head(hidden[:, :-1][asked]).float()
        return functional.cross_entropy(logits, labels[:, 1:][asked])

    phases = (
        (
            "training the vision tower",
            tower_loss,
            recipe.tower_steps,
            [*tower.parameters(), *heads.parameters()],
            1.0,
        ),
        ("training the describer", full_loss, recipe.steps, list(model.parameters()), 0.5),
    )
    for title, loss_of, steps, parameters, share in phases:
        rate = recipe.learning_rate * share
        optimizer = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
        with progress(steps, title, unit="step") as bar:
            for _ in range(steps):
                with torch.autocast("cpu", torch.bfloat16):
                    loss = loss_of(next(batches))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
                bar.update(1)


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


def _word_targets(texts: list[str]) -> tuple[torch.Tensor, list[int]]:
    """Class numbers int64 [N, 7] of the outfits' words, and the number of classes of each column."""
    columns = list(zip(*(split_words(text) for text in texts), strict=True))
    vocabularies = [sorted(set(column)) for column in columns]
    numbers = [[words.index(word) for word in column] for column, words in zip(columns, vocabularies, strict=True)]
    return torch.tensor(numbers).T.contiguous(), [len(words) for words in vocabularies]


class Batch(NamedTuple):
    """One training batch."""

    rows: np.ndarray  # int64 [N]
    pixels: torch.Tensor  # float32 [N, 3, IMAGE, IMAGE], as the image processor makes them
    parts: torch.Tensor  # float32 [N, patches, labels]
    question: str


def _batches(scenes: Pool, processor: LlavaProcessor, recipe: Recipe) -> Iterator[Batch]:
    """Endless batches; pictures are mirrored and moved by a pixel or two at random."""
    rng = np.random.default_rng(recipe.seed)
    images = processor.image_processor
    mean, std = (torch.tensor(values)[:, None, None] for values in (images.image_mean, images.image_std))
    left, right = (WIDE - IMAGE) // 2, (WIDE + IMAGE) // 2
    while True:
        rows = rng.integers(len(scenes.images), size=recipe.batch)
        pictures = np.concatenate([scenes.images[rows], scenes.labels[rows][..., None]], 3)
        pictures = np.where(rng.random(len(rows))[:, None, None, None] < 0.5, pictures[:, :, ::-1], pictures)
        y, x = rng.integers(0, 5, size=2)
        pictures = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")[:, y : y + 96, x : x + 48]
        pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        pixels = functional.interpolate(pictures[:, :3].float(), size=(IMAGE, WIDE), mode="bilinear")
        labels = functional.interpolate(pictures[:, 3:], size=(IMAGE, WIDE), mode="nearest")[..., left:right]
        shares = functional.one_hot(labels[:, 0].long(), len(LABELS)).float().permute(0, 3, 1, 2)
        yield Batch(
            rows,
            (pixels[..., left:right] / 255 - mean) / std,
            functional.avg_pool2d(shares, PATCH).flatten(2).transpose(1, 2),
            QUESTIONS[rng.integers(len(QUESTIONS)) if rng.random() < 0.5 else 0],
        )


def _answered(processor: LlavaProcessor, question: str, answers: list[str], pixels: torch.Tensor) -> dict:
    """Inputs of LLaVA with the answers appended; `labels` are -100 outside them."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    tokenizer = processor.tokenizer
    tokens = (IMAGE // PATCH) ** 2 + 1
    start = tokenizer(prompt.replace("<image>", "<image>" * tokens), return_tensors="pt")["input_ids"]
    ends = [torch.tensor([*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]) for answer in answers]
    labels = nn.utils.rnn.pad_sequence(ends, batch_first=True, padding_value=-100)
    ids = torch.cat([start.repeat(len(answers), 1), labels.clamp(min=tokenizer.pad_token_id)], 1)
    return {
        "input_ids": ids,
        "pixel_values": pixels,
        "labels": torch.cat([torch.full((len(answers), start.shape[1]), -100), labels], 1),
    }
