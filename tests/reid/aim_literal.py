"""AIM's formulas in loops, what the release does with them, and small models and batches to try both on."""

from collections.abc import Callable

import torch
from reid.test_cal import OWNERS, literal_adversarial, literal_cross_entropy
from reid.tiny import tiny_backbone
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models import Batch
from dlcr.reid.models.aim import AIM, ClothesBranch, Fusion, symmetric_kl
from dlcr.reid.models.losses import adversarial_loss, cosines

RATE = 0.5  # of SGD: large enough that C1 before and after its step cannot be mistaken for one another
Step = Callable[..., None]


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


def literal_kl(p: Tensor, q: Tensor) -> Tensor:
    """The release: kl_div(log Q, P) + kl_div(log P, Q), both with reduction "sum"."""
    total = torch.zeros((), dtype=torch.float64)
    for p_i, q_i in zip(p, q, strict=True):
        P, Q = p_i.exp() / p_i.exp().sum(), q_i.exp() / q_i.exp().sum()
        for c in range(len(P)):
            total = total + P[c] * (P[c].log() - Q[c].log()) + Q[c] * (Q[c].log() - P[c].log())
    return total


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
    losses["adversarial"] = literal_adversarial(q, clothes, batch.subjects[:4].tolist())
    losses["divergence"] = literal_kl(p, q.detach())
    total = losses["identity"] + 0.7 * losses["debiased"] + losses["adversarial"]
    return losses, total + losses["clothes_branch"] + 0.3 * losses["divergence"]


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
