"""PCB, the part-based convolutional baseline (Sun et al., ECCV 2018), without refined part pooling, and a small one.

Symbols: g_i, i = 1..6, the average of the trunk's map over stripe i; h_i its reduction; z_i = W_i h_i + b_i.

    h_i = ReLU(BN(R dropout(g_i))),    L = sum over i of CE(z_i, y),    f = [g_1 / |g_1|, ..., g_6 / |g_6|]

Stripes share one reduction: in the authors' code (syfafterzy/PCB_RPP_for_reID), as in torchreid, one 1x1 convolution
and one batch norm run over all stripes; each stripe has a classifier of its own. f is the paper's G, the stripes
before the reduction; the authors' code brings each to length 1. The triplet loss is not published with PCB: as in
torchreid it is on f.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetModel

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.resnet import Trunk, mini_resnet, resnet50
from dlcr.reid.models.stripes import identity_head, reduction, stripe_losses, stripes

STRIPES = 6


class PCB(ReidModel):
    """Trunk, average pooling of six stripes, shared reduction and six identity heads.

    channels: of a reduced stripe. smoothing: label smoothing of the identity losses. triplet_weight: weight of the
    triplet loss, 0 without. dropout: the share of a stripe's values that is dropped before the reduction, at least 0
    and less than 1; ValueError for another.
    """

    def __init__(
        self,
        trunk: ResNetModel,
        subjects: int,
        channels: int,
        smoothing: float,
        triplet_weight: float,
        dropout: float,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"model PCB: dropout must be at least 0 and less than 1, got {dropout}")
        self.smoothing, self.triplet_weight, self.dropout = smoothing, triplet_weight, dropout
        self.body = Trunk(trunk)
        self.reduction = reduction(trunk.config.hidden_sizes[-1], channels)
        self.identity_heads = nn.ModuleList(identity_head(channels, subjects, bias=True) for _ in range(STRIPES))

    def features(self, maps: Tensor) -> Tensor:
        """f, float32 [B, 6D]: six parts of length 1."""
        return _feature(_pool(maps))

    def train_step(self, maps: Tensor, batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """One step on everything. Losses: identity (the sum over stripes), triplet."""
        g = _pool(maps)
        h = self.reduction(F.dropout(g, self.dropout, self.training).flatten(0, 1)).unflatten(0, g.shape[:2])
        logits = [head(h[:, i]) for i, head in enumerate(self.identity_heads)]
        total, losses = stripe_losses(logits, _feature(g), batch.subjects, self.smoothing, self.triplet_weight)
        step(total, "main")
        return {name: loss.item() for name, loss in losses.items()}


def _pool(maps: Tensor) -> Tensor:
    """g of maps [B, D, h, w]: [B, 6, D]."""
    return torch.stack([stripe.mean((2, 3)) for stripe in stripes(maps, STRIPES)], dim=1)


def _feature(g: Tensor) -> Tensor:
    return F.normalize(g, dim=2).flatten(1)


@register_model("pcb")
def pcb(
    subjects: int,
    clothes: Sequence[int],
    weights: str | None = None,
    smoothing: float = 0.1,
    triplet_weight: float = 0.0,
    dropout: float = 0.5,
) -> PCB:
    """PCB of the paper's size: ResNet-50, 384x128, 12288-d. `weights`: where the trunk starts (`resnet50`).

    The paper has no label smoothing: 0.
    """
    return PCB(resnet50(weights), subjects, 256, smoothing, triplet_weight, dropout)


@register_model("pcb-mini")
def pcb_mini(
    subjects: int,
    clothes: Sequence[int],
    weights: str | None = None,
    smoothing: float = 0.1,
    triplet_weight: float = 0.0,
    dropout: float = 0.5,
) -> PCB:
    """The same on the small trunk, reduced to 64: 96x48, 960-d. `weights`: where the trunk starts (`mini_resnet`)."""
    return PCB(mini_resnet(weights), subjects, 64, smoothing, triplet_weight, dropout)
