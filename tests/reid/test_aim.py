"""AIM's branches, losses and step against literal transcriptions of the formulas in doubles, with gradients."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reid.tiny import tiny_backbone
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models import Batch, build_model
from dlcr.reid.models import aim as module
from dlcr.reid.models.aim import AIM, ClothesBranch, Fusion, signed_root, symmetric_kl
from dlcr.reid.models.losses import adversarial_loss, cosines

OWNERS = [0, 0, 1, 2, 2, 2]
RATE = 0.5  # of SGD: large enough that C1 before and after its step cannot be mistaken for one another
Step = Callable[..., None]


# --- the formulas, in loops ---


def literal_norm(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch norm in train mode of x [B, D]."""
    columns = []
    for d in range(x.shape[1]):
        mean = sum(x[:, d]) / len(x)
        variance = sum((value - mean) ** 2 for value in x[:, d]) / len(x)
        columns.append(norm.weight[d] * (x[:, d] - mean) / (variance + norm.eps).sqrt() + norm.bias[d])
    return torch.stack(columns, dim=1)


def literal_features(identity_map: Tensor, norm: nn.Module) -> Tensor:
    pooled = [[m.max() for m in maps] + [m.sum() / m.numel() for m in maps] for maps in identity_map]
    return literal_norm(torch.stack([torch.stack(row) for row in pooled]), norm)


def literal_clothes_branch(clothes_map: Tensor, branch: ClothesBranch) -> Tensor:
    """The release's cut: stripes of int(h / n) rows, the whole map first, then two, four, ... stripes."""
    parts = []
    for n in branch.stripes:
        rows = int(clothes_map.shape[2] / n)
        for i in range(n):
            reduction = branch.reductions[len(parts)]
            pooled = torch.stack(
                [torch.stack([channel[i * rows : (i + 1) * rows].max() for channel in maps]) for maps in clothes_map]
            )
            parts.append(literal_norm(pooled @ reduction[0].weight.T, reduction[1]).clamp_min(0))
    return literal_norm(torch.cat(parts, dim=1) @ branch.linear.weight.T, branch.neck)


def literal_fusion(identity_map: Tensor, clothes_map: Tensor, fusion: Fusion) -> Tensor:
    convolution, norm, _ = fusion.attention
    b, channels, h, w = identity_map.shape
    pixels = clothes_map.permute(0, 2, 3, 1).reshape(-1, channels)  # every pixel is a sample of this batch norm
    attention = literal_norm(pixels @ convolution.weight[:, :, 0, 0].T, norm).clamp_min(0)
    attention = attention.reshape(b, h, w, -1)
    rows = []
    for i in range(b):
        values = []
        for m in range(attention.shape[3]):
            for d in range(channels):
                x = sum(attention[i, y, x, m] * identity_map[i, d, y, x] for y in range(h) for x in range(w)) / (h * w)
                values.append(x.sign() * (x.abs() + 1e-12).sqrt())
        length = sum(value**2 for value in values).sqrt()
        rows.append(torch.stack(values) / length)
    return literal_norm(torch.stack(rows) @ fusion.linear.weight.T, fusion.neck)


def literal_cosines(f: Tensor, weight: Tensor) -> Tensor:
    def norm(v: Tensor) -> Tensor:
        return sum(value**2 for value in v).sqrt()

    return torch.stack([torch.stack([f_i @ w / (norm(f_i) * norm(w)) for w in weight]) for f_i in f])


def literal_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    classes = logits.shape[1]
    for i, label in enumerate(labels.tolist()):
        log_z = logits[i].exp().sum().log()
        for c in range(classes):
            target = (1 - smoothing) * (c == label) + smoothing / classes
            total = total - target * (logits[i, c] - log_z)
    return total / len(labels)


def literal_adversarial(cosine: Tensor, clothes: Tensor, s: float = 16.0, eps: float = 0.1) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i, star in enumerate(clothes.tolist()):
        own = [c for c, owner in enumerate(OWNERS) if owner == OWNERS[star]]
        others = sum((s * cosine[i, j]).exp() for j, owner in enumerate(OWNERS) if owner != OWNERS[star])
        for c in own:
            log_p = s * cosine[i, c] - ((s * cosine[i, c]).exp() + others).log()
            weight = 1 - eps + eps / len(own) if c == star else eps / len(own)
            total = total - weight * log_p
    return total / len(clothes)


def literal_kl(p: Tensor, q: Tensor) -> Tensor:
    """The release: kl_div(log Q, P) + kl_div(log P, Q), both with reduction "sum"."""
    total = torch.zeros((), dtype=torch.float64)
    for p_i, q_i in zip(p, q, strict=True):
        P, Q = p_i.exp() / p_i.exp().sum(), q_i.exp() / q_i.exp().sum()
        for c in range(len(P)):
            total = total + P[c] * (P[c].log() - Q[c].log()) + Q[c] * (Q[c].log() - P[c].log())
    return total


def assert_same_with_gradients(ours: Tensor, literal: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-11)
    seed = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine, theirs = (torch.autograd.grad((x * seed).sum(), leaves, retain_graph=True) for x in (ours, literal))
    for one, other in zip(mine, theirs, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


# --- models and batches to try ---


def engine(
    model: nn.Module,
    calls: list[tuple[float, tuple[str, ...]]],
    optimizer: Callable = torch.optim.SGD,
    rate: float = RATE,
) -> Step:
    """`step` as the engine has it; a gradient outside the groups that it steps is an error."""
    groups = model.parameter_groups()
    optimizers = {name: optimizer(group, rate) for name, group in groups.items()}

    def step(loss: Tensor, *names: str) -> None:
        calls.append((loss.item(), names))
        loss.backward()
        stepped = {id(parameter) for name in names for parameter in groups[name]}
        for name, parameter in model.named_parameters():
            assert id(parameter) in stepped or parameter.grad is None, name
        for name in names:
            optimizers[name].step()
            optimizers[name].zero_grad()

    return step


def tiny_model(**changes: float) -> AIM:
    """Maps in, no backbones: 3 channels, in doubles."""
    torch.manual_seed(0)
    sizes = {"backbone": "tiny", "stripes": (1, 2, 4), "reduced": 2, "attentions": 2}
    arguments = {"smoothing": 0.1, "clothes_from_epoch": 2, "k_cal": 0.7, "k_kl": 0.3} | changes
    with tiny_backbone(3):
        model = AIM(3, OWNERS, **sizes, **arguments).double()
    model.body = nn.Identity()
    for layer in (model.clothes_branch.linear, model.fusion.linear, model.identity_head):
        nn.init.normal_(layer.weight)  # as large as after some training
    return model


def tiny_maps(seed: int = 0, images: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (images, 3, 4, 2)
    return tuple(torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))


def tiny_batch() -> Batch:
    clothes = torch.tensor([0, 2, 4, 1, 3, 5])
    real = torch.tensor([True] * 4 + [False] * 2)
    return Batch(torch.tensor(OWNERS)[clothes], clothes, real, torch.zeros(6, dtype=torch.int64))


def small_batch(seed: int = 0) -> tuple[Tensor, Batch]:
    """Images for the small backbone, the first four real."""
    images = torch.randn(8, 3, 32, 16, generator=torch.Generator().manual_seed(seed))
    clothes = torch.tensor([0, 2, 4, 5, 1, 2, 3, 5])
    real = torch.tensor([True] * 4 + [False] * 4)
    return images, Batch(torch.tensor(OWNERS)[clothes], clothes, real, torch.zeros(8, dtype=torch.int64))


# --- numerics ---


def test_signed_root_has_value_and_gradient_at_zero_where_the_plain_one_has_not() -> None:
    values = torch.tensor([-4.0, -1e-30, 0.0, 1e-30, 9.0])
    x, y = values.clone().requires_grad_(), values.clone().requires_grad_()
    (y.sign() * y.abs().sqrt()).sum().backward()
    assert y.grad[2].isnan()
    root = signed_root(x)
    root.sum().backward()
    torch.testing.assert_close(root, torch.tensor([-2.0, -1e-6, 0.0, 1e-6, 3.0]))
    torch.testing.assert_close(x.grad, torch.tensor([0.25, 5e5, 0.0, 5e5, 1 / 6]))


def test_the_guard_is_lost_in_half_precision() -> None:
    """Why the fusion must not run in the body, which may be in mixed precision."""
    x = torch.zeros(1, dtype=torch.float16, requires_grad=True)
    signed_root(x).sum().backward()
    assert x.grad.isnan().all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 6))
def test_kl_is_the_formula_summed_over_the_batch(seed: int, images: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.randn(images, classes, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert_same_with_gradients(symmetric_kl(p, q), literal_kl(p, q), [p, q])
    twice = symmetric_kl(p.repeat(2, 1), q.repeat(2, 1))
    torch.testing.assert_close(twice, 2 * symmetric_kl(p, q))
    assert symmetric_kl(p, p.detach()) == 0


def test_kl_of_huge_logits_is_finite_where_log_of_softmax_is_not() -> None:
    huge = torch.tensor([[1000.0, 0.0, -1000.0]])
    p, naive = huge.clone().requires_grad_(), huge.clone().requires_grad_()
    q = -huge
    P, Q = naive.softmax(1), q.softmax(1)
    assert not torch.isfinite((P * (P.log() - Q.log()) + Q * (Q.log() - P.log())).sum())
    divergence = symmetric_kl(p, q)
    divergence.backward()
    assert divergence == 4000
    assert torch.isfinite(p.grad).all()


def plain_root(x: Tensor) -> Tensor:
    return x.sign() * x.abs().sqrt()


@pytest.mark.parametrize("blank", ["clothes map", "identity map", "one image", "one channel"])
def test_silent_maps_train_and_without_the_guard_do_not(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients() -> Tensor:
        model = tiny_model(clothes_from_epoch=0).float()
        identity_map, clothes_map = (maps.detach().float() for maps in tiny_maps())
        if blank == "clothes map":
            clothes_map.zero_()
        elif blank == "identity map":
            identity_map.zero_()
        elif blank == "one image":
            identity_map[1], clothes_map[1] = 0, 0
        else:
            identity_map[:, 0] = 0
        maps, losses = (identity_map.requires_grad_(), clothes_map.requires_grad_()), []
        result = model.train_step(maps, tiny_batch(), 0, lambda loss, *groups: losses.append(loss))
        assert all(math.isfinite(loss) for loss in result.values())
        assert len(result) == 6
        sum(losses).backward()
        return torch.cat([x.grad.flatten() for x in (*maps, *model.parameters())])

    assert torch.isfinite(gradients()).all()
    monkeypatch.setattr(module, "signed_root", plain_root)
    assert gradients().isnan().any()


def test_length_of_a_silent_map_is_guarded_too() -> None:
    fusion = Fusion(3, 2, 6)
    silent, other = torch.zeros(4, 3, 2, 2), torch.rand(4, 3, 2, 2)
    assert torch.equal(fusion(silent, other), fusion.neck.bias.expand(4, 6))
    summed = torch.zeros(1, 6)
    assert (summed / summed.norm(dim=1, keepdim=True)).isnan().all()


# --- the parts ---


@pytest.mark.parametrize("seed", [0, 1])
def test_branches_are_the_formulas(seed: int) -> None:
    model = tiny_model()
    identity_map, clothes_map = maps = tiny_maps(seed)
    assert_same_with_gradients(
        model.features(maps), literal_features(identity_map, model.neck), [identity_map, *model.neck.parameters()]
    )
    branch, fusion = model.clothes_branch, model.fusion
    assert_same_with_gradients(
        branch(clothes_map), literal_clothes_branch(clothes_map, branch), [clothes_map, *branch.parameters()]
    )
    assert_same_with_gradients(
        fusion(*maps), literal_fusion(*maps, fusion), [identity_map, clothes_map, *fusion.parameters()]
    )


@pytest.mark.parametrize("scale", [1, 1e-11])
def test_fusion_keeps_the_sign_and_guards_means_over_the_pixels(scale: float) -> None:
    """Maps of a backbone are not negative, but nothing in the fusion needs that. Small ones feel the guard."""
    fusion = tiny_model().fusion
    identity_map, clothes_map = (maps.detach() - 0.5 for maps in tiny_maps())
    ours, literal = (
        form(scale * identity_map, clothes_map) for form in (fusion, lambda *x: literal_fusion(*x, fusion))
    )
    torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-11)


def test_uneven_stripes_leave_no_row_out_and_too_few_rows_are_an_error() -> None:
    branch = ClothesBranch(3, (1, 4), 2, 6).eval()
    maps = torch.rand(1, 3, 7, 2)
    pooled = []
    for reduction in branch.reductions:
        reduction.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    branch(maps)
    rows = [maps, maps[:, :, :2], maps[:, :, 2:4], maps[:, :, 4:6], maps[:, :, 6:]]
    torch.testing.assert_close(torch.stack(pooled), torch.stack([part.amax((2, 3)) for part in rows]))
    with pytest.raises(ValueError, match="maps of 3 rows cannot be cut into 4 stripes"):
        branch(maps[:, :, :3])


# --- the step ---


def literal_step(twin: AIM, maps: tuple[Tensor, Tensor], batch: Batch, debias: bool) -> tuple[dict, Tensor]:
    """Losses by name and the total of the main step; C1 of `twin` is stepped before, by SGD. Four images are real."""
    f, g = literal_features(maps[0], twin.neck), literal_clothes_branch(maps[1], twin.clothes_branch)
    head = twin.identity_head
    z = f @ head.weight.T + head.bias
    clothes = batch.clothes[:4]
    p = literal_cosines(g[:4], twin.clothes_branch_head)
    losses = {
        "identity": literal_cross_entropy(z, batch.subjects, 0.1),
        "clothes_branch": literal_cross_entropy(16 * p, clothes),
    }
    if not debias:
        return losses, losses["identity"] + losses["clothes_branch"]
    losses["clothes"] = literal_cross_entropy(16 * literal_cosines(f[:4].detach(), twin.clothes_head), clothes)
    (gradient,) = torch.autograd.grad(losses["clothes"], twin.clothes_head)
    after = (twin.clothes_head - RATE * gradient).detach()
    twin.clothes_head.data.copy_(after)
    z_fused = literal_fusion(maps[0], maps[1].detach(), twin.fusion) @ head.weight.T + head.bias
    q = literal_cosines(f[:4], after)
    losses["debiased"] = literal_cross_entropy(z - z_fused, batch.subjects, 0.1)
    losses["adversarial"] = literal_adversarial(q, clothes)
    losses["divergence"] = literal_kl(p, q.detach())
    total = losses["identity"] + 0.7 * losses["debiased"] + losses["adversarial"]
    return losses, total + losses["clothes_branch"] + 0.3 * losses["divergence"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_step_is_the_releases_losses(epoch: int) -> None:
    model, calls, batch = tiny_model(), [], tiny_batch()
    twin, maps, twin_maps = copy.deepcopy(model), tiny_maps(), tiny_maps()
    losses = model.train_step(maps, batch, epoch, engine(model, calls))
    expected, total = literal_step(twin, twin_maps, batch, debias=epoch == 2)
    total.backward()

    assert losses == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-9)
    steps = [(expected["clothes"].item(), ("clothes",))] if epoch == 2 else []
    assert [names for _, names in calls] == [*(names for _, names in steps), ("main",)]
    assert [loss for loss, _ in calls] == pytest.approx([*(loss for loss, _ in steps), total.item()], rel=1e-9)
    for mine, theirs in zip(maps, twin_maps, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-7, atol=1e-10)
    for (name, mine), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        gradient = 0 if theirs.grad is None else theirs.grad  # C1, stepped already, and the fusion before its epoch
        torch.testing.assert_close(mine, theirs - RATE * gradient, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: n + m)


def release_step(model: AIM, maps: tuple[Tensor, ...], batch: Batch, optimizers: dict[str, torch.optim.Adam]) -> None:
    """train.py: C1, then the clothes branch with C2, then the identity branch with the fusion and the head."""

    def step(loss: Tensor, name: str) -> None:
        loss.backward()
        optimizers[name].step()
        optimizers[name].zero_grad()

    real, y, c = batch.real, batch.subjects, batch.clothes[batch.real]
    f, g = model.features(maps), model.clothes_branch(maps[1])
    step(F.cross_entropy(16 * cosines(f.detach()[real], model.clothes_head), c), "C1")
    of_f = cosines(f[real], model.clothes_head.detach())
    of_g = cosines(g[real], model.clothes_branch_head)
    step(F.cross_entropy(16 * of_g, c) + symmetric_kl(of_g, of_f.detach()), "clothes branch")
    z, z_fused = model.identity_head(f), model.identity_head(model.fusion(maps[0], maps[1].detach()))
    identity = F.cross_entropy(z, y, label_smoothing=0.1) + F.cross_entropy(z - z_fused, y, label_smoothing=0.1)
    step(identity + adversarial_loss(of_f, c, model.owned[y[real]]), "identity branch")


def test_one_step_of_the_sum_is_the_releases_two_for_adam() -> None:
    torch.manual_seed(0)
    model = build_model("aim-mini", 3, OWNERS, clothes_from_epoch=0)
    twin = copy.deepcopy(model)
    of_clothes = [*twin.body.clothes.parameters(), *twin.clothes_branch.parameters(), twin.clothes_branch_head]
    known = {id(parameter) for parameter in [*of_clothes, twin.clothes_head]}
    of_identity = [parameter for parameter in twin.parameters() if id(parameter) not in known]
    groups = {"C1": [twin.clothes_head], "clothes branch": of_clothes, "identity branch": of_identity}

    def adam(parameters: list[nn.Parameter], rate: float = 1e-3) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, rate, weight_decay=5e-4)

    optimizers = {name: adam(parameters) for name, parameters in groups.items()}
    step = engine(model, [], adam, 1e-3)
    before = copy.deepcopy(model.state_dict())
    for seed in range(3):
        images, batch = small_batch(seed)
        model.train_step(model.body(images), batch, 0, step)
        release_step(twin, twin.body(images), batch, optimizers)
    theirs = twin.state_dict()
    for name, mine in model.state_dict().items():
        assert not torch.equal(mine, before[name]), f"{name} was not trained"
        torch.testing.assert_close(mine, theirs[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: n + m)


def test_losses_wait_for_their_epoch_and_for_real_images() -> None:
    model, calls = build_model("aim-mini", 3, OWNERS, clothes_from_epoch=2), []
    step, (images, batch) = engine(model, calls), small_batch()
    none_real = Batch(batch.subjects, batch.clothes, torch.zeros(8, dtype=torch.bool), batch.position)

    def losses(batch: Batch, epoch: int) -> set[str]:
        before = copy.deepcopy(model.state_dict())
        names = set(model.train_step(model.body(images), batch, epoch, step))
        changed = {name.split(".")[0] for name, value in model.state_dict().items() if not value.equal(before[name])}
        assert ("clothes_head" in changed) == ("clothes" in names)
        assert ("clothes_branch_head" in changed) == ("clothes_branch" in names)
        assert ("fusion" in changed) == ("debiased" in names)
        assert {"body", "neck", "identity_head", "clothes_branch"} <= changed  # the last by its batch norm at least
        return names

    assert losses(none_real, 1) == {"identity"}
    assert losses(batch, 1) == {"identity", "clothes_branch"}
    assert losses(none_real, 2) == {"identity", "debiased"}
    late = {"identity", "debiased", "clothes", "clothes_branch", "adversarial", "divergence"}
    assert losses(batch, 2) == late
    assert [names for _, names in calls] == [("main",)] * 3 + [("clothes",), ("main",)]


def test_all_of_the_body_has_a_gradient_even_without_real_images() -> None:
    """Processes that share a batch wait for the gradient of every parameter of the body."""
    model, seen = tiny_model(), []
    batch = tiny_batch()
    none_real = Batch(batch.subjects, batch.clothes, torch.zeros(6, dtype=torch.bool), batch.position)
    for epoch in (1, 2):
        maps = tiny_maps()
        model.train_step(maps, none_real, epoch, engine(model, seen))
        assert maps[0].grad.abs().max() > 0
        assert torch.equal(maps[1].grad, torch.zeros_like(maps[1]))
    assert [names for _, names in seen] == [("main",)] * 2


def test_generated_images_count_for_identity_and_batch_norm_alone() -> None:
    model = tiny_model(clothes_from_epoch=0)
    batch, maps = tiny_batch(), tiny_maps()

    def run(maps: tuple[Tensor, Tensor], subjects: Tensor, clothes: Tensor) -> tuple[dict, dict]:
        twin = copy.deepcopy(model)
        changed = Batch(subjects, clothes, batch.real, batch.position)
        return twin.train_step(maps, changed, 0, engine(twin, [])), twin.state_dict()

    losses, state = run(maps, batch.subjects, batch.clothes)
    other_clothes, other_subjects = batch.clothes.clone(), batch.subjects.clone()
    other_clothes[4:], other_subjects[4:] = 0, 0

    same, same_state = run(tiny_maps(), batch.subjects, other_clothes)
    assert same == losses
    for name, value in state.items():
        assert torch.equal(same_state[name], value), name

    changed, _ = run(tiny_maps(), other_subjects, batch.clothes)
    assert {name for name in losses if changed[name] != losses[name]} == {"identity", "debiased"}

    other_maps = tuple(maps.detach().clone() for maps in tiny_maps())
    for maps in other_maps:
        maps[4:] *= 2
    _, state_of_others = run(other_maps, batch.subjects, batch.clothes)
    for name in ("neck.running_mean", "clothes_branch.neck.running_mean", "fusion.attention.1.running_mean"):
        assert not torch.allclose(state_of_others[name], state[name]), name


# --- whole models ---


def test_aim_has_the_published_size() -> None:
    with torch.device("meta"):  # shapes alone: 165 million parameters take seconds to draw
        model = build_model("aim", 5, [0, 1, 2, 3, 4, 4]).eval()
        maps = model.body.train()(torch.empty(2, 3, 384, 192))
        assert [m.shape for m in maps] == [(2, 2048, 24, 12)] * 2
        assert (
            model.features(maps).shape == model.clothes_branch(maps[1]).shape == model.fusion(*maps).shape == (2, 4096)
        )
        model.eval()
        assert model(torch.empty(2, 3, 64, 32)).shape == (2, 4096)
    backbone, neck = 23_508_032, 2 * 4096
    identity = backbone + neck + 4096 * 5 + 5
    # 15 stripes, each a 1x1 convolution without bias and its batch norm
    clothes = backbone + 15 * (2048 * 256 + 2 * 256) + 15 * 256 * 4096 + neck
    fusion = 2048 * 8 + 2 * 8 + 8 * 2048 * 4096 + neck
    heads = 2 * 6 * 4096
    assert sum(parameter.numel() for parameter in model.parameters()) == identity + clothes + fusion + heads
    assert identity + clothes + fusion + heads == 137_836_181


def test_parameters_start_as_published() -> None:
    torch.manual_seed(0)
    model = build_model("aim-mini", 20, list(range(20)))
    for neck in (model.neck, model.clothes_branch.neck, model.fusion.neck):
        assert 0.015 < neck.weight.std() < 0.025
        assert 0.99 < neck.weight.mean() < 1.01
    for layer in (model.identity_head, model.clothes_branch.linear, model.fusion.linear):
        assert 0.0009 < layer.weight.std() < 0.0011
    for reduction in model.clothes_branch.reductions:
        assert reduction[0].weight.std().item() == pytest.approx((2 / 20) ** 0.5, rel=0.1)
    for head in (model.clothes_head, model.clothes_branch_head):
        torch.testing.assert_close(head.norm(dim=1), torch.ones(20))
    assert model.fusion.attention[1].eps == 1e-3
    assert not torch.equal(model.clothes_head, model.clothes_branch_head)


def test_mini_is_small_and_its_test_feature_is_the_identity_branchs() -> None:
    model = build_model("aim-mini", 3, OWNERS)
    assert sum(parameter.numel() for parameter in model.parameters()) < 1.5e6
    images = torch.randn(4, 3, 96, 48)
    assert [m.shape for m in model.body(images)] == [(4, 160, 12, 6)] * 2
    model.eval()
    with torch.no_grad():
        features = model(images)
        for name, parameter in model.named_parameters():
            if not name.startswith(("body.identity.", "neck.")):
                parameter.fill_(torch.nan)
        assert torch.equal(model(images), features)
    assert features.shape == (4, 320)
    assert features.dtype == torch.float32


def test_groups_and_state() -> None:
    model = build_model("aim-mini", 3, OWNERS)
    groups = model.parameter_groups()
    assert groups["clothes"] == [model.clothes_head]
    assert model.unscheduled == {"clothes"}  # C2 has the schedule of its branch
    named = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(named) == sorted(id(parameter) for parameter in model.parameters())

    images, batch = small_batch()
    model.train_step(model.body(images), batch, 25, engine(model, []))
    twin = build_model("aim-mini", 3, OWNERS)
    twin.load_state_dict(model.state_dict())
    results = [m.train_step(m.body(images), batch, 25, engine(m, [])) for m in (model, twin)]
    assert results[0] == results[1]
    assert torch.equal(model.eval()(images), twin.eval()(images))


@pytest.mark.slow
def test_mini_learns_eight_people_by_heart() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    subjects, outfit = torch.arange(8).repeat_interleave(4), torch.arange(2).repeat_interleave(2).repeat(8)
    clothes = 2 * subjects + outfit
    # a coarse pattern of the subject's and a tint of the clothes', under noise
    patterns = torch.randn(8, 3, 6, 3, generator=generator).repeat_interleave(16, 2).repeat_interleave(16, 3)
    tints = torch.randn(16, 3, 1, 1, generator=generator)
    images = patterns[subjects] + tints[clothes] + 0.3 * torch.randn(32, 3, 96, 48, generator=generator)
    batch = Batch(subjects, clothes, torch.ones(32, dtype=torch.bool), torch.arange(4).repeat(8))
    model = build_model("aim-mini", 8, [i // 2 for i in range(16)], smoothing=0.0, clothes_from_epoch=3)
    step = engine(model, [], torch.optim.Adam, 3e-3)
    history = [model.train_step(model.body(images), batch, epoch, step) for epoch in range(15)]
    # C1's own loss need not vanish: L_CAL works against it
    for name in ("identity", "debiased", "clothes_branch", "adversarial"):
        assert history[-1][name] < 0.1, name
    assert history[-1]["divergence"] < history[3]["divergence"] / 2
    with torch.no_grad():
        identity_map, clothes_map = model.body(images)
        f = model.features((identity_map, clothes_map))
        z, z_fused = model.identity_head(f), model.identity_head(model.fusion(identity_map, clothes_map))
        assert torch.equal(z.argmax(1), subjects)
        assert torch.equal((z - z_fused).argmax(1), subjects)
        assert torch.equal(cosines(model.clothes_branch(clothes_map), model.clothes_branch_head).argmax(1), clothes)
