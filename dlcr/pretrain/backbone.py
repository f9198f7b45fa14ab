"""Trains the mini Re-ID trunk as a pedestrian attribute recogniser: what ImageNet weights are to a full-size trunk.

    python -m stages.pretrain backbone            # about 12 minutes on one core with bfloat16 units

Re-ID models never start from random weights. The small ones start from these: a ResNet that has learned to name
clothes, hair, skin and build on people, outfits and cameras that the benchmark never shows. It has not learned to tell
people apart.
Score: accuracy of the classes and explained variance of the measures, on scenes after the training pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcr.minicc import pretrain_scene
from dlcr.minicc.outfits import COLOURS, FOOTWEAR_KINDS, LOWER_KINDS, PATTERNS, UPPER_KINDS
from dlcr.minicc.people import HAIR_STYLES
from dlcr.pretrain.pool import pool
from dlcr.reid.colours import normalise
from dlcr.reid.models.resnet import mini_resnet
from dlcr.runtime.progress import progress

CLASSES = {
    "upper": UPPER_KINDS,
    "upper colour": tuple(COLOURS),
    "pattern": PATTERNS,
    "lower": LOWER_KINDS,
    "lower colour": tuple(COLOURS),
    "footwear": FOOTWEAR_KINDS,
    "footwear colour": tuple(COLOURS),
    "hair": HAIR_STYLES,
}
MEASURES = 12  # skin and hair colour, height, build, beard, glasses, hair volume, face width


@dataclass(frozen=True)
class Recipe:
    """How the shipped trunk was made."""

    scenes: int = 30000
    held_out: int = 1000
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0


class Heads(nn.Module):
    """Linear heads on the trunk's average and maximum, a class head each and one for the measures."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classes = nn.ModuleList(nn.Linear(2 * width, len(values)) for values in CLASSES.values())
        self.measures = nn.Linear(2 * width, MEASURES)

    def forward(self, maps: Tensor) -> tuple[list[Tensor], Tensor]:
        """maps float32 [B, D, h, w] to logits, [B, n] each, and measures [B, MEASURES]."""
        pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        return [head(pooled) for head in self.classes], self.measures(pooled)


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves the trunk into `folder` and returns the scores. `settings` overrides fields of `Recipe`."""
    recipe = Recipe(**settings)
    torch.manual_seed(recipe.seed)
    images = pool(recipe.scenes + recipe.held_out).images
    labels, measures = attributes(recipe.scenes + recipe.held_out)
    mean, deviation = measures.mean(0), measures.std(0)
    measures = (measures - mean) / deviation
    trunk = mini_resnet().to(memory_format=torch.channels_last)
    heads = Heads(trunk.config.hidden_sizes[-1])

    def maps_of(pictures: Tensor) -> Tensor:
        return trunk(normalise(pictures).contiguous(memory_format=torch.channels_last)).last_hidden_state

    train(maps_of, trunk, heads, images, labels, measures, recipe)
    trunk.half().save_pretrained(folder)
    trunk.float()
    return score(maps_of, trunk, heads, *(column[recipe.scenes :] for column in (images, labels, measures)))


def attributes(count: int) -> tuple[Tensor, Tensor]:
    """What is to be recognised in pretraining scenes 0 .. count - 1: classes int64 [count, len(CLASSES)], measures
    float32 [count, MEASURES]."""
    classes, measures = [], []
    for index in range(count):
        scene = pretrain_scene(index)
        person, worn = scene.person, scene.outfit
        values = (
            worn.upper.kind, worn.upper.colour, worn.upper.pattern, worn.lower.kind, worn.lower.colour,
            worn.footwear.kind, worn.footwear.colour, person.hair_style,
        )  # fmt: skip
        classes.append([known.index(value) for known, value in zip(CLASSES.values(), values, strict=True)])
        measures.append(
            [*person.skin, *person.hair, person.height, person.build, person.beard, person.glasses,
             person.hair_volume, person.face_width]
        )  # fmt: skip
    return torch.tensor(classes), torch.tensor(measures, dtype=torch.float32)


def train(
    maps_of: Callable[[Tensor], Tensor],
    trunk: nn.Module,
    heads: Heads,
    images: np.ndarray,
    labels: Tensor,
    measures: Tensor,
    recipe: Recipe,
) -> None:
    """AdamW, one-cycle learning rate; cross-entropy of classes, squared error of measures; mirrored at random.

    maps_of: feature maps [B, D, h, w], through the weights of `trunk`, of pictures uint8 [B, H, W, 3] in RGB.
    """
    rng = np.random.default_rng(recipe.seed)
    steps = recipe.epochs * (recipe.scenes // recipe.batch)
    optimizer = torch.optim.AdamW(
        [*trunk.parameters(), *heads.parameters()], recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps, pct_start=0.2)
    trunk.train()
    with progress(steps * recipe.batch, "recognising attributes") as bar:
        for step in range(steps):
            rows = rng.choice(recipe.scenes, recipe.batch, replace=False)
            batch = torch.from_numpy(images[rows])
            batch = batch.flip(2) if step % 2 else batch
            with torch.autocast("cpu", torch.bfloat16):
                maps = maps_of(batch)
            logits, made = heads(maps.float())
            loss = functional.mse_loss(made, measures[rows])
            for column, values in enumerate(logits):
                loss = loss + functional.cross_entropy(values, labels[rows, column]) / len(logits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(recipe.batch)


@torch.inference_mode()
def score(
    maps_of: Callable[[Tensor], Tensor],
    trunk: nn.Module,
    heads: Heads,
    images: np.ndarray,
    labels: Tensor,
    measures: Tensor,
) -> dict[str, float]:
    """Accuracy of every class and the explained variance of the measures, 0 to 1."""
    trunk.eval()
    logits, made = heads(maps_of(torch.from_numpy(images)))
    scores = {
        name: round(float((values.argmax(1) == labels[:, column]).float().mean()), 4)
        for column, (name, values) in enumerate(zip(CLASSES, logits, strict=True))
    }
    left = (made - measures).square().mean(0) / measures.var(0)
    return {**scores, "measures": round(float(1 - left.mean()), 4)}
