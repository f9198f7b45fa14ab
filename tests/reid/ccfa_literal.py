"""CCFA's formulas in loops, and small models and batches to try them on."""

from collections.abc import Sequence

import torch
from reid.tiny import tiny_backbone
from torch import Tensor, nn

from dlcr.reid.models.base import Batch
from dlcr.reid.models.ccfa import (
    CCFA,
    GENERATOR_LOSSES,
    PairDiscriminator,
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
