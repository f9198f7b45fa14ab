"""MGN, multiple granularity network (Wang et al., ACM MM 2018), and a small one.

The backbone is split after the first layer of its third stage into three branches, each a copy of what follows: one
looks at the whole map, one at 2 and one at 3 stripes of it as well. Symbols: z_1..z_3 the branches' maps under global
max pooling, z_4..z_8 the stripes under it, f_i = relu(BN(W_i z_i)) with a W_i for each.

    L = 1/8 sum_i CE(f_i) + w 1/3 (T(f_1) + T(f_2) + T(f_3)),   w = 2, margin 1.2, T batch-hard in Euclidean distances

The paper has no public code of its authors. Pooling, split, strides, the reductions and these weights are those of the
reproductions seathiefwang/MGN-pytorch and GNAYUOHZ/ReID-MGN, whose numbers others compare with; the latter shares one
reduction, which the paper does not, and gives the 2 to CE. The classifiers of the three global features are uncertain:
there they see f (256-d), in the paper z (2048-d), as both repositories' issues say.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.losses import hard_triplet_loss
from dlcr.reid.models.resnet import channels_of, last_stride_1, make_backbone

STRIPES = (2, 3)  # of the second and the third branch
GLOBALS = 1 + len(STRIPES)


class Branches(nn.Module):
    """A backbone split in three: images [B, 3, H, W] to the maps of the global, the 2-part and the 3-part branch.

    The global branch keeps the last stride: of 384x128 images its map is [B, 2048, 12, 4], the others are
    [B, 2048, 24, 8]. `resnet` has its last stage at stride 2. Where its third stage is one layer (mini), the branches
    part after it.
    """

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        fine = [last_stride_1(copy.deepcopy(resnet)) for _ in STRIPES]
        stages = resnet.encoder.stages
        self.shared = nn.Sequential(resnet.embedder, *stages[:2], stages[2].layers[0])
        self.branches = nn.ModuleList(
            nn.Sequential(*part.encoder.stages[2].layers[1:], part.encoder.stages[3]) for part in (resnet, *fine)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        shared = self.shared(images)
        return tuple(branch(shared) for branch in self.branches)


@register_model("mgn")
@register_model("mgn-mini", backbone="mini", channels=64)
class MGN(ReidModel):
    """Three branches, eight reductions to `channels`, a batch norm, ReLU and identity head for each.

    On ResNet-50, 384x128, features are 2048-d, on the small backbone, 96x48, 512-d.

    weights: where the backbone starts. smoothing: label smoothing of the identity losses. triplet_weight: weight w of
    the triplet loss, 0 without; margin: its margin. Published without smoothing; the recipe of clothes-changing papers
    has smoothing 0.1 and margin 0.3.
    """

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        channels: int = 256,
        smoothing: float = 0.1,
        triplet_weight: float = 2.0,
        margin: float = 1.2,
    ) -> None:
        super().__init__()
        self.smoothing, self.triplet_weight, self.margin = smoothing, triplet_weight, margin
        resnet = make_backbone(backbone, weights, last_stride=2)
        dimension, features = channels_of(resnet), GLOBALS + sum(STRIPES)
        self.body = Branches(resnet)
        self.reductions = nn.ModuleList(_reduction(dimension, channels) for _ in range(features))
        self.identity_heads = nn.ModuleList(nn.Linear(channels, subjects) for _ in range(features))
        for head in self.identity_heads:
            nn.init.kaiming_normal_(head.weight, mode="fan_out")
            nn.init.zeros_(head.bias)

    def parts(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """f_1..f_8, each float32 [B, channels]: the branches' global features, then the stripes from the top down."""
        stripes = [
            stripe for count, fine in zip(STRIPES, maps[1:], strict=True) for stripe in fine.tensor_split(count, dim=2)
        ]
        pooled = [region.amax((2, 3)) for region in (*maps, *stripes)]
        return [reduction(z) for reduction, z in zip(self.reductions, pooled, strict=True)]

    def features(self, maps: tuple[Tensor, ...]) -> Tensor:
        """f_1..f_8 side by side, float32 [B, 8 channels]."""
        return torch.cat(self.parts(maps), dim=1)

    def train_step(self, maps: tuple[Tensor, ...], batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """One step of everything. Losses: identity, the mean of eight; triplet, the mean of three."""
        parts = self.parts(maps)
        identity = torch.stack(
            [
                F.cross_entropy(head(f), batch.subjects, label_smoothing=self.smoothing)
                for head, f in zip(self.identity_heads, parts, strict=True)
            ]
        ).mean()
        losses, total = {"identity": identity}, identity
        if self.triplet_weight:
            triplets = [hard_triplet_loss(f, batch.subjects, self.margin) for f in parts[:GLOBALS]]
            losses["triplet"] = torch.stack(triplets).mean()
            total = total + self.triplet_weight * losses["triplet"]
        step(total, "main")
        return {name: loss.item() for name, loss in losses.items()}


def _reduction(dimension: int, channels: int) -> nn.Sequential:
    # of pooled features [B, dimension] a 1x1 convolution is a linear layer
    linear, norm = nn.Linear(dimension, channels, bias=False), nn.BatchNorm1d(channels)
    nn.init.kaiming_normal_(linear.weight, mode="fan_in")
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return nn.Sequential(linear, norm, nn.ReLU())
