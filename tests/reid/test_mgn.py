"""MGN's structure, and its loss and step against literal transcriptions in doubles, with gradients."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models import mgn as module
from dlcr.reid.models.base import Batch, build_model
from dlcr.reid.models.losses import hard_triplet_loss
from dlcr.reid.models.mgn import MGN
from dlcr.reid.models.resnet import mini_resnet

SUBJECTS = [0, 0, 1, 1, 2, 2]


def literal_hard_triplet(f: Tensor, subjects: list[int], margin: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(f)):
        positive, negative = torch.zeros((), dtype=torch.float64), None
        for j in range(len(f)):
            if j == i:
                continue  # at distance 0 of itself, where the root has no gradient
            distance = sum((f[i, d] - f[j, d]) ** 2 for d in range(f.shape[1])) ** 0.5
            if subjects[j] == subjects[i]:
                positive = distance if distance > positive else positive
            else:
                negative = distance if negative is None or distance < negative else negative
        if margin + positive - negative > 0:
            total = total + margin + positive - negative
    return total / len(f)


def literal_cross_entropy(logits: Tensor, labels: list[int], smoothing: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i, label in enumerate(labels):
        log_z = logits[i].exp().sum().log()
        for c in range(logits.shape[1]):
            target = (1 - smoothing) * (c == label) + smoothing / logits.shape[1]
            total = total - target * (logits[i, c] - log_z)
    return total / len(labels)


def literal_regions(maps: list[Tensor]) -> list[Tensor]:
    """The maps' regions that have a feature each, by row numbers."""
    whole, halves, thirds = maps
    h2, h3 = halves.shape[2] // 2, thirds.shape[2] // 3
    return [
        whole,
        halves,
        thirds,
        halves[:, :, :h2],
        halves[:, :, h2:],
        thirds[:, :, :h3],
        thirds[:, :, h3 : 2 * h3],
        thirds[:, :, 2 * h3 :],
    ]


def literal_features(model: MGN, maps: list[Tensor]) -> list[Tensor]:
    """f_1..f_8 by hand in train mode: the largest value of a region, W, batch norm over the batch, ReLU."""
    features = []
    for i, region in enumerate(literal_regions(maps)):
        weight, norm = model.reductions[i][0].weight, model.reductions[i][1]
        z = torch.stack([torch.stack([channel.max() for channel in image]) for image in region])
        h = torch.stack([weight @ row for row in z])
        mean = h.sum(0) / len(h)
        variance = ((h - mean) ** 2).sum(0) / len(h)
        features.append((norm.weight * (h - mean) / (variance + 1e-5) ** 0.5 + norm.bias).clamp(min=0))
    return features


def literal_loss(model: MGN, maps: list[Tensor], subjects: list[int], w: float, margin: float, smoothing: float):
    f = literal_features(model, maps)
    identity = torch.zeros((), dtype=torch.float64)
    for i in range(8):
        head = model.identity_heads[i]
        identity = identity + literal_cross_entropy(f[i] @ head.weight.T + head.bias, subjects, smoothing) / 8
    triplet = sum(literal_hard_triplet(f[i], subjects, margin) for i in (0, 1, 2)) / 3
    return identity, triplet, identity + w * triplet


def batch_of(subjects: list[int], real: list[bool] | None = None, clothes: list[int] | None = None) -> Batch:
    return Batch(
        subjects=torch.tensor(subjects),
        clothes=torch.tensor(clothes or subjects),
        real=torch.tensor(real or [True] * len(subjects)),
        position=torch.arange(len(subjects)) % 2,
    )


def engine_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., None]:
    """One step, which reaches every parameter of the group, and none outside it."""
    groups = model.parameter_groups()

    def step(loss: Tensor, *names: str) -> None:
        assert names == ("main",)
        loss.backward()
        stepped = {id(parameter) for name in names for parameter in groups[name]}
        for parameter in model.parameters():
            assert (parameter.grad is not None) == (id(parameter) in stepped)
        optimizer.step()
        optimizer.zero_grad()

    return step


def collect(losses: list[Tensor]) -> Callable[..., None]:
    return lambda loss, *names: losses.append(loss)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.2, 5.0]), st.booleans())
def test_hard_triplet_loss_is_the_formula(seed: int, margin: float, with_loner: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    subjects = [0, 0, 1, 1, 2, 2, 3 if with_loner else 2]
    loss, literal = hard_triplet_loss(f, torch.tensor(subjects), margin), literal_hard_triplet(f, subjects, margin)
    torch.testing.assert_close(loss, literal, rtol=1e-10, atol=1e-12)
    ours, theirs = (torch.autograd.grad(x, f, allow_unused=True)[0] for x in (loss, literal))
    torch.testing.assert_close(ours, torch.zeros_like(f) if theirs is None else theirs, rtol=1e-8, atol=1e-12)


def test_hard_triplet_loss_of_known_distances() -> None:
    f = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [0.0, 2.0]])
    # farthest positives 5, 5, 1, 1; nearest negatives 1, sqrt(13), 1, 2: their lengths count, unlike for cosines
    expected = (5.2 + (6.2 - 13**0.5) + 1.2 + 0.2) / 4
    assert hard_triplet_loss(f, torch.tensor([0, 0, 1, 1]), 1.2).item() == pytest.approx(expected, rel=1e-6)


def test_hard_triplet_loss_of_equal_features_has_finite_gradients() -> None:
    f = torch.full((4, 3), 100.0).requires_grad_()
    loss = hard_triplet_loss(f, torch.tensor([0, 0, 1, 1]), 0.3)
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert torch.isfinite(f.grad).all()


@pytest.mark.parametrize(("w", "margin", "smoothing"), [(2.0, 1.2, 0.1), (0.5, 0.3, 0.0)])
def test_the_loss_is_the_papers(w: float, margin: float, smoothing: float) -> None:
    torch.manual_seed(0)
    model = build_model("mgn-mini", 3, [0, 1, 2], triplet_weight=w, margin=margin, smoothing=smoothing).double()
    for reduction in model.reductions:
        nn.init.normal_(reduction[1].bias, std=0.5)
    sizes = [(6, 3), (12, 6), (12, 6)]
    maps = [torch.randn(6, 160, *size, dtype=torch.float64, requires_grad=True) for size in sizes]
    totals: list[Tensor] = []
    losses = model.train_step(tuple(maps), batch_of(SUBJECTS), 0, collect(totals))
    identity, triplet, total = literal_loss(model, maps, SUBJECTS, w, margin, smoothing)
    assert losses == pytest.approx({"identity": identity.item(), "triplet": triplet.item()}, rel=1e-10)
    torch.testing.assert_close(totals[0], total, rtol=1e-10, atol=1e-12)
    leaves = [*maps, *model.reductions.parameters(), *model.identity_heads.parameters()]
    for ours, theirs in zip(*(torch.autograd.grad(x, leaves) for x in (totals[0], total)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


def test_without_a_weight_there_is_no_triplet_loss() -> None:
    model, totals = build_model("mgn-mini", 3, [0, 1, 2], triplet_weight=0.0), []
    losses = model.train_step(model.body(torch.randn(6, 3, 96, 48)), batch_of(SUBJECTS), 0, collect(totals))
    assert losses == {"identity": totals[0].item()}


def test_features_are_the_eight_parts_with_running_statistics() -> None:
    torch.manual_seed(0)
    model = build_model("mgn-mini", 3, [0, 1, 2]).eval()
    for reduction in model.reductions:
        nn.init.normal_(reduction[1].running_mean)
        nn.init.uniform_(reduction[1].running_var, 0.5, 2.0)
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        maps = model.body(images)
        expected = []
        for (linear, norm, _), region in zip(model.reductions, literal_regions(list(maps)), strict=True):
            h = region.flatten(2).max(2).values @ linear.weight.T
            h = norm.weight * (h - norm.running_mean) / (norm.running_var + 1e-5).sqrt() + norm.bias
            expected.append(h.clamp(min=0))
        features = model(images)
    assert features.shape == (2, 512)
    torch.testing.assert_close(features, torch.cat(expected, dim=1), rtol=1e-4, atol=1e-5)


def test_mgn_has_the_published_size() -> None:
    subjects = 751
    with torch.device("meta"):  # shapes only
        model = build_model("mgn", subjects, list(range(subjects))).eval()
        maps = model.body(torch.empty(2, 3, 384, 128))
        features = model.features(maps)
    assert [tuple(branch.shape) for branch in maps] == [(2, 2048, 12, 4), (2, 2048, 24, 8), (2, 2048, 24, 8)]
    assert features.shape == (2, 2048)
    # a bottleneck of n channels from m: 1x1, 3x3 and 1x1 convolution, weight and bias of three batch norms
    layer = 1024 * 256 + 9 * 256**2 + 256 * 1024 + 2 * (256 + 256 + 1024)
    first = 1024 * 512 + 9 * 512**2 + 512 * 2048 + 2 * (512 + 512 + 2048) + 1024 * 2048 + 2 * 2048
    other = 2048 * 512 + 9 * 512**2 + 512 * 2048 + 2 * (512 + 512 + 2048)
    branch = 5 * layer + first + 2 * other
    reductions, heads = 8 * (2048 * 256 + 2 * 256), 8 * (256 * subjects + subjects)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 23_508_032 + 2 * branch + reductions + heads == 70_351_800


def test_branches_start_as_copies_of_the_backbones_layers(repository: Path) -> None:
    torch.manual_seed(0)
    weights = str(repository / "models/mini/backbone")
    backbone = mini_resnet(weights, last_stride=2).eval()
    coarse, fine = copy.deepcopy(backbone), mini_resnet(weights).eval()
    body = module.Branches(backbone).eval()
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        maps = body(images)
        for ours, whole in zip(maps, (coarse, fine, fine), strict=True):
            torch.testing.assert_close(ours, whole(images).last_hidden_state)
    tensors = [{parameter.data_ptr() for parameter in branch.parameters()} for branch in body.branches]
    assert not tensors[0] & tensors[1]
    assert not tensors[1] & tensors[2]
    assert not tensors[0] & tensors[2]


def test_the_full_size_splits_after_the_third_stages_first_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 3, 2], "layer_type": "bottleneck"}
    monkeypatch.setattr("dlcr.reid.models.resnet.RESNET50", shape)
    model = build_model("mgn", 3, [0, 1, 2])
    # stem, two stages and one layer are shared; two layers of the third stage and the fourth stage are not
    assert [len(branch) for branch in model.body.branches] == [3, 3, 3]
    assert len(model.body.shared) == 4
    assert model.features(model.body(torch.randn(2, 3, 96, 48))).shape == (2, 2048)
    model.train_step(
        model.body(torch.randn(6, 3, 96, 48)),
        batch_of(SUBJECTS),
        0,
        engine_step(model, torch.optim.Adam(model.parameters(), 1e-3)),
    )


def test_generated_images_count_and_clothes_do_not() -> None:
    torch.manual_seed(0)
    model = build_model("mgn-mini", 3, [0, 1, 2])
    maps = tuple(branch.detach() for branch in model.body(torch.randn(6, 3, 96, 48)))
    real, paired, generated = [True] * 6, [True] * 3 + [False] * 3, [False] * 6
    results = [
        copy.deepcopy(model).train_step(maps, batch, 0, lambda loss, *names: None)
        for batch in (
            batch_of(SUBJECTS, real),
            batch_of(SUBJECTS, paired, [2, 1, 0, 2, 1, 0]),
            batch_of(SUBJECTS, generated),
            batch_of([0, 0, 1, 1, 2, 1], paired),
        )
    ]
    assert results[0] == results[1] == results[2]
    assert results[3]["identity"] != results[0]["identity"]
    assert results[3]["triplet"] != results[0]["triplet"]


def test_state_survives() -> None:
    torch.manual_seed(0)
    model, other = build_model("mgn-mini", 3, [0, 1, 2]), build_model("mgn-mini", 3, [0, 1, 2])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    model.train_step(model.body(torch.randn(6, 3, 96, 48)), batch_of(SUBJECTS), 0, engine_step(model, optimizer))
    other.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), other.eval()(images))


@pytest.mark.slow
def test_mini_learns_eight_people_by_heart() -> None:
    torch.manual_seed(0)
    model = build_model("mgn-mini", 8, list(range(8)), smoothing=0.0)
    assert sum(parameter.numel() for parameter in model.parameters()) < 1.5e6
    subjects = [i // 4 for i in range(32)]
    # each person has a picture of their own, each image much noise
    images = F.interpolate(torch.randn(8, 3, 12, 6), scale_factor=8).repeat_interleave(4, 0)
    images = images + torch.randn(32, 3, 96, 48)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    first = None
    for _ in range(12):
        losses = model.train_step(model.body(images), batch_of(subjects), 0, engine_step(model, optimizer))
        first = first or losses
    assert first["identity"] > 1.0
    assert first["triplet"] > 0.5
    assert losses["identity"] < 0.1
    assert losses["triplet"] < 0.1
    with torch.no_grad():
        parts = model.parts(model.body(images))
    for head, f in zip(model.identity_heads, parts, strict=True):
        assert head(f).argmax(1).tolist() == subjects


def test_heads_and_reductions_start_as_in_public_code() -> None:
    torch.manual_seed(0)
    model = build_model("mgn-mini", 8, list(range(8)))
    for (linear, norm, _), head in zip(model.reductions, model.identity_heads, strict=True):
        assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 160), rel=0.1)
        assert 0.01 < norm.weight.std() < 0.03
        assert head.weight.std().item() == pytest.approx(math.sqrt(2 / 8), rel=0.15)
        assert not head.bias.any()
