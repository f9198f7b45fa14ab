"""HPM, horizontal pyramid matching (Fu et al., AAAI 2019), and a small one.

Symbols: F_ij stripe j of the backbone's map cut into i equal stripes, i = 1, 2, 4, 8; G_ij its pooling, H_ij the
reduction of that; z_ij = W_ij H_ij.

    G_ij = average(F_ij) + max(F_ij),    H_ij = ReLU(BN_ij(R_ij G_ij)),    L = sum over i, j of CE(z_ij, y)

The feature f is all H_ij, concatenated. Nothing is shared by stripes: in the authors' code
(SHI-Labs/Horizontal-Pyramid-Matching) each has a 1x1 convolution, a batch norm and a classifier without bias. That code
pools by one of average and max; the sum is the paper's. The triplet loss is optional there; here it is on f.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.resnet import LastMap, channels_of, make_backbone
from dlcr.reid.models.stripes import identity_head, reduction, stripe_losses, stripes


@register_model("hpm")
@register_model("hpm-mini", backbone="mini", scales=(1, 2, 4), channels=64)
class HPM(ReidModel):
    """Backbone, a pyramid of stripes, and for each stripe a reduction and an identity head.

    On ResNet-50, 384x128, 15 stripes, features are 3840-d, on the small backbone, 96x48, 7 stripes, 448-d.

    weights: where the backbone starts. scales: into how many stripes the map is cut, for each level of the pyramid.
    channels: of a reduced stripe. smoothing: label smoothing of the identity losses; the paper has none: 0.
    triplet_weight: weight of the triplet loss, 0 without.
    """

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        scales: Sequence[int] = (1, 2, 4, 8),
        channels: int = 256,
        smoothing: float = 0.1,
        triplet_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.scales, self.smoothing, self.triplet_weight = scales, smoothing, triplet_weight
        resnet = make_backbone(backbone, weights)
        dimension, count = channels_of(resnet), sum(scales)
        self.body = LastMap(resnet)
        self.reductions = nn.ModuleList(reduction(dimension, channels) for _ in range(count))
        self.identity_heads = nn.ModuleList(identity_head(channels, subjects, bias=False) for _ in range(count))

    def features(self, maps: Tensor) -> Tensor:
        """f, float32 [B, stripes x channels], 0 or more: the pyramid from coarse to fine, each level from the top."""
        return torch.cat(self._reduced(maps), dim=1)

    def train_step(self, maps: Tensor, batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """One step on everything. Losses: identity (the sum over stripes), triplet."""
        h = self._reduced(maps)
        logits = [head(part) for head, part in zip(self.identity_heads, h, strict=True)]
        total, losses = stripe_losses(logits, torch.cat(h, dim=1), batch.subjects, self.smoothing, self.triplet_weight)
        step(total, "main")
        return {name: loss.item() for name, loss in losses.items()}

    def _reduced(self, maps: Tensor) -> list[Tensor]:
        """H of maps [B, D, h, w]: of each stripe [B, channels]."""
        parts = [stripe for scale in self.scales for stripe in stripes(maps, scale)]
        pooled = [part.mean((2, 3)) + part.amax((2, 3)) for part in parts]
        return [reduce(g) for reduce, g in zip(self.reductions, pooled, strict=True)]
