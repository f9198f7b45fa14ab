"""PCB's structure, and its step against a literal transcription in doubles, with gradients."""

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models.base import Batch, ReidModel, build_model
from dlcr.reid.models.pcb import PCB
from dlcr.reid.models.stripes import stripes

BACKBONE = 23_508_032  # a ResNet-50 without its classifier
OWNERS = [0, 0, 1, 2, 2]


def literal_cross_entropy(logits: list[Tensor], label: int, smoothing: float) -> Tensor:
    """Of one sample: logits is a list of scalars."""
    log_z = sum(z.exp() for z in logits).log()
    targets = [(1 - smoothing) * (c == label) + smoothing / len(logits) for c in range(len(logits))]
    return sum(-target * (z - log_z) for target, z in zip(targets, logits, strict=True))


def literal_triplet(f: list[Tensor], subjects: list[int], margin: float = 0.3) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i, a in enumerate(f):
        distances = [1 - (a * b).sum() / (a * a).sum().sqrt() / (b * b).sum().sqrt() for b in f]
        positive = max(d for d, y in zip(distances, subjects, strict=True) if y == subjects[i])
        negative = min(d for d, y in zip(distances, subjects, strict=True) if y != subjects[i])
        total = total + max(torch.zeros((), dtype=torch.float64), margin + positive - negative)
    return total / len(f)


def literal_reduction(vectors: list[Tensor], block: nn.Sequential) -> list[Tensor]:
    """1x1 convolution, batch norm in train mode and ReLU of all vectors that share the batch norm."""
    weight, gamma, beta = block[0].weight, block[1].weight, block[1].bias
    columns = []
    for k in range(len(weight)):
        values = [(weight[k] * vector).sum() for vector in vectors]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        normed = [gamma[k] * (v - mean) / (variance + 1e-5).sqrt() + beta[k] for v in values]
        columns.append([max(v, torch.zeros_like(v)) for v in normed])
    return [torch.stack(row) for row in zip(*columns, strict=True)]


def literal_pixels(image: Tensor, first: int, after: int) -> list[Tensor]:
    """The vectors [D] of all pixels in some rows of one map [D, h, w]."""
    return [image[:, r, c] for r, c in itertools.product(range(first, after), range(image.shape[2]))]


def double_model(name: str, **kwargs: float) -> ReidModel:
    """In train mode; everything behind the body random enough for each part to matter."""
    model = build_model(name, 3, OWNERS, **kwargs).double().train()
    for key, parameter in model.named_parameters():
        if not key.startswith("body."):
            nn.init.normal_(parameter, std=0.3)
    return model


def batch_of(subjects: list[int], generated: int = 0) -> Batch:
    """The last `generated` images are generated ones."""
    b = len(subjects)
    clothes = torch.tensor([OWNERS.index(y) for y in subjects])
    return Batch(torch.tensor(subjects), clothes, torch.arange(b) < b - generated, torch.arange(b) % 2)


def compare_with_literal(
    model: ReidModel, maps: Tensor, batch: Batch, expected: dict[str, Tensor], total: Tensor, seed: int
) -> None:
    """The model's step gives the losses, and its loss the gradients, that the literal transcription has."""
    leaves = [maps, *(parameter for key, parameter in model.named_parameters() if not key.startswith("body."))]
    calls = []

    def step(loss: Tensor, *groups: str) -> None:
        calls.append((groups, loss, torch.autograd.grad(loss, leaves)))

    torch.manual_seed(seed)
    losses = model.train_step(maps, batch, 0, step)
    ((groups, loss, gradients),) = calls
    assert groups == ("main",)
    assert losses == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-10)
    torch.testing.assert_close(loss, total, rtol=1e-10, atol=0)
    for ours, theirs in zip(gradients, torch.autograd.grad(total, leaves), strict=True):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-11)


def adam_step(model: ReidModel, rate: float = 1e-3) -> Callable[..., None]:
    """What the engine does with a loss; nothing but the stepped groups may get a gradient, and all of those do."""
    groups = model.parameter_groups()
    assert sorted(map(id, itertools.chain(*groups.values()))) == sorted(map(id, model.parameters()))
    optimizers = {name: torch.optim.Adam(group, rate) for name, group in groups.items()}

    def step(loss: Tensor, *names: str) -> None:
        loss.backward()
        stepped = {id(parameter) for name in names for parameter in groups[name]}
        assert {id(parameter) for parameter in model.parameters() if parameter.grad is not None} == stepped
        for name in names:
            optimizers[name].step()
            optimizers[name].zero_grad()

    return step


def assert_overfits(model: ReidModel, heads: Callable[[Tensor], list[Tensor]], steps: int) -> None:
    """Eight people, each a pattern of colours in four noisy images: all heads name everyone, the loss is near zero."""
    subjects = torch.arange(8).repeat_interleave(4)
    patterns = F.interpolate(torch.randn(8, 3, 12, 6), scale_factor=8)
    images = patterns[subjects] + 0.5 * torch.randn(32, 3, 96, 48)
    batch = Batch(subjects, subjects, torch.ones(32, dtype=torch.bool), torch.arange(32) % 4)
    step, history = adam_step(model, 0.02), []
    model.start_epoch(0)
    for _ in range(steps):
        history.append(model.train_step(model.body(images), batch, 0, step)["identity"])
    assert history[-1] < 0.02 * history[0]
    with torch.no_grad():
        logits = heads(model.body(images))
    assert all(torch.equal(z.argmax(1), subjects) for z in logits)


def results_of_a_step(model: ReidModel, maps: Tensor, batch: Batch) -> dict[str, Tensor]:
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    groups = twin.parameter_groups()

    def step(loss: Tensor, *names: str) -> None:
        loss.backward()
        for name in names:
            torch.optim.SGD(groups[name], 0.1).step()

    twin.train_step(maps, batch, 0, step)
    return twin.state_dict()


def assert_only_generated_images_matter(name: str) -> None:
    """Their clothes and what says that they are generated do not; a batch may be of generated images only."""
    model = build_model(name, 3, OWNERS, triplet_weight=1.0).train()
    maps, batch = torch.rand(8, 160, 12, 6), batch_of([0, 0, 1, 1] * 2, generated=4)
    before = results_of_a_step(model, maps, batch)
    relabelled = Batch(batch.subjects, 4 - batch.clothes, torch.zeros(8, dtype=torch.bool), batch.position)
    after = results_of_a_step(model, maps, relabelled)
    assert all(torch.equal(before[key], after[key]) for key in before)
    other = torch.cat([maps[:4], torch.rand(4, 160, 12, 6)])
    heads = [key for key in before if key.startswith("identity_heads")]
    assert heads
    images_changed, subjects_changed = (
        results_of_a_step(model, *changed)
        for changed in ((other, batch), (maps, batch_of([0, 0, 1, 1, 2, 2, 1, 1], 4)))
    )
    for key in heads:
        assert not torch.equal(before[key], images_changed[key])
        assert not torch.equal(before[key], subjects_changed[key])


def assert_state_survives(name: str) -> None:
    """After a step, a model of the same name that loads the state gives the same features and the same next step."""
    torch.manual_seed(0)
    model, other = (build_model(name, 3, OWNERS) for _ in range(2))
    images, batch = torch.randn(4, 3, 96, 48), batch_of([0, 0, 1, 1])
    model.start_epoch(0)
    model.train_step(model.body(images), batch, 0, adam_step(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    other.load_state_dict(model.state_dict())
    maps = torch.rand(4, 160, 12, 6)
    ours, theirs = (results_of_a_step(m.train(), maps, batch) for m in (model, other))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), other.eval()(images))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8))
def test_stripes_are_those_of_adaptive_pooling(height: int, count: int) -> None:
    maps = torch.rand(2, 3, height, 2, dtype=torch.float64)
    ours = torch.stack([stripe.mean((2, 3)) for stripe in stripes(maps, count)], dim=2)
    torch.testing.assert_close(ours, F.adaptive_avg_pool2d(maps, (count, 1)).squeeze(3))
    if height % count == 0:
        assert torch.equal(torch.cat(stripes(maps, count), dim=2), maps)


def test_pcb_has_the_papers_shape() -> None:
    model = build_model("pcb", 5, range(5)).eval()
    # one 1x1 convolution without bias and one batch norm for all stripes; six classifiers with bias
    assert sum(parameter.numel() for parameter in model.parameters()) == (
        BACKBONE + 2048 * 256 + 2 * 256 + 6 * (256 * 5 + 5)
    )
    assert 0.8 < model.reduction[0].weight.std() / (2 / 256) ** 0.5 < 1.2
    assert all(0.0005 < head.weight.std() < 0.002 and not head.bias.any() for head in model.identity_heads)
    with torch.no_grad():
        assert model.body(torch.randn(1, 3, 192, 64)).shape == (1, 2048, 12, 4)
        assert model.features(torch.rand(2, 2048, 24, 8)).shape == (2, 12288)
    assert PCB(2, [0, 1]).dropout == 0.5


def test_mini_feature_is_six_stripes_of_length_1() -> None:
    model = build_model("pcb-mini", 2, [0, 1]).eval()
    maps = torch.rand(3, 160, 12, 6)
    f = model.features(maps)
    for i, part in itertools.product(range(3), range(6)):
        pixels = literal_pixels(maps[i], 2 * part, 2 * part + 2)
        g = sum(pixels) / len(pixels)
        torch.testing.assert_close(f[i, 160 * part : 160 * (part + 1)], g / (g * g).sum().sqrt())
    assert torch.equal(model.train().features(maps), f)  # no dropout in it
    with torch.no_grad():
        assert model(torch.randn(2, 3, 96, 48)).shape == (2, 960)
        assert model(torch.randn(2, 3, 100, 48)).shape == (2, 960)  # a map of 13 rows


@pytest.mark.parametrize(
    ("smoothing", "triplet_weight", "dropout", "height"),
    [(0.0, 0.0, 0.0, 12), (0.1, 0.0, 0.5, 12), (0.2, 0.7, 0.5, 13)],
)
def test_a_step_is_the_formula(smoothing: float, triplet_weight: float, dropout: float, height: int) -> None:
    torch.manual_seed(0)
    model = double_model("pcb-mini", smoothing=smoothing, triplet_weight=triplet_weight, dropout=dropout)
    batch = batch_of([0, 0, 1, 1, 2])
    maps = torch.rand(5, 160, height, 2, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(9)
    kept = F.dropout(torch.ones(5, 6, 160, dtype=torch.float64), dropout)  # 0 or 1 / (1 - dropout)
    g = []
    for image in maps:
        rows = [(i * height // 6, -(-(i + 1) * height // 6)) for i in range(6)]
        pixels = [literal_pixels(image, *row) for row in rows]
        g.append([sum(stripe) / len(stripe) for stripe in pixels])
    h = literal_reduction([kept[i, part] * g[i][part] for i in range(5) for part in range(6)], model.reduction)
    identity = torch.zeros((), dtype=torch.float64)
    for part, i in itertools.product(range(6), range(5)):
        head = model.identity_heads[part]
        logits = [(head.weight[c] * h[6 * i + part]).sum() + head.bias[c] for c in range(3)]
        identity = identity + literal_cross_entropy(logits, batch.subjects[i].item(), smoothing) / 5
    f = [torch.cat([part / (part * part).sum().sqrt() for part in parts]) for parts in g]
    triplet = literal_triplet(f, batch.subjects.tolist())
    expected = {"identity": identity} | ({"triplet": triplet} if triplet_weight else {})
    compare_with_literal(model, maps, batch, expected, identity + triplet_weight * triplet, seed=9)


def test_generated_images_train_the_identity_heads() -> None:
    assert_only_generated_images_matter("pcb-mini")


def test_state_survives() -> None:
    assert_state_survives("pcb-mini")


@pytest.mark.slow
def test_mini_overfits_eight_people() -> None:
    torch.manual_seed(0)
    model = build_model("pcb-mini", 8, range(8), smoothing=0.0)

    def heads(maps: Tensor) -> list[Tensor]:
        h = [model.reduction(stripe.mean((2, 3))) for stripe in stripes(maps, 6)]
        return [head(part) for head, part in zip(model.identity_heads, h, strict=True)]

    assert_overfits(model, heads, steps=24)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 50])
def test_a_wrong_dropout_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=f"PCB: dropout must be at least 0 and less than 1, got {dropout}"):
        build_model("pcb-mini", 2, [0, 1], dropout=dropout)
