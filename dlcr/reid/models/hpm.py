"""HPM, horizontal pyramid matching (Fu et al., AAAI 2019), and a small one.

Symbols: F_ij stripe j of the trunk's map cut into i equal stripes, i = 1, 2, 4, 8; G_ij its pooling, H_ij the
reduction of that; z_ij = W_ij H_ij.

    G_ij = average(F_ij) + max(F_ij),    H_ij = ReLU(BN_ij(R_ij G_ij)),    L = sum over i, j of CE(z_ij, y)

The feature f is all H_ij, concatenated. Nothing is shared by stripes: in the authors' code
(SHI-Labs/Horizontal-Pyramid-Matching) each has a 1x1 convolution, a batch norm and a classifier without bias. That code
pools by one of average and max; the sum is the paper's. The triplet loss is optional there; here it is on f.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import ResNetModel

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.resnet import Trunk, mini_resnet, resnet50
from dlcr.reid.models.stripes import identity_head, reduction, stripe_losses, stripes


class HPM(ReidModel):
    """Trunk, a pyramid of stripes, and for each stripe a reduction and an identity head.

    scales: into how many stripes the map is cut, for each level of the pyramid. channels: of a reduced stripe.
    smoothing: label smoothing of the identity losses. triplet_weight: weight of the triplet loss, 0 without.
    """

    def __init__(
        self,
        trunk: ResNetModel,
        subjects: int,
        scales: Sequence[int],
        channels: int,
        smoothing: float,
        triplet_weight: float,
    ) -> None:
        super().__init__()
        self.scales, self.smoothing, self.triplet_weight = scales, smoothing, triplet_weight
        dimension, count = trunk.config.hidden_sizes[-1], sum(scales)
        self.body = Trunk(trunk)
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


@register_model("hpm")
def hpm(
    subjects: int,
    clothes: Sequence[int],
    weights: str | None = None,
    smoothing: float = 0.1,
    triplet_weight: float = 0.0,
) -> HPM:
    """HPM of the paper's size: ResNet-50, 384x128, 15 stripes, 3840-d. `weights`: where the trunk starts (`resnet50`).

    The paper has no label smoothing: 0.
    """
    return HPM(resnet50(weights), subjects, (1, 2, 4, 8), 256, smoothing, triplet_weight)


@register_model("hpm-mini")
def hpm_mini(
    subjects: int,
    clothes: Sequence[int],
    weights: str | None = None,
    smoothing: float = 0.1,
    triplet_weight: float = 0.0,
) -> HPM:
    """The same on the small trunk: 96x48, 7 stripes reduced to 64, 448-d. `weights`: as in `mini_resnet`."""
    return HPM(mini_resnet(weights), subjects, (1, 2, 4), 64, smoothing, triplet_weight)
