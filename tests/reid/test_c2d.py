"""C2D: its body and its steps against literal transcriptions in doubles, and from a CCVID on the disk to features."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dlcr.data import load_manifest, open_images, read_dataset
from dlcr.data.pack import pack
from dlcr.evaluation.features import extract_tracklet_features
from dlcr.evaluation.protocols import TEST_SPLITS
from dlcr.evaluation.tracklets import tracklet_of
from dlcr.reid.clips import chunks, pick_clip
from dlcr.reid.colours import normalise
from dlcr.reid.models import Batch, ReidModel, build_model
from dlcr.reid.models.c2d import C2D

OWNERS = [0, 0, 1, 2, 2, 2]


def stepper(model: ReidModel, order: list[tuple[str, ...]], rate: float = 0.05) -> Callable[..., None]:
    """What the engine does in a step, by SGD; no other parameter may have got a gradient."""
    groups = model.parameter_groups()

    def step(loss: Tensor, *names: str) -> None:
        order.append(names)
        loss.backward()
        for group, parameters in groups.items():
            for parameter in parameters:
                assert group in names or parameter.grad is None, f"a gradient of {group} in the step of {names}"
                if parameter.grad is not None:
                    parameter.data -= rate * parameter.grad
                    parameter.grad = None

    return step


def small_batch(real: tuple[bool, ...] = (True,) * 4 + (False,) * 4) -> tuple[Tensor, Batch]:
    """Eight clips of two frames, in doubles, and their labels."""
    clips = torch.randn(8, 2, 3, 32, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clothes = torch.tensor([0, 2, 4, 5, 1, 2, 3, 5])
    return clips, Batch(torch.tensor(OWNERS)[clothes], clothes, torch.tensor(real), torch.zeros(8, dtype=torch.int64))


def mini(**settings: object) -> C2D:
    torch.manual_seed(0)
    return build_model("c2d-mini", 3, OWNERS, **settings).double()


def test_the_published_structure() -> None:
    # CCVID: 75 subjects; 150 clothes stand for as many as there are
    model = build_model("c2d", 75, [i % 75 for i in range(150)])
    count = sum(parameter.numel() for parameter in model.parameters())
    # ResNet-50 without its classifier, the neck's weight and bias, identity head with bias, clothes head
    assert count == 23_508_032 + 2 * 2048 + (75 * 2048 + 75) + 150 * 2048
    assert model.frames == 8
    model.eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 1, 3, 32, 16)).shape == (2, 2048)
        # the last stage keeps the resolution: H / 16
        assert model.body.resnet(torch.zeros(1, 3, 64, 32)).last_hidden_state.shape == (1, 2048, 4, 2)


def test_the_state_has_cals_names() -> None:
    model = mini()
    assert set(model.state_dict()) == set(build_model("cal-mini", 3, OWNERS).state_dict())
    other = build_model("c2d-mini", 3, OWNERS).double()
    other.load_state_dict(model.state_dict())
    clips, _ = small_batch()
    assert torch.equal(model.eval()(clips), other.eval()(clips))


def test_the_body_is_frame_by_frame_maxima_and_their_mean() -> None:
    body = mini().body.eval()
    clips = torch.randn(2, 3, 3, 32, 16, dtype=torch.float64, requires_grad=True)
    literal = []
    for clip in clips:
        total = 0
        for frame in clip:
            stack = body.resnet(frame[None]).last_hidden_state[0]
            total = total + torch.stack([torch.stack([*channel.flatten()]).max() for channel in stack])
        literal.append(total / 3)
    found, literal = body(clips), torch.stack(literal)
    assert found.shape == (2, 160)
    torch.testing.assert_close(found, literal, rtol=1e-10, atol=1e-12)
    weights = torch.randn(2, 160, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((weights * x).sum(), clips)[0] for x in (found, literal))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_in_mixed_precision_the_mean_over_time_is_float32() -> None:
    body = mini().float().body.eval()
    clips = torch.randn(2, 8, 3, 32, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        maps = body.resnet(clips.flatten(0, 1)).last_hidden_state
        found = body(clips)
    assert maps.dtype == torch.bfloat16
    expected = maps.amax((2, 3)).reshape(2, 8, 160).float().mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def literal_log_softmax(logits: Tensor, label: int) -> Tensor:
    return logits[label] - sum(logit.exp() for logit in logits).log()


def literal_cosines(f: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([w @ f / (w.norm() * f.norm()) for w in weight])


def literal_adversarial(cosine: Tensor, clothes: int) -> Tensor:
    own = [c for c, owner in enumerate(OWNERS) if owner == OWNERS[clothes]]
    others = sum((16 * cosine[c]).exp() for c in range(len(OWNERS)) if c not in own)
    total = 0
    for c in own:
        weight = (0.9 if c == clothes else 0.0) + 0.1 / len(own)
        total = total - weight * (16 * cosine[c] - ((16 * cosine[c]).exp() + others).log())
    return total


def test_a_step_is_cals_two_steps_without_smoothing() -> None:
    model, order = mini(), []
    (clips, batch), twin = small_batch(), copy.deepcopy(model)
    losses = model.train_step(model.body(clips), batch, 50, stepper(model, order))

    f = twin.neck(twin.body(clips))
    logits = f @ twin.identity_head.weight.T + twin.identity_head.bias
    identity = -sum(literal_log_softmax(logits[i], int(batch.subjects[i])) for i in range(8)) / 8
    real = [(f[i], int(batch.clothes[i])) for i in range(4)]
    of_clothes = [-literal_log_softmax(16 * literal_cosines(x.detach(), twin.clothes_head), label) for x, label in real]
    clothes = sum(of_clothes) / 4
    (gradient,) = torch.autograd.grad(clothes, twin.clothes_head)
    head = (twin.clothes_head - 0.05 * gradient).detach()
    adversarial = sum(literal_adversarial(literal_cosines(x, head), label) for x, label in real) / 4
    main = twin.parameter_groups()["main"]
    gradients = torch.autograd.grad(identity + adversarial, main)

    assert order == [("clothes",), ("main",)]
    expected = {"identity": identity, "clothes": clothes, "adversarial": adversarial}
    assert losses == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-10)
    torch.testing.assert_close(model.clothes_head, head, rtol=1e-10, atol=1e-12)
    for ours, theirs, gradient in zip(model.parameter_groups()["main"], main, gradients, strict=True):
        torch.testing.assert_close(ours, theirs - 0.05 * gradient, rtol=1e-8, atol=1e-10)


def test_clothes_losses_wait_for_epoch_50_and_for_real_clips() -> None:
    model, order = mini(), []
    before = model.clothes_head.detach().clone()
    clips, batch = small_batch()
    assert set(model.train_step(model.body(clips), batch, 49, stepper(model, order))) == {"identity"}
    clips, batch = small_batch(real=(False,) * 8)
    assert set(model.train_step(model.body(clips), batch, 50, stepper(model, order))) == {"identity"}
    assert order == [("main",), ("main",)]
    assert torch.equal(model.clothes_head, before)


def test_generated_clothes_labels_do_not_matter_but_their_clips_do() -> None:
    model, results = mini(clothes_from_epoch=0), []
    clips, batch = small_batch()
    relabelled = replace(batch, clothes=torch.where(batch.real, batch.clothes, 0))
    changed = torch.cat([clips[:4], clips[4:] + 1])
    for seen, labels in ((clips, batch), (clips, relabelled), (changed, batch)):
        twin = copy.deepcopy(model)
        twin.train_step(twin.body(seen), labels, 0, stepper(twin, []))
        results.append(twin.state_dict())
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())
    for name in ("neck.running_mean", "clothes_head", "identity_head.weight"):
        assert not torch.allclose(results[0][name], results[2][name])


def test_the_mini_model_learns_eight_people_by_heart() -> None:
    torch.manual_seed(0)
    subjects = torch.arange(8).repeat_interleave(4)
    clothes = torch.arange(16).repeat_interleave(2)
    model = build_model("c2d-mini", 8, [c // 2 for c in range(16)], clothes_from_epoch=0)
    # four clips of each: the person's own blocks of colour under noise
    looks = torch.randn(8, 1, 3, 4, 2).repeat_interleave(4, 0).repeat_interleave(8, 3).repeat_interleave(8, 4)
    clips = looks + 0.5 * torch.randn(32, 2, 3, 32, 16)
    batch = Batch(subjects, clothes, torch.ones(32, dtype=torch.bool), torch.arange(32) % 4)
    optimizers = {name: torch.optim.Adam(group, 3e-3) for name, group in model.parameter_groups().items()}

    def step(loss: Tensor, *names: str) -> None:
        loss.backward()
        for name in names:
            optimizers[name].step()
            optimizers[name].zero_grad()

    losses = [model.train_step(model.body(clips), batch, 0, step) for _ in range(16)]
    assert losses[0]["identity"] == pytest.approx(np.log(8), rel=0.1)
    assert losses[-1]["identity"] < 0.1
    logits = model.identity_head(model.features(model.body(clips)))
    assert torch.equal(logits.argmax(1), subjects)


SIZE = (32, 16)
LENGTHS = {"train": (70, 9, 3, 130), "query": (5, 40), "gallery": (33, 8)}


@pytest.fixture
def ccvid(tmp_path: Path) -> Path:
    """data/ccvid, packed from a CCVID of its official layout: subject s has one tracklet of each length, each frame
    of its own grey."""
    top = tmp_path / "CCVID"
    lists = {}
    for session, (split, lengths) in enumerate(LENGTHS.items(), start=1):
        for subject in range(1, 4):
            for camera, length in enumerate(lengths, start=1):
                name = f"session{session}/{subject:03d}_{camera:02d}"
                lists.setdefault(split, []).append(f"{name}\t{subject:03d}\tu{camera % 2}_l0\n")
                (top / name).mkdir(parents=True)
                for frame in range(1, length + 1):
                    grey = Image.new("RGB", SIZE[::-1], (40 * subject, frame, 10 * camera))
                    grey.save(top / name / f"{frame:05d}.jpg", quality=100, subsampling=0)
    for split, lines in lists.items():
        (top / f"{split}.txt").write_text("".join(lines))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the counts differ from the published ones
        manifest = read_dataset("ccvid", tmp_path)
    pack(manifest, lambda image_id: (tmp_path / image_id).read_bytes(), tmp_path / "data", {"dataset": "ccvid"})
    return tmp_path / "data"


def test_from_a_dataset_to_features_of_tracklets(ccvid: Path) -> None:
    manifest, images = load_manifest(ccvid), open_images(ccvid / "images")
    train = manifest[manifest["split"] == "train"].reset_index(drop=True)
    found = chunks(train)
    assert [len(chunk) for chunk in found] == [70, 9, 3, 64, 66] * 3

    rng = np.random.default_rng(0)
    rows = np.stack([pick_clip(chunk, rng) for chunk in found])
    for own in rows:
        assert train["tracklet"].iloc[own].nunique() == 1
        assert train["frame"].iloc[own].is_monotonic_increasing
    pixels = np.stack([images[image_id] for image_id in train["image_id"].iloc[rows.ravel()]])
    clips = normalise(torch.from_numpy(pixels)).unflatten(0, rows.shape)
    assert clips.shape == (15, 8, 3, *SIZE)

    subjects = torch.from_numpy(np.unique(train["subject"].iloc[rows[:, 0]], return_inverse=True)[1])
    names, clothes = np.unique(train["clothes"].iloc[rows[:, 0]], return_inverse=True)
    owners = [int(name.split("-")[0]) - 1 for name in names]
    torch.manual_seed(0)
    model = build_model("c2d-mini", 3, owners, clothes_from_epoch=0)
    batch = Batch(subjects, torch.from_numpy(clothes), torch.ones(15, dtype=torch.bool), torch.arange(15) % 5)
    losses = [model.train_step(model.body(clips), batch, 0, stepper(model, [])) for _ in range(2)]
    assert set(losses[0]) == {"identity", "clothes", "adversarial"}
    assert losses[1]["identity"] < losses[0]["identity"]

    test = manifest[manifest["split"].isin(TEST_SPLITS)].reset_index(drop=True)
    number = tracklet_of(test)
    tracklets = [test["image_id"][number == t].tolist() for t in range(number.max() + 1)]
    assert sorted(map(len, tracklets)) == sorted(3 * (LENGTHS["query"] + LENGTHS["gallery"]))
    features = extract_tracklet_features(model, images, tracklets, SIZE)
    assert features.shape == (12, 160)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    # a tracklet's feature is its own, whatever stands beside it
    again = extract_tracklet_features(model, images, tracklets[::-1], SIZE, batch=8)
    np.testing.assert_allclose(again[::-1], features, rtol=1e-4, atol=1e-5)
    assert np.abs(features[:, None] - features).max(-1)[~np.eye(12, dtype=bool)].min() > 1e-3
