"""CAL's losses and step against literal transcriptions of the formulas in doubles, with gradients."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from dlcr.reid import Batch, build_model
from dlcr.reid.models.losses import adversarial_loss, cosines, triplet_loss
from dlcr.reid.models.resnet import max_and_average

OWNERS = [0, 0, 1, 2, 2, 2]


def literal_adversarial(
    cosine: Tensor, clothes: Tensor, subjects: list[int], s: float = 16.0, eps: float = 0.1
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i, (star, y) in enumerate(zip(clothes.tolist(), subjects, strict=True)):
        own = [c for c, owner in enumerate(OWNERS) if owner == y]
        others = sum((s * cosine[i, j]).exp() for j, owner in enumerate(OWNERS) if owner != y)
        for c in own:
            log_p = s * cosine[i, c] - ((s * cosine[i, c]).exp() + others).log()
            weight = 1 - eps + eps / len(own) if c == star else eps / len(own)
            total = total - weight * log_p
    return total / len(subjects)


def literal_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    classes = logits.shape[1]
    for i, label in enumerate(labels.tolist()):
        log_z = logits[i].exp().sum().log()
        for c in range(classes):
            target = (1 - smoothing) * (c == label) + smoothing / classes
            total = total - target * (logits[i, c] - log_z)
    return total / len(labels)


def literal_triplet(f: Tensor, subjects: Tensor, margin: float = 0.3) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(f)):
        distances = [1 - (f[i] @ f[j]) / (f[i].norm() * f[j].norm()) for j in range(len(f))]
        positive = max(distances[j] for j in range(len(f)) if subjects[j] == subjects[i])
        negative = min(distances[j] for j in range(len(f)) if subjects[j] != subjects[i])
        total = total + max(torch.zeros((), dtype=torch.float64), margin + positive - negative)
    return total / len(f)


def assert_same_with_gradient(loss: Tensor, literal: Tensor, leaf: Tensor) -> None:
    torch.testing.assert_close(loss, literal, rtol=1e-10, atol=1e-12)
    ours, theirs = (torch.autograd.grad(x, leaf)[0] for x in (loss, literal))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_adversarial_loss_is_the_formula(seed: int, clothes: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    cosine = (torch.rand(len(clothes), 6, generator=generator, dtype=torch.float64) * 2 - 1).requires_grad_()
    subjects = [OWNERS[c] for c in clothes]
    owned = torch.tensor([[owner == y for owner in OWNERS] for y in subjects])
    loss = adversarial_loss(cosine, torch.tensor(clothes), owned)
    assert_same_with_gradient(loss, literal_adversarial(cosine, torch.tensor(clothes), subjects), cosine)


def test_adversarial_loss_of_one_outfit_is_cross_entropy() -> None:
    cosine = torch.rand(4, 4, dtype=torch.float64)
    clothes = torch.arange(4)
    loss = adversarial_loss(cosine, clothes, torch.eye(4, dtype=torch.bool))
    torch.testing.assert_close(loss, F.cross_entropy(16 * cosine, clothes))


def test_adversarial_loss_stays_finite_for_extreme_cosines() -> None:
    cosine = torch.tensor([[-1.0, 1.0, 1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    loss = adversarial_loss(cosine, torch.tensor([0]), torch.tensor([[True, True, False, False, False, False]]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(cosine.grad).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_triplet_loss_is_the_formula(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    f = torch.randn(7, 5, generator=generator, dtype=torch.float64).requires_grad_()
    subjects = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    assert_same_with_gradient(triplet_loss(f, subjects), literal_triplet(f, subjects), f)


def test_pooling_and_cosines() -> None:
    maps = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4)
    assert max_and_average(maps).tolist() == [[11, 23, 5.5, 17.5]]
    f, weight = torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0], [-4.0, 3.0], [-3.0, -4.0]])
    torch.testing.assert_close(cosines(f, weight), torch.tensor([[1.0, 0.0, -1.0]]))


def small_batch() -> tuple[Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    clothes = torch.tensor([0, 2, 4, 5, 1, 2, 3, 5])
    images = torch.randn(8, 3, 32, 16, generator=generator)
    real, position = torch.arange(8) < 4, torch.arange(8) % 2
    return images, Batch(torch.tensor(OWNERS)[clothes], clothes, real, position)


def sgd_step(model: torch.nn.Module, order: list[str]):
    optimizers = {name: torch.optim.SGD(group, 0.05) for name, group in model.parameter_groups().items()}

    def step(loss: Tensor, group: str) -> None:
        order.append(group)
        loss.backward()
        optimizers[group].step()
        optimizers[group].zero_grad()
        assert all(parameter.grad is None for parameter in model.parameters()), "the loss reached another group"

    return step


@pytest.mark.parametrize("triplet_weight", [0.0, 0.7])
def test_a_step_is_the_papers_two_steps(triplet_weight: float) -> None:
    torch.manual_seed(0)
    model = build_model("cal-mini", 3, OWNERS, clothes_from_epoch=2, triplet_weight=triplet_weight)
    twin, (images, batch), order = copy.deepcopy(model), small_batch(), []
    losses = model.train_step(model.body(images), batch, 2, sgd_step(model, order))

    # the same by hand: doubles from the feature on, the real images are the first four
    f = twin(images).double()
    weight = twin.clothes_head.double()
    labels = batch.clothes[:4]
    clothes_loss = literal_cross_entropy(16 * cosines(f[:4].detach(), weight), labels)
    (gradient,) = torch.autograd.grad(clothes_loss, twin.clothes_head)
    twin.clothes_head.data -= 0.05 * gradient
    logits = f @ twin.identity_head.weight.double().T + twin.identity_head.bias.double()
    identity = literal_cross_entropy(logits, batch.subjects, 0.1)
    adversarial = literal_adversarial(
        cosines(f[:4], twin.clothes_head.double()), labels, [OWNERS[c] for c in labels.tolist()]
    )
    triplet = literal_triplet(f, batch.subjects)
    main = twin.parameter_groups()["main"]
    gradients = torch.autograd.grad(identity + adversarial + triplet_weight * triplet, main)

    assert order == ["clothes", "main"]
    expected = {"identity": identity, "clothes": clothes_loss, "adversarial": adversarial}
    expected |= {"triplet": triplet} if triplet_weight else {}
    assert losses == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-5)
    torch.testing.assert_close(model.clothes_head, twin.clothes_head, rtol=1e-5, atol=1e-6)
    for ours, theirs, gradient in zip(model.parameter_groups()["main"], main, gradients, strict=True):
        torch.testing.assert_close(ours, theirs - 0.05 * gradient, rtol=1e-4, atol=2e-5)


def test_clothes_losses_wait_for_their_epoch_and_for_real_images() -> None:
    model, order = build_model("cal-mini", 3, OWNERS, clothes_from_epoch=2), []
    before = model.clothes_head.detach().clone()
    images, batch = small_batch()
    assert set(model.train_step(model.body(images), batch, 1, sgd_step(model, order))) == {"identity"}
    none_real = replace(batch, real=torch.zeros(8, dtype=torch.bool))
    assert set(model.train_step(model.body(images), none_real, 2, sgd_step(model, order))) == {"identity"}
    assert order == ["main", "main"]
    assert torch.equal(model.clothes_head, before)


def test_generated_clothes_labels_do_not_matter_but_their_images_do() -> None:
    torch.manual_seed(0)
    model = build_model("cal-mini", 3, OWNERS, clothes_from_epoch=0)
    (images, batch), results = small_batch(), []
    other_labels = batch.clothes.clone()
    other_labels[4:] = 0
    other_images = images.clone()
    other_images[4:] += 1
    for seen, clothes in ((images, batch.clothes), (images, other_labels), (other_images, batch.clothes)):
        twin = copy.deepcopy(model)
        twin.train_step(twin.body(seen), replace(batch, clothes=clothes), 0, sgd_step(twin, []))
        results.append((twin.neck.running_mean, twin.clothes_head.detach()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert not torch.allclose(results[0][0], results[2][0])  # batch norm sees both kinds


@pytest.mark.slow
def test_overfits_eight_people() -> None:
    torch.manual_seed(0)
    model = build_model("cal-mini", 8, [y // 2 for y in range(16)], clothes_from_epoch=0)
    optimizers = {name: torch.optim.Adam(group, 2e-3) for name, group in model.parameter_groups().items()}
    images = torch.randn(8, 1, 3, 32, 16).repeat(1, 4, 1, 1, 1).flatten(0, 1) + 0.5 * torch.randn(32, 3, 32, 16)
    subjects = torch.arange(8).repeat_interleave(4)
    place = torch.arange(32) % 4
    batch = Batch(subjects, 2 * subjects + place % 2, torch.ones(32, dtype=torch.bool), place)

    def step(loss: Tensor, group: str) -> None:
        loss.backward()
        optimizers[group].step()
        optimizers[group].zero_grad()

    for _ in range(40):
        losses = model.train_step(model.body(images), batch, 0, step)
    assert (model.identity_head(model(images)).argmax(1) == subjects).all()
    assert losses["identity"] < 0.8  # smoothing .1 of eight classes keeps it above .5
    assert losses["clothes"] < 0.5
