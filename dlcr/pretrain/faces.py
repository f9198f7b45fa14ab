"""Trains the mini face model: a detector on the pretraining pool, then an embedder on people seen several times.

    python -m stages.pretrain faces            # about 6 minutes on one core with bfloat16 units

A face counts as seen where the head looks towards the camera (`MOST_TURN`) and enough of its pixels show
(`LEAST_PIXELS`), by the scene's angles and the label map. The embedder learns to tell people apart: everyone is
rendered in scenes of the pretraining stream, each with its own camera, light, pose and outfit.
Scores: the detector on scenes after its pool; the whole model on people it never saw, in other clothes and by other
cameras: how often the nearest face is the same person's, and how often a pair of one person is nearer than one of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcr.faces import FaceFinder, find_faces, load_faces
from dlcr.faces.mini import MiniFaceConfig, MiniFaceModel, cut_heads
from dlcr.minicc import LABELS, Scene, pretrain_scene, render
from dlcr.pretrain.pool import Pool, pool
from dlcr.runtime.progress import progress

FACE, HAIR = LABELS.index("face"), LABELS.index("hair")
MOST_TURN = math.radians(75)  # of the head away from the camera; at 90 degrees it is a profile
LEAST_PIXELS = 20  # of a face; one that looks into the camera has about 35 to 100
FIRST_SCENE = 1_000_000  # of the scenes people are put into: none of those is in a pool


@dataclass(frozen=True)
class Recipe:
    """How the shipped model was made."""

    scenes: int = 12000
    held_out: int = 1000
    steps: int = 1800
    batch: int = 32
    learning_rate: float = 3e-3
    people: int = 2000
    strangers: int = 200
    views: int = 5
    embedder_steps: int = 1300
    embedder_batch: int = 96
    embedder_learning_rate: float = 2e-3
    weight_decay: float = 0.02
    scale: float = 24.0
    margin: float = 0.15
    seed: int = 0


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores of what was saved. `settings` overrides fields of `Recipe`."""
    recipe = Recipe(**settings)
    torch.manual_seed(recipe.seed)
    scenes = pool(recipe.scenes + recipe.held_out)
    seen, boxes = truth(scenes)
    model = MiniFaceModel(MiniFaceConfig()).to(memory_format=torch.channels_last)
    rows = slice(recipe.scenes)
    train_detector(model, scenes.images[rows], seen[rows], boxes[rows], recipe)
    people = recipe.people + recipe.strangers
    images, who = portraits(people, recipe.views, "rendering people")
    train_embedder(model, images[who < recipe.people], who[who < recipe.people], recipe)
    model.half().save_pretrained(folder)
    finder = load_faces(str(folder))
    rows = slice(recipe.scenes, None)
    return {
        **detection_scores(finder, scenes.images[rows], seen[rows]),
        **person_scores(finder, images[who >= recipe.people], who[who >= recipe.people]),
    }


def truth(scenes: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Of pretraining scenes 0, 1, ...: whether the face is seen, bool [N], and the heads' boxes, float32 [N, 4]."""
    made = [face_truth(pretrain_scene(index), labels) for index, labels in enumerate(scenes.labels)]
    return np.array([box is not None for box in made]), np.array([box or (0, 0, 0, 0) for box in made], np.float32)


def face_truth(scene: Scene, labels: np.ndarray) -> tuple[float, float, float, float] | None:
    """The box (left, top, right, bottom, in pixels) of a head whose face is seen, None where it is not.

    labels: uint8 [H, W], of the rendered scene. The box ends at the chin and holds the hair above it.
    """
    face = labels == FACE
    if abs(turn(scene)) > MOST_TURN or face.sum() < LEAST_PIXELS:
        return None
    chin = np.flatnonzero(face.any(1))[-1] + 1
    head = (face | (labels == HAIR))[:chin]
    rows, columns = np.flatnonzero(head.any(1)), np.flatnonzero(head.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(chin)


def turn(scene: Scene) -> float:
    """The angle between where the head looks and the camera, -pi to pi."""
    return math.remainder(scene.pose.yaw + scene.pose.head_yaw, 2 * math.pi)


def train_detector(
    model: MiniFaceModel, images: np.ndarray, seen: np.ndarray, boxes: np.ndarray, recipe: Recipe
) -> None:
    """AdamW, one cycle: cross-entropy of the face's cell or no face, and the boxes' distance; mirrored at random."""
    rng = np.random.default_rng(recipe.seed)
    parameters = [*model.detector.parameters(), *model.cell.parameters()]
    optimizer, schedule = _one_cycle(parameters, recipe.learning_rate, recipe.steps, recipe.weight_decay)
    model.train()
    with progress(recipe.steps, "training the detector", unit="step") as bar:
        for _ in range(recipe.steps):
            rows = rng.integers(len(images), size=recipe.batch)
            pictures, where = _pictures(images[rows]), torch.from_numpy(boxes[rows])
            flip = torch.from_numpy(rng.random(recipe.batch) < 0.5)
            pictures = torch.where(flip[:, None, None, None], pictures.flip(3), pictures)
            where = torch.where(flip[:, None], mirror_boxes(where, images.shape[2]), where)
            with torch.autocast("cpu", torch.bfloat16):
                logits, found = model.detect(pictures.contiguous(memory_format=torch.channels_last))
            loss = detection_loss(logits, found, torch.from_numpy(seen[rows]), where)
            _step(loss, optimizer, schedule)
            bar.update(1)


def mirror_boxes(boxes: Tensor, width: int) -> Tensor:
    """Boxes [B, 4] in the mirrored image of `width` pixels."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], 1)


def detection_loss(logits: Tensor, found: Tensor, seen: Tensor, boxes: Tensor) -> Tensor:
    """Cross-entropy of the cell that holds the box's middle, the last class being "no face", plus the distance of the
    boxes' sides in heads' heights.

    logits: [B, cells], row by row on cells of 4 x 4 pixels, 12 in a row; found, boxes: [B, 4]; seen: bool [B].
    """
    column, row = ((boxes[:, :2] + boxes[:, 2:]) / 8).long().unbind(1)
    classes = torch.cat([logits, logits.new_zeros(len(logits), 1)], 1)
    place = torch.where(seen, row * 12 + column, logits.shape[1])
    height = (boxes[:, 3] - boxes[:, 1]).clamp(min=1)
    distance = (found - boxes).abs().mean(1) / height
    return functional.cross_entropy(classes, place) + 5 * (distance * seen).sum() / len(seen)


def portraits(people: int, views: int, desc: str) -> tuple[np.ndarray, np.ndarray]:
    """`views` images uint8 [N, H, W, 3] of each of the stream's first `people`, and whose they are, int64 [N].

    Each is a scene of its own, its person exchanged; those that show no face are left out.
    """
    images, who = [], []
    with progress(people * views, desc) as bar:
        for number, scene in enumerate(_meetings(people, views)):
            rendered = render(scene)
            if face_truth(scene, rendered.labels) is not None:
                images.append(rendered.image)
                who.append(number // views)
            bar.update(1)
    return np.stack(images), np.array(who)


def _meetings(people: int, views: int) -> Iterator[Scene]:
    """`views` scenes of everyone, person after person. In all of them the head looks towards the camera."""
    facing = (scene for scene in map(pretrain_scene, count(FIRST_SCENE)) if abs(turn(scene)) <= MOST_TURN)
    for index in range(people):
        person = pretrain_scene(index).person
        for _ in range(views):
            yield replace(next(facing), person=person)


def train_embedder(model: MiniFaceModel, images: np.ndarray, who: np.ndarray, recipe: Recipe) -> None:
    """AdamW, one cycle: classification of people by s (cos - margin), heads as the detector finds them.

    Boxes are moved a little and heads mirrored at random.
    """
    rng = np.random.default_rng(recipe.seed)
    pictures = torch.from_numpy(images).permute(0, 3, 1, 2)
    boxes = _found_boxes(model, pictures)
    classes = nn.Parameter(torch.randn(int(who.max()) + 1, model.config.embedding))
    parameters = [*model.embedder.parameters(), *model.projection.parameters(), classes]
    rate, steps = recipe.embedder_learning_rate, recipe.embedder_steps
    optimizer, schedule = _one_cycle(parameters, rate, steps, recipe.weight_decay)
    model.train()
    with progress(steps, "training the embedder", unit="step") as bar:
        for step in range(steps):
            rows = torch.from_numpy(rng.integers(len(images), size=recipe.embedder_batch))
            moved = boxes[rows] + torch.from_numpy(rng.normal(0, 0.3, (len(rows), 4)).astype(np.float32))
            heads = cut_heads(pictures[rows] / 255, moved, model.config.head)
            heads = (heads.flip(3) if step % 2 else heads).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                made = model.embed(heads)
            labels = torch.from_numpy(who[rows])
            loss = margin_loss(made.float(), classes, labels, recipe.scale, recipe.margin)
            _step(loss, optimizer, schedule)
            bar.update(1)


def margin_loss(embeddings: Tensor, classes: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """Cross-entropy of s cos(e, w_c), with s (cos - m) for the right class (CosFace, Wang et al., 2018, Eq. 4)."""
    cosines = functional.normalize(embeddings, dim=1) @ functional.normalize(classes, dim=1).T
    right = functional.one_hot(labels, len(classes)).to(cosines)
    return functional.cross_entropy(scale * (cosines - margin * right), labels)


@torch.inference_mode()
def _found_boxes(model: MiniFaceModel, pictures: Tensor) -> Tensor:
    model.eval()
    return torch.cat([model.detect(part / 255)[1] for part in pictures.split(256)]).clone()


def _pictures(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def _one_cycle(parameters: list, rate: float, steps: int, decay: float) -> tuple:
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=decay)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.15)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    schedule.step()


def detection_scores(finder: FaceFinder, images: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Accuracy of "a face is seen", and how many of the faces and of the others are said to be faces."""
    scores, _ = find_faces(finder, list(images), batch=64)
    found = scores > 0
    return {
        "detection_accuracy": round(float((found == seen).mean()), 4),
        "faces_found": round(float(found[seen].mean()), 4),
        "others_found": round(float(found[~seen].mean()), 4),
    }


def person_scores(finder: FaceFinder, images: np.ndarray, who: np.ndarray) -> dict[str, float]:
    """Of people's first found face against everyone's second: how often the nearest is the same person's (`top1`), and
    the share of pairs of one person that are nearer than a pair of two people (`verification`, the area under the ROC).
    """
    scores, embeddings = find_faces(finder, list(images), batch=64)
    rows = [np.flatnonzero((who == person) & (scores > 0))[:2] for person in np.unique(who)]
    queries, gallery = np.array([pair for pair in rows if len(pair) == 2]).T
    cosines = embeddings[queries] @ embeddings[gallery].T
    same = np.eye(len(cosines), dtype=bool)
    nearer = cosines[same][:, None] > cosines[~same][None]
    return {
        "top1": round(float((cosines.argmax(1) == np.arange(len(cosines))).mean()), 4),
        "verification": round(float(nearer.mean()), 4),
        "people": len(cosines),
    }
