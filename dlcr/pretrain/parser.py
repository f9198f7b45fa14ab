"""Trains the mini human parser, a small SegFormer, on rendered scenes with their label maps.

    python -m stages.pretrain parser            # about 9 minutes on one core with bfloat16 units

Score: intersection over union per label and of the clothes mask (`clothes`), on scenes after the training
pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

from dlcr.minicc import LABELS
from dlcr.parsing import label_maps, load_parser, parse_clothes
from dlcr.pretrain.pool import Pool, pool
from dlcr.runtime.progress import progress


@dataclass(frozen=True)
class Recipe:
    """How the shipped parser was made."""

    scenes: int = 20000
    held_out: int = 500
    steps: int = 2600
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    widths: tuple[int, ...] = (32, 64, 128, 160)
    depths: tuple[int, ...] = (1, 2, 2, 2)


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores of what was saved.

    `settings` overrides fields of `Recipe`.
    """
    recipe = Recipe(**settings)
    torch.manual_seed(recipe.seed)
    scenes = pool(recipe.scenes + recipe.held_out)
    model = make_model(recipe)
    train(model, Pool(*(column[: recipe.scenes] for column in scenes)), recipe)
    model.half().save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return score(str(folder), scenes.images[recipe.scenes :], scenes.labels[recipe.scenes :])


def make_model(recipe: Recipe) -> SegformerForSemanticSegmentation:
    """A SegFormer whose first stage keeps half the image's resolution, for exact borders."""
    config = SegformerConfig(
        depths=recipe.depths,
        hidden_sizes=recipe.widths,
        decoder_hidden_size=64,
        mlp_ratios=(2, 3, 3, 3),
        num_attention_heads=(1, 2, 4, 5),
        sr_ratios=(8, 4, 2, 1),
        patch_sizes=(5, 3, 3, 3),
        strides=(2, 2, 2, 2),
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    return SegformerForSemanticSegmentation(config)


def make_processor() -> SegformerImageProcessorPil:
    """Resizes to the benchmark's own size, which leaves its images as they are."""
    return SegformerImageProcessorPil(size={"height": 96, "width": 48})


def train(model: SegformerForSemanticSegmentation, scenes: Pool, recipe: Recipe) -> None:
    """AdamW with a one-cycle learning rate; pictures are mirrored at random."""
    rng = np.random.default_rng(recipe.seed)
    processor = make_processor()
    mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1)
    model.train()
    model.set_attn_implementation("eager")  # the fused attention's backward pass is slow on CPUs
    with progress(recipe.steps, "training the parser", unit="step") as bar:
        for _ in range(recipe.steps):
            rows = rng.integers(len(scenes.images), size=recipe.batch)
            flip = rng.random(recipe.batch)[:, None, None] < 0.5
            images, labels = scenes.images[rows], scenes.labels[rows]
            images = np.where(flip[..., None], images[:, :, ::-1], images)
            labels = np.where(flip, labels[:, :, ::-1], labels)
            pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(pixel_values=pixels).logits
            logits = functional.interpolate(logits.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)
            loss = functional.cross_entropy(logits, torch.from_numpy(labels).long())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update(1)


def score(model: str, images: np.ndarray, labels: np.ndarray) -> dict:
    """IoU over all pixels of all images (one ratio): per label, and of the clothes mask."""
    parser = load_parser(model)
    predicted = np.stack(label_maps(parser, list(images), batch=64))
    scores = {f"iou_{name}": _iou(predicted == number, labels == number) for number, name in enumerate(LABELS)}
    clothes = np.stack(parse_clothes(parser, list(images), batch=64))
    scores["iou_clothes"] = _iou(clothes, np.isin(labels, parser.clothes))
    scores["images"] = len(images)
    return scores


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return round(float((mask & truth).sum() / (mask | truth).sum()), 4)
