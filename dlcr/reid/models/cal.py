"""CAL, clothes-based adversarial loss (Gu et al., CVPR 2022): the paper's main Re-ID model and a small one.

Symbols: f the feature of an image, y its subject, c* its clothes, C(y) the clothes of subject y, n = |C(y)|,
cos_c the cosine of f and the clothes head's weight of c, s = 16 and eps = 0.1.

A batch is two steps (Simple-CCReID, train.py): first the clothes head learns to recognise clothes on detached features;
then backbone, neck and identity head learn to recognise the subject while L_CAL makes all clothes of a subject
equally likely. With generated images in the batch the identity loss and batch norm see all images, both
losses about clothes the real ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.losses import SCALE, adversarial_loss, cosines, triplet_loss
from dlcr.reid.models.resnet import LastMap, channels_of, make_backbone, max_and_average


@register_model("cal")
@register_model("cal-mini", backbone="mini")
class CAL(ReidModel):
    """Body, max and average pooling side by side, batch norm neck, identity head and cosine clothes head.

    On ResNet-50, 384x192, features are 4096-d, on the small backbone, 96x48, 320-d.

    weights: where the backbone starts. smoothing: label smoothing of the identity loss. clothes_from_epoch: the first
    epoch (0-based) with the clothes head and L_CAL. triplet_weight: weight w of the triplet loss, 0 without (1 for
    LaST).
    """

    unscheduled = frozenset({"clothes"})
    body_class: type[nn.Module] = LastMap
    pooled = 2  # features for each channel of the backbone

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        smoothing: float = 0.1,
        clothes_from_epoch: int = 25,
        triplet_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.smoothing, self.clothes_from_epoch = smoothing, clothes_from_epoch
        self.triplet_weight = triplet_weight
        resnet = make_backbone(backbone, weights)
        dimension = self.pooled * channels_of(resnet)
        self.body = self.body_class(resnet)
        self.neck = nn.BatchNorm1d(dimension)
        self.identity_head = nn.Linear(dimension, subjects)
        self.clothes_head = nn.Parameter(F.normalize(torch.empty(len(clothes), dimension).uniform_(-1, 1)))
        nn.init.normal_(self.neck.weight, 1.0, 0.02)
        nn.init.normal_(self.identity_head.weight, std=0.001)
        nn.init.zeros_(self.identity_head.bias)
        owners = torch.tensor(clothes)
        # owned[y, c]: does subject y wear clothes c
        self.register_buffer("owned", owners == torch.arange(subjects)[:, None], persistent=False)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Group "clothes" is the clothes head, "main" everything else."""
        main = [parameter for name, parameter in self.named_parameters() if name != "clothes_head"]
        return {"main": main, "clothes": [self.clothes_head]}

    def features(self, maps: Tensor) -> Tensor:
        """f, float32 [B, dimension]: the neck's output is the heads' input and the test feature."""
        return self.neck(max_and_average(maps))

    def train_step(self, maps: Tensor, batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """The clothes head, then everything else. Losses: identity, triplet, clothes, adversarial."""
        f = self.features(maps)
        identity = F.cross_entropy(self.identity_head(f), batch.subjects, label_smoothing=self.smoothing)
        losses, total = {"identity": identity}, identity
        if self.triplet_weight:
            losses["triplet"] = triplet_loss(f, batch.subjects)
            total = total + self.triplet_weight * losses["triplet"]
        # a concatenated batch may hold generated images only
        if epoch >= self.clothes_from_epoch and batch.real.any():
            f, y, c = f[batch.real], batch.subjects[batch.real], batch.clothes[batch.real]
            losses["clothes"] = F.cross_entropy(SCALE * cosines(f.detach(), self.clothes_head), c)
            step(losses["clothes"], "clothes")
            losses["adversarial"] = adversarial_loss(cosines(f, self.clothes_head.detach()), c, self.owned[y])
            total = total + losses["adversarial"]
        step(total, "main")
        return {name: loss.item() for name, loss in losses.items()}
