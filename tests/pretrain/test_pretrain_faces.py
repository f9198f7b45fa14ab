"""The face model's recipe end to end on a few scenes, what it takes for truth, and its losses by their formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlcr.faces import FaceFinder, load_faces
from dlcr.minicc import pretrain_scene, render
from dlcr.pretrain import faces

SMALL = {"scenes": 16, "held_out": 8, "steps": 2, "batch": 4, "people": 6, "strangers": 3, "views": 3,
         "embedder_steps": 2, "embedder_batch": 8}  # fmt: skip


def test_recipe_is_seeded_and_saves_what_loads(tmp_path, few_scenes, monkeypatch):
    monkeypatch.setattr(faces, "pool", lambda count: few_scenes)
    monkeypatch.setattr(faces, "person_scores", lambda finder, images, who: {"people": len(set(who.tolist()))})
    scores = faces.pretrain(tmp_path / "a", SMALL)
    assert scores == faces.pretrain(tmp_path / "b", SMALL)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert set(scores) == {"detection_accuracy", "faces_found", "others_found", "people"}
    assert scores["people"] == 3
    assert load_faces(str(tmp_path / "a")).width == 64


def test_a_face_is_seen_from_the_front_and_uncovered():
    scene = next(
        scene
        for scene in (pretrain_scene(index, domain_mix=False) for index in range(50))
        if abs(faces.turn(scene)) < 0.3 and not scene.view.occluder and scene.person.hair_style == "short"
    )
    labels = render(scene).labels
    left, top, right, bottom = faces.face_truth(scene, labels)
    head = np.isin(labels, (faces.FACE, faces.HAIR))
    y, x = np.nonzero(head)
    assert (left, top, right, bottom) == (x.min(), y.min(), x.max() + 1, np.nonzero(labels == faces.FACE)[0].max() + 1)
    assert 6 < right - left < 16
    assert 8 < bottom - top < 18
    covered = labels.copy()
    covered[:, 24:] = 0
    covered[:, :22] = 0
    assert faces.face_truth(scene, covered) is None
    for angle, seen in ((70, True), (-70, True), (80, False), (180, False), (290, True)):
        pose = replace(scene.pose, yaw=math.radians(angle) - 0.1, head_yaw=0.1)
        assert (faces.face_truth(replace(scene, pose=pose), labels) is not None) == seen


def test_hair_below_the_chin_is_not_in_the_box():
    labels = np.zeros((96, 48), np.uint8)
    labels[10:22, 18:28] = faces.FACE
    labels[6:40, 14:18] = faces.HAIR
    labels[30:40, 5:14] = faces.HAIR
    scene = replace(pretrain_scene(0), pose=replace(pretrain_scene(0).pose, yaw=0.0, head_yaw=0.0))
    assert faces.face_truth(scene, labels) == (14, 6, 28, 22)


def test_portraits_are_the_same_people_in_other_scenes():
    images, who = faces.portraits(3, 4, "test")
    scenes = list(faces._meetings(3, 4))
    assert len({scene.camera for scene in scenes}) == 12
    assert len({scene.clothes for scene in scenes}) == 12
    assert all(abs(faces.turn(scene)) <= faces.MOST_TURN for scene in scenes)
    for number, scene in enumerate(scenes):
        assert scene.person == pretrain_scene(number // 4).person
    shown = [n for n, scene in enumerate(scenes) if faces.face_truth(scene, render(scene).labels) is not None]
    assert who.tolist() == [n // 4 for n in shown]
    assert np.array_equal(images[-1], render(scenes[shown[-1]]).image)


def test_boxes_follow_their_mirrored_image():
    labels = torch.zeros(96, 48)
    labels[6:20, 3:13] = 1
    mirrored = faces.mirror_boxes(torch.tensor([[3.0, 6, 13, 20]]), 48)[0].int().tolist()
    rows, columns = labels.flip(1).nonzero().T
    assert mirrored == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def gradients(loss, *leaves):
    return [gradient.numpy() for gradient in torch.autograd.grad(loss, leaves)]


def test_detection_loss_is_its_formula():
    torch.manual_seed(0)
    logits = torch.randn(4, 288, dtype=torch.float64, requires_grad=True)
    found = (torch.rand(4, 4, dtype=torch.float64) * 40).requires_grad_()
    boxes = torch.tensor([[18.0, 6, 28, 20], [0, 0, 0, 0], [3, 40, 10, 51], [40, 80, 48, 96]], dtype=torch.float64)
    seen = [True, False, True, True]
    total = torch.zeros((), dtype=torch.float64)
    for n in range(4):
        partition = torch.ones((), dtype=torch.float64)  # exp(0), of "no face"
        for cell in range(288):
            partition = partition + torch.exp(logits[n, cell])
        total = total + torch.log(partition) / 4
        if seen[n]:
            left, top, right, bottom = boxes[n].tolist()
            cell = int((top + bottom) / 2 // 4) * 12 + int((left + right) / 2 // 4)
            total = total - logits[n, cell] / 4
            for side in range(4):
                total = total + 5 * abs(found[n, side] - boxes[n, side]) / 4 / (bottom - top) / 4
    ours = faces.detection_loss(logits, found, torch.tensor(seen), boxes)
    assert ours.item() == pytest.approx(total.item())
    for one, other in zip(gradients(ours, logits, found), gradients(total, logits, found), strict=True):
        assert one == pytest.approx(other, abs=1e-12)


def test_margin_loss_is_its_formula():
    torch.manual_seed(1)
    embeddings = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    classes = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    labels, s, m = [3, 0, 0, 2, 1], 24.0, 0.15
    total = torch.zeros((), dtype=torch.float64)
    for n in range(5):
        cosines = []
        for c in range(4):
            dot = sum(embeddings[n, d] * classes[c, d] for d in range(6))
            lengths = [torch.sqrt(sum(row[d] ** 2 for d in range(6))) for row in (embeddings[n], classes[c])]
            cosines.append(dot / (lengths[0] * lengths[1]))
        right = torch.exp(s * (cosines[labels[n]] - m))
        wrong = sum(torch.exp(s * cosines[c]) for c in range(4) if c != labels[n])
        total = total - torch.log(right / (right + wrong)) / 5
    ours = faces.margin_loss(embeddings, classes, torch.tensor(labels), s, m)
    assert ours.item() == pytest.approx(total.item())
    for one, other in zip(gradients(ours, embeddings, classes), gradients(total, embeddings, classes), strict=True):
        assert one == pytest.approx(other, abs=1e-12)


def test_scores_count_what_they_say():
    """Four people on a circle, two pictures each, the first two of them confused; one picture has no face."""
    angles = [0, 10, 12, 1, 90, 95, 180, 188, 270]
    who = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    rows = [np.float32([math.cos(math.radians(a)), math.sin(math.radians(a))]) for a in angles]
    results = [(0.9, row) for row in rows[:-1]] + [(0.0, np.zeros(2, np.float32))]
    finder = FaceFinder(2, lambda images: [results[int(image[0, 0, 0])] for image in images])
    images = np.arange(9, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    found = faces.person_scores(finder, images, who)
    queries, gallery = angles[0:8:2], angles[1:8:2]
    cosines = [[math.cos(math.radians(q - g)) for g in gallery] for q in queries]
    top1 = sum(row[i] == max(row) for i, row in enumerate(cosines)) / 4
    own = [cosines[i][i] for i in range(4)]
    others = [cosines[i][j] for i in range(4) for j in range(4) if i != j]
    wins = sum(a > b for a in own for b in others) / len(own) / len(others)
    assert found == {"top1": top1, "verification": round(wins, 4), "people": 4}
    assert top1 == 0.5
    seen = np.array([True] * 6 + [False] * 3)
    scores = faces.detection_scores(finder, images, seen)
    assert scores == {"detection_accuracy": round(7 / 9, 4), "faces_found": 1.0, "others_found": round(2 / 3, 4)}
