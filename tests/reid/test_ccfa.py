"""CCFA's estimate and losses against literal transcriptions in doubles."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reid.ccfa_literal import (
    Gradients,
    Steps,
    assert_same_with_gradients,
    literal_estimate,
    literal_generator,
    literal_mlp,
    literal_pairs,
    literal_statistics,
    sigmoid,
    tiny,
)

from dlcr.reid.models.ccfa import (
    GENERATOR_LOSSES,
    PairDiscriminator,
    discriminator_loss,
    pair_loss,
    statistics_loss,
)

# ---- phase I: the covariance


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=0, max_size=6), min_size=1, max_size=5), st.integers(0, 2**31))
def test_covariance_is_eq_2(batches: list[list[int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = tiny()
    data = [(torch.randn(len(c), 8, generator=generator, dtype=torch.float64), c) for c in batches]
    for f, clothes in data:
        model._estimate(f, torch.tensor(clothes, dtype=torch.long))
    means, covariance = literal_estimate(data, 0.8)
    assert model.seen.nonzero()[:, 0].tolist() == sorted(means)
    for c, mean in means.items():
        torch.testing.assert_close(model.means[c], mean)
    assert bool(model.estimated) == (covariance is not None)
    torch.testing.assert_close(model.covariance, torch.zeros(8).double() if covariance is None else covariance)


def test_a_batch_in_which_nobody_changes_clothes_uses_the_running_means() -> None:
    model = tiny()
    model._estimate(torch.zeros(1, 8).double(), torch.tensor([5]))  # subject 2 has one outfit
    model._estimate(torch.zeros(1, 8).double(), torch.tensor([0]))
    assert not model.estimated
    model._estimate(torch.full((1, 8), 3.0).double(), torch.tensor([1]))
    assert model.covariance.tolist() == [9.0] * 8


def test_covariance_converges_to_the_truth() -> None:
    """Clothes move a subject by N(0, v_d) in direction d: Sigma_c is 2 v_d plus the variance within clothes."""
    torch.manual_seed(0)
    owners = [c // 3 for c in range(300)]
    model = tiny(owners, momentum=0.9)
    spread = torch.tensor([0.0, 0.0, 0.0, 0.1, 0.5, 1.0, 2.0, 4.0]).double()
    centres = 5 * torch.randn(100, 8).double()[torch.tensor(owners)] + torch.randn(300, 8).double() * spread.sqrt()
    differences = [
        (centres[a] - centres[b]) ** 2 for a in range(300) for b in range(300) if a // 3 == b // 3 and a != b
    ]
    for _ in range(300):
        clothes = torch.randint(300, (64,))
        model._estimate(centres[clothes] + 0.3 * torch.randn(64, 8).double(), clothes)
    truth = torch.stack(differences).mean(0) + 0.3**2
    assert (truth[:3] < 0.1).all()
    assert (truth[7] - 8).abs() < 1.5
    torch.testing.assert_close(model.covariance, truth, rtol=0.15, atol=0.02)


# ---- losses


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_pair_loss_is_the_formula(seed: int) -> None:
    torch.manual_seed(seed)
    model, f = tiny(), torch.randn(5, 8).double()
    clothes, subjects = [0, 0, 1, 3, 5], [0, 0, 0, 1, 2]
    step = Gradients(model)
    model._train_discriminators(f, torch.tensor(subjects), torch.tensor(clothes), step)
    literal = literal_pairs(model, f, subjects, clothes)
    assert [groups for groups, *_ in step.taken] == [("d_clo",), ("d_id",)]
    for (name,), loss, _ in step.taken:
        assert_same_with_gradients(loss, literal[name], list(model.parameters()))


def test_pairs_have_no_order_and_extreme_logits_are_safe() -> None:
    discriminator, (f, other) = PairDiscriminator(6, 4), torch.randn(2, 3, 6)
    torch.testing.assert_close(discriminator(f, other), discriminator(other, f), rtol=0, atol=0)
    logits = torch.tensor([-300.0, 300.0, 300.0], requires_grad=True)
    same = torch.tensor([True, False, False])
    loss = pair_loss(logits, same, same, torch.tensor([True, True, False])) + discriminator_loss(logits, logits)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(logits.grad).all()


def test_a_batch_of_one_answer_teaches_no_discriminator() -> None:
    model = tiny()
    step = Steps(model)
    f = torch.randn(3, 8).double()
    assert model._train_discriminators(f, torch.tensor([0, 1, 2]), torch.tensor([0, 3, 5]), step) == {}
    assert set(model._train_discriminators(f, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 3]), step)) == {"d_id"}
    assert set(model._train_discriminators(f, torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1]), step)) == {"d_clo"}


@pytest.mark.parametrize(
    "use",
    [
        GENERATOR_LOSSES,
        *(tuple(n for n in GENERATOR_LOSSES if n != out) for out in GENERATOR_LOSSES),
        ("sta",),
        ("id",),
    ],
)
def test_generator_losses_are_the_formulas(use: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    model, f = tiny(generator_losses=use), torch.randn(4, 8).double()
    model.covariance.copy_(torch.rand(8))
    step = Gradients(model)
    torch.manual_seed(7)
    losses = model._train_generator(f, step)
    torch.manual_seed(7)
    noise = torch.empty(4, 5, dtype=torch.float64).normal_()
    g = torch.stack([literal_mlp(model.generator, z) for z in noise])
    expected = [("generator",)]
    if "adv_d" in use:
        expected = [("d_dis",), ("generator",)]
        a = torch.empty(4, 8, dtype=torch.float64).normal_() * model.covariance**0.5
        literal = sum(
            -sigmoid(literal_mlp(model.d_dis, a[i])[0]).log()
            - (1 - sigmoid(literal_mlp(model.d_dis, g[i].detach())[0])).log()
            for i in range(4)
        )
        assert_same_with_gradients(step.taken[0][1], literal / 4, list(model.parameters()))
    assert [groups for groups, *_ in step.taken] == expected
    loss = step.taken[-1][1]
    generator = list(model.generator.parameters())
    assert_same_with_gradients(loss, literal_generator(model, f, g, use), generator)
    others = [p for name, group in model.parameter_groups().items() if name != "generator" for p in group]
    assert all(x is None for x in torch.autograd.grad(loss, others, allow_unused=True))
    names = {"adv_d": "d_dis", "adv_g": "adv", "sta": "sta", "clo": "clo", "id": "id"}
    assert set(losses) == {names[name] for name in use}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_statistics_loss_is_the_formula(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    g = torch.randn(6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    covariance = torch.rand(3, generator=generator, dtype=torch.float64)
    assert_same_with_gradients(statistics_loss(g, covariance), literal_statistics(g, covariance), [g])
