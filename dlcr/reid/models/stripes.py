"""Horizontal stripes of a map, and what PCB and HPM have in common: each stripe has an identity loss of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models.losses import triplet_loss


def stripes(maps: Tensor, count: int) -> list[Tensor]:
    """`count` stripes of maps [B, D, h, w] from top to bottom, each [B, D, rows, w].

    Stripe i has the rows from floor(i h / count) up to, without, ceil((i + 1) h / count), as in adaptive pooling:
    equal parts where `count` divides h; elsewhere neighbours share a row.
    """
    # not torch's adaptive pooling itself: on a GPU its gradient is not deterministic
    height = maps.shape[2]
    return [maps[:, :, i * height // count : -((i + 1) * height // -count)] for i in range(count)]


def reduction(dimension: int, channels: int) -> nn.Sequential:
    """1x1 convolution without bias, batch norm, ReLU: pooled stripes [N, D] to [N, channels], 0 or more.

    On pooled stripes the convolution is a linear layer; it starts as both authors' code has it, from
    N(0, 2 / channels).
    """
    linear = nn.Linear(dimension, channels, bias=False)
    nn.init.kaiming_normal_(linear.weight, mode="fan_out")
    return nn.Sequential(linear, nn.BatchNorm1d(channels), nn.ReLU())


def identity_head(channels: int, subjects: int, bias: bool) -> nn.Linear:
    """One stripe's classifier: weights from N(0, .001²), bias 0."""
    head = nn.Linear(channels, subjects, bias=bias)
    nn.init.normal_(head.weight, std=0.001)
    if bias:
        nn.init.zeros_(head.bias)
    return head


def stripe_losses(
    logits: Sequence[Tensor], f: Tensor, subjects: Tensor, smoothing: float, triplet_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to minimise and its parts by name: identity + triplet_weight · triplet.

    logits: of each stripe [B, S]; identity is the sum over stripes of their cross-entropies (mean over the batch).
    f: the test feature [B, D], for the triplet loss; left out at weight 0.
    """
    identity = torch.stack([F.cross_entropy(z, subjects, label_smoothing=smoothing) for z in logits]).sum()
    if not triplet_weight:
        return identity, {"identity": identity}
    triplet = triplet_loss(f, subjects)
    return identity + triplet_weight * triplet, {"identity": identity, "triplet": triplet}
