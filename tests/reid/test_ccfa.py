"""CCFA's estimate, losses and phases against literal transcriptions in doubles, and on known features."""

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reid.tiny import tiny_backbone
from torch import Tensor, nn

from dlcr.reid.models.base import Batch, build_model
from dlcr.reid.models.ccfa import (
    CCFA,
    GENERATOR_LOSSES,
    PairDiscriminator,
    discriminator_loss,
    pair_loss,
    statistics_loss,
)

OWNERS = [0, 0, 0, 1, 1, 2]
SETTINGS = {
    "phase_2_from": 1,
    "phase_3_from": 2,
    "smoothing": 0.1,
    "alpha": 0.7,
    "momentum": 0.8,
    "lam": 0.6,
    "gamma1": 0.05,
    "gamma2": 2.0,
    "hidden": 16,
    "noise": 5,
    "augmentation": "generator",
    "strategy": "correlated",
    "generator_losses": GENERATOR_LOSSES,
}


def tiny(owners: Sequence[int] = OWNERS, dimension: int = 8, **changed: object) -> CCFA:
    """A CCFA of few parameters in doubles; `dimension` of f."""
    with tiny_backbone(dimension // 2):
        return CCFA(len(set(owners)), list(owners), backbone="tiny", **(SETTINGS | changed)).double()


def small_batch(seed: int = 0, generated: int = 3) -> tuple[Tensor, Batch]:
    """Maps [12, 4, 2, 1] and the labels of three groups of four, the last `generated` of them not real."""
    clothes = torch.tensor([0, 1, 0, 2, 3, 4, 4, 3, 5, 5, 5, 5])
    maps = torch.randn(12, 4, 2, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    real = torch.arange(12) < 12 - generated
    return maps, Batch(torch.tensor(OWNERS)[clothes], clothes, real, torch.arange(4).repeat(3))


class Steps:
    """Plays the engine: backward, SGD on the groups; keeps the losses; no other parameter may get a gradient."""

    def __init__(self, model: CCFA, rate: float = 0.05, adam: bool = False) -> None:
        self.model, self.taken = model, []
        make = torch.optim.Adam if adam else torch.optim.SGD
        self.optimizers = {name: make(group, rate) for name, group in model.parameter_groups().items()}

    def __call__(self, loss: Tensor, *groups: str) -> None:
        self.taken.append((groups, loss.detach()))
        loss.backward()
        mine = {id(parameter) for name in groups for parameter in self.model.parameter_groups()[name]}
        assert all(parameter.grad is None or id(parameter) in mine for parameter in self.model.parameters())
        for name in groups:
            self.optimizers[name].step()
            self.optimizers[name].zero_grad()


class Gradients(Steps):
    """Keeps the gradients of every step instead of stepping."""

    def __call__(self, loss: Tensor, *groups: str) -> None:
        parameters = [p for name in groups for p in self.model.parameter_groups()[name]]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
        self.taken.append((groups, loss, gradients))


def run_epoch(model: CCFA, epoch: int, step: Steps, seed: int = 0, **kind: int) -> dict[str, float]:
    model.start_epoch(epoch)
    maps, batch = small_batch(seed, **kind)
    torch.manual_seed(seed)
    return model.train_step(maps, batch, epoch, step)


def assert_same_with_gradients(loss: Tensor, literal: Tensor, leaves: Sequence[Tensor]) -> None:
    torch.testing.assert_close(loss, literal, rtol=1e-10, atol=1e-12)
    ours, theirs = (torch.autograd.grad(x, leaves, allow_unused=True, retain_graph=True) for x in (loss, literal))
    for our, their in zip(ours, theirs, strict=True):
        assert (our is None) == (their is None)
        if our is not None:
            torch.testing.assert_close(our, their, rtol=1e-8, atol=1e-12)


# ---- literal transcriptions


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def literal_mlp(layers: nn.Sequential, x: Tensor) -> Tensor:
    for i, layer in enumerate(linear for linear in layers if isinstance(linear, nn.Linear)):
        if i:
            x = torch.stack([v if v > 0 else 0.2 * v for v in x])
        x = torch.stack([(row * x).sum() + b for row, b in zip(layer.weight, layer.bias, strict=True)])
    return x


def literal_pair(discriminator: PairDiscriminator, f: Tensor, other: Tensor) -> Tensor:
    """D(f, f'), a probability."""
    pair = [abs(a - b) for a, b in zip(f, other, strict=True)] + [(a + b) / 2 for a, b in zip(f, other, strict=True)]
    return sigmoid(literal_mlp(discriminator.layers, torch.stack(pair))[0])


def literal_pairs(model: CCFA, f: Tensor, subjects: list[int], clothes: list[int]) -> dict[str, Tensor]:
    """Eqs. (4) and (5): positives and negatives one half each, kinds of pairs equal within."""
    kinds: dict[str, dict[str, list[Tensor]]] = {"d_clo": {}, "d_id": {}}
    for i in range(len(f)):
        for j in range(i):
            kind = "clothes" if clothes[i] == clothes[j] else "subject" if subjects[i] == subjects[j] else "none"
            p_clo, p_id = literal_pair(model.d_clo, f[i], f[j]), literal_pair(model.d_id, f[i], f[j])
            kinds["d_clo"].setdefault(kind, []).append(-(p_clo if kind == "clothes" else 1 - p_clo).log())
            kinds["d_id"].setdefault(kind, []).append(-(1 - p_id if kind == "none" else p_id).log())

    def mean(values: list[Tensor]) -> Tensor:
        return sum(values) / len(values)

    clo, same = ({kind: mean(values) for kind, values in kinds[name].items()} for name in ("d_clo", "d_id"))
    return {
        "d_clo": (clo["clothes"] + mean([clo["subject"], clo["none"]])) / 2,
        "d_id": (mean([same["clothes"], same["subject"]]) + same["none"]) / 2,
    }


def literal_identity(head: nn.Linear, f: Tensor, subjects: list[int], smoothing: float, alpha: float) -> Tensor:
    """L_id = CE + alpha triplet, Eq. (3), with CAL's triplet: hardest of the batch, cosine distance, margin 0.3."""
    total = torch.zeros((), dtype=torch.float64)
    for i, y in enumerate(subjects):
        logits = [(f[i] * w).sum() + b for w, b in zip(head.weight, head.bias, strict=True)]
        log_z = sum(z.exp() for z in logits).log()
        for c, z in enumerate(logits):
            total = total - ((1 - smoothing) * (c == y) + smoothing / len(logits)) * (z - log_z)
        distance = [1 - (f[i] @ f[j]) / (f[i].norm() * f[j].norm()) for j in range(len(f))]
        positive = max(d for d, other in zip(distance, subjects, strict=True) if other == y)
        negative = min(d for d, other in zip(distance, subjects, strict=True) if other != y)
        total = total + alpha * max(torch.zeros((), dtype=torch.float64), 0.3 + positive - negative)
    return total / len(subjects)


def literal_statistics(g: Tensor, covariance: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for d in range(g.shape[1]):
        mean = sum(g[i, d] for i in range(len(g))) / len(g)
        variance = sum((mean - g[i, d]) ** 2 for i in range(len(g))) / len(g)
        total = total + abs(mean) + abs(variance - covariance[d])
    return total


def literal_generator(model: CCFA, f: Tensor, g: Tensor, use: Sequence[str]) -> Tensor:
    """L_G = L_adv^G + gamma1 L_sta + gamma2 L_cciu, Eqs. (6), (8), (9) and (10)."""
    adversarial = cciu = torch.zeros((), dtype=torch.float64)
    for i in range(len(f)):
        augmented = f[i] + model.lam * g[i]
        if "adv_g" in use:
            adversarial = adversarial - sigmoid(literal_mlp(model.d_dis, g[i])[0]).log() / len(f)
        if "clo" in use:
            cciu = cciu - (1 - literal_pair(model.d_clo, f[i], augmented)).log() / len(f)
        if "id" in use:
            cciu = cciu - literal_pair(model.d_id, f[i], augmented).log() / len(f)
    statistics = literal_statistics(g, model.covariance) if "sta" in use else 0.0
    return adversarial + model.gamma1 * statistics + model.gamma2 * cciu


def literal_estimate(
    batches: list[tuple[Tensor, list[int]]], momentum: float
) -> tuple[dict[int, Tensor], Tensor | None]:
    """Eq. (2) over batches of features and clothes: the running means by clothes, and Sigma_c."""
    means: dict[int, Tensor] = {}
    covariance = None
    for f, clothes in batches:
        for c in set(clothes):
            own = [f[i] for i in range(len(f)) if clothes[i] == c]
            now = sum(own) / len(own)
            means[c] = momentum * means[c] + (1 - momentum) * now if c in means else now
        squares = [
            (means[c] - f[j]) ** 2
            for j in range(len(f))
            for c in means
            if c != clothes[j] and OWNERS[c] == OWNERS[clothes[j]]
        ]
        if squares:
            now = sum(squares) / len(squares)
            covariance = now if covariance is None else momentum * covariance + (1 - momentum) * now
    return means, covariance


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


# ---- the phases


@pytest.mark.parametrize("strategy", ["correlated", "uncorrelated"])
@pytest.mark.parametrize("augmentation", ["generator", "normal"])
def test_phase_3_learns_the_identity_on_augmented_features(augmentation: str, strategy: str) -> None:
    torch.manual_seed(0)
    model = tiny(augmentation=augmentation, strategy=strategy)
    model.covariance.copy_(torch.rand(8))
    maps, batch = small_batch()
    maps.requires_grad_()
    model.start_epoch(2)
    twin, step = copy.deepcopy(model), Gradients(model)
    torch.manual_seed(3)
    losses = model.train_step(maps, batch, 2, step)

    torch.manual_seed(3)
    noise = torch.empty(12, 5 if augmentation == "generator" else 8, dtype=torch.float64).normal_()
    f = twin.features(maps)
    augmented = []
    for i in range(12):
        z = noise[i % 4 if strategy == "correlated" else i]
        g = literal_mlp(twin.generator, z).detach() if augmentation == "generator" else z * model.covariance**0.5
        augmented.append(f[i] + 0.6 * g)
    literal = literal_identity(twin.identity_head, torch.stack(augmented), batch.subjects.tolist(), 0.1, 0.7)
    ((groups, loss, gradients),) = step.taken
    assert groups == ("main",)
    torch.testing.assert_close(loss, literal, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(loss, maps, retain_graph=True), torch.autograd.grad(literal, maps, retain_graph=True)
    )
    theirs = torch.autograd.grad(literal, twin.parameter_groups()["main"], allow_unused=True)
    assert sum(gradient is not None for gradient in gradients) == 4  # neck and head; the maps stand for the body
    torch.testing.assert_close([x for x in gradients if x is not None], [x for x in theirs if x is not None])
    assert set(losses) == {"identity", "triplet"}


def test_phase_1_is_the_discriminators_and_the_identity() -> None:
    torch.manual_seed(0)
    model = tiny()
    maps, batch = small_batch()
    maps.requires_grad_()
    model.start_epoch(0)
    twin, step = copy.deepcopy(model), Gradients(model)
    losses = model.train_step(maps, batch, 0, step)
    f = twin.features(maps)
    real = f.detach()[:9], batch.subjects[:9].tolist(), batch.clothes[:9].tolist()
    pairs = literal_pairs(twin, *real)
    identity = literal_identity(twin.identity_head, f, batch.subjects.tolist(), 0.1, 0.7)
    assert [groups for groups, *_ in step.taken] == [("d_clo",), ("d_id",), ("main",)]
    for (_, loss, _), literal in zip(step.taken, [pairs["d_clo"], pairs["d_id"], identity], strict=True):
        torch.testing.assert_close(loss, literal, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(step.taken[2][1], maps, retain_graph=True), torch.autograd.grad(identity, maps)
    )
    assert losses["identity"] + 0.7 * losses["triplet"] == pytest.approx(identity.item())
    torch.testing.assert_close(model.covariance, literal_estimate([(real[0], real[2])], 0.8)[1])


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def test_every_phase_freezes_what_it_should() -> None:
    torch.manual_seed(0)
    model = tiny()
    step = Steps(model)
    images = torch.randn(12, 3, 16, 8).double()
    _, batch = small_batch()
    for epoch, moves in enumerate(
        (
            {"body", "neck", "identity_head", "d_clo", "d_id", "means", "seen", "covariance", "estimated"},
            {"generator", "d_dis"},
            {"body", "neck", "identity_head"},
        )
    ):
        model.start_epoch(epoch)
        before = copy.deepcopy(model.state_dict())
        for _ in range(2):
            model.train_step(model.body(images), batch, epoch, step)
        assert changed(before, model.state_dict()) == moves
    assert [groups for groups, _ in step.taken[6:]] == [("d_dis",), ("generator",)] * 2 + [("main",)] * 2


def test_phase_1_only_never_leaves_phase_1() -> None:
    model = tiny(phase_2_from=None)
    assert [model.phase(epoch) for epoch in (0, 1, 99)] == [1, 1, 1]
    assert [tiny().phase(epoch) for epoch in (0, 1, 2, 99)] == [1, 2, 3, 3]
    build_model("ccfa-mini", 2, [0, 1], phase_2_from=None)  # nobody changes clothes: no matter for phase I


def test_normal_augmentation_learns_nothing_in_phase_2() -> None:
    torch.manual_seed(0)
    model = tiny(augmentation="normal", generator_losses=(), phase_2_from=1, phase_3_from=1)
    step = Steps(model)
    assert model.phase(1) == 3
    assert model._train_generator(torch.randn(4, 8).double(), step) == {}
    assert step.taken == []
    model.covariance.copy_(torch.arange(8.0))
    vectors = model.augmentation_vectors(20000)
    torch.testing.assert_close(vectors.var(0), model.covariance, rtol=0.05, atol=0)


def test_generated_clothes_labels_do_not_matter_but_their_images_do() -> None:
    torch.manual_seed(0)
    model, results = tiny(), []
    maps, batch = small_batch()
    model._estimate(torch.randn(12, 8).double(), batch.clothes)
    labels, moved, all_real = batch.clothes.clone(), maps.clone(), torch.ones(12, dtype=torch.bool)
    labels[9:] = torch.tensor([0, 3, 4])
    moved[9:] += torch.randn(3, 4, 1, 1).double()
    for other_maps, clothes, real in (
        (maps, batch.clothes, batch.real),
        (maps, labels, batch.real),
        (moved, batch.clothes, batch.real),
        (maps, labels, all_real),
    ):
        twin = copy.deepcopy(model)
        step = Steps(twin)
        for epoch in range(3):
            twin.start_epoch(epoch)
            torch.manual_seed(0)
            twin.train_step(other_maps, Batch(batch.subjects, clothes, real, batch.position), epoch, step)
        results.append(twin.state_dict())
    assert changed(results[0], results[1]) == set()
    assert changed(results[0], results[2]) >= {"neck", "identity_head"}
    assert changed(results[0], results[3]) >= {"d_clo", "d_id", "means", "covariance", "generator"}


def test_a_batch_without_real_images_trains_the_identity_only() -> None:
    model = tiny()
    step = Steps(model)
    model.covariance.fill_(1.0)
    assert set(run_epoch(model, 0, step, generated=12)) == {"identity", "triplet"}
    assert run_epoch(model, 1, step, generated=12) == {}
    assert set(run_epoch(model, 2, step, generated=12)) == {"identity", "triplet"}
    assert [groups for groups, _ in step.taken] == [("main",)] * 2


def test_a_resumed_run_ends_with_the_same_bytes() -> None:
    torch.manual_seed(0)
    model = tiny()
    straight = Steps(model)
    for epoch in (0, 0, 1):
        run_epoch(model, epoch, straight, seed=epoch)
    torch.manual_seed(99)
    resumed = tiny()
    resumed.load_state_dict(model.state_dict())
    for epoch in (0, 1, 2):
        assert run_epoch(model, epoch, straight, 5) == run_epoch(resumed, epoch, Steps(resumed), 5)
    assert changed(model.state_dict(), resumed.state_dict()) == set()


def test_phase_2_learns_to_change_clothes_and_not_the_subject() -> None:
    """Known features: dimensions 0 to 3 hold the subject, 4 to 7 the clothes."""
    torch.manual_seed(0)
    owners = [c // 2 for c in range(80)]
    model = tiny(owners, momentum=0.9, lam=1.0, gamma1=1.0, gamma2=1.0, hidden=32, noise=16).float()
    part = (torch.arange(8) < 4).float()
    centres = 2 * torch.randn(40, 8)[torch.tensor(owners)] * part + torch.randn(80, 8) * (1 - part)

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.randperm(40)[:8].repeat_interleave(4)
        clothes = 2 * chosen + torch.randint(2, (32,))
        return centres[clothes] + 0.1 * torch.randn(32, 8), chosen, clothes

    step = Steps(model, 0.003, adam=True)
    for _ in range(300):
        f, subjects, clothes = draw()
        model._estimate(f, clothes)
        model._train_discriminators(f, subjects, clothes, step)
    untrained = copy.deepcopy(model)
    for _ in range(400):
        model._train_generator(draw()[0], step)

    f = torch.cat([draw()[0] for _ in range(64)])
    with torch.no_grad():
        assert torch.sigmoid(model.d_clo(f, f)).mean() > 0.9  # an unchanged feature wears the same clothes
        assert torch.sigmoid(model.d_id(f, f)).mean() > 0.9
        g, before = model.augmentation_vectors(len(f)), untrained.augmentation_vectors(len(f))
        assert torch.sigmoid(model.d_clo(f, f + g)).mean() < 0.2
        assert torch.sigmoid(model.d_id(f, f + g)).mean() > 0.8
        assert torch.sigmoid(model.d_id(f, f + before)).mean() < 0.5
    assert g.mean(0).abs().max() < 0.25
    torch.testing.assert_close(g.var(0), model.covariance, rtol=0.25, atol=0.03)


@pytest.mark.slow
def test_mini_overfits_eight_people_through_all_phases() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    owners = [c // 2 for c in range(16)]
    model = build_model("ccfa-mini", 8, owners, phase_2_from=1, phase_3_from=2, smoothing=0.0, lam=0.5)
    subjects, clothes = torch.arange(8).repeat_interleave(4), torch.arange(16).repeat_interleave(2)
    images = torch.randn(8, 3, 96, 48)[subjects] + 0.5 * torch.randn(16, 3, 96, 48)[clothes]
    batch = Batch(subjects, clothes, torch.ones(32, dtype=torch.bool), torch.arange(4).repeat(8))
    step = Steps(model, 1e-3, adam=True)
    for epoch, steps in ((0, 12), (1, 20), (2, 12)):
        model.start_epoch(epoch)
        with torch.no_grad():
            maps = model.body(images)
        for _ in range(steps):
            losses = model.train_step(maps if epoch == 1 else model.body(images), batch, epoch, step)
    assert losses["identity"] < 0.1
    assert losses["triplet"] < 0.1
    with torch.no_grad():
        logits = model.identity_head(model.features(model.body(images)))
    assert (logits.argmax(1) == subjects).all()


# ---- sizes and settings


def test_ccfa_has_cals_encoder_and_four_small_networks() -> None:
    """The encoder is CAL's (docs/ccfa.md): ResNet-50 without classifier, a neck of 2 x 4096 and the head.

    Hidden layers of 512: D_clo and D_id 8192 - 512 - 1, D_dis 4096 - 512 - 1, G 128 - 512 - 512 - 4096.
    """
    model = build_model("ccfa", 3, OWNERS)
    count = {name: sum(p.numel() for p in group) for name, group in model.parameter_groups().items()}
    assert count["main"] == 23_508_032 + 2 * 4096 + 4097 * 3
    assert count["d_clo"] == count["d_id"] == 8193 * 512 + 513
    assert count["d_dis"] == 4097 * 512 + 513
    assert count["generator"] == 129 * 512 + 513 * 512 + 513 * 4096
    assert sum(count.values()) == sum(p.numel() for p in model.parameters())
    assert model.unscheduled == set(count) - {"main"}
    with torch.no_grad():
        assert model.eval().body(torch.zeros(1, 3, 64, 32)).shape == (1, 2048, 4, 2)
        assert model(torch.zeros(1, 3, 64, 32)).shape == (1, 4096)


def test_mini_is_small() -> None:
    model = build_model("ccfa-mini", 3, OWNERS).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) < 1.2e6
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 96, 48)).shape == (2, 320)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"augmentation": "gan"}, "augmentation has 'gan'; expected generator, normal"),
        ({"strategy": "random"}, "strategy has 'random'"),
        ({"generator_losses": ("clo", "cciu")}, "generator_losses has 'cciu'; expected clo, id, sta, adv_g, adv_d"),
        ({"generator_losses": ("adv_d",)}, "the generator learns nothing"),
        ({"phase_2_from": 3, "phase_3_from": 3}, "the generator learns nothing"),
        ({"phase_2_from": 0}, "expected 1 <= II <= III"),
        ({"phase_2_from": 4, "phase_3_from": 3}, "expected 1 <= II <= III"),
        ({"clothes": [0, 1, 2]}, "needs a subject with two clothes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("ccfa-mini", 3, **({"clothes": OWNERS} | setting))
