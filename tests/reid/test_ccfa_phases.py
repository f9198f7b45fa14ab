"""CCFA's phases against literal transcriptions and on known features; its sizes and settings."""

import copy

import pytest
import torch
from reid.ccfa_literal import (
    OWNERS,
    Gradients,
    Steps,
    literal_estimate,
    literal_identity,
    literal_mlp,
    literal_pairs,
    run_epoch,
    small_batch,
    tiny,
)
from torch import Tensor

from dlcr.reid.models.base import Batch, build_model

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
