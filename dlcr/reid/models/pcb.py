"""PCB, the part-based convolutional baseline (Sun et al., ECCV 2018), without refined part pooling, and a small one.

Symbols: g_i, i = 1..6, the average of the backbone's map over stripe i; h_i its reduction; z_i = W_i h_i + b_i.

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

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.resnet import LastMap, channels_of, make_backbone
from dlcr.reid.models.stripes import identity_head, reduction, stripe_losses, stripes

STRIPES = 6


@register_model("pcb")
@register_model("pcb-mini", backbone="mini", channels=64)
class PCB(ReidModel):
    """Backbone, average pooling of six stripes, shared reduction and six identity heads.

    On ResNet-50, 384x128, features are 12288-d, on the small backbone, 96x48, 960-d.

    weights: where the backbone starts. channels: of a reduced stripe. smoothing: label smoothing of the identity
    losses; the paper has none: 0. triplet_weight: weight of the triplet loss, 0 without. dropout: the share of a
    stripe's values that is dropped before the reduction, at least 0 and less than 1; ValueError for another.
    """

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        channels: int = 256,
        smoothing: float = 0.1,
        triplet_weight: float = 0.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"model PCB: dropout must be at least 0 and less than 1, got {dropout}")
        self.smoothing, self.triplet_weight, self.dropout = smoothing, triplet_weight, dropout
        resnet = make_backbone(backbone, weights)
        self.body = LastMap(resnet)
        self.reduction = reduction(channels_of(resnet), channels)
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
