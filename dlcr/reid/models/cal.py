"""CAL, clothes-based adversarial loss (Gu et al., CVPR 2022): the paper's main Re-ID model and a small one.

Symbols: f the feature of an image, y its subject, c* its clothes, C(y) the clothes of subject y, n = |C(y)|,
cos_c the cosine of f and the clothes head's weight of c, s = 16 and eps = 0.1.

A batch is two steps (PEERS: CAL): first the clothes head learns to recognise clothes on detached features;
then trunk, neck and identity head learn to recognise the subject while L_CAL makes all clothes of a subject
equally likely. With generated images in the batch the identity loss and batch norm see all images, both
losses about clothes the real ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetModel

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.resnet import feature_map, mini_resnet, resnet50

SCALE = 16.0
EPSILON = 0.1
MARGIN = 0.3


class CAL(ReidModel):
    """Trunk, max and average pooling side by side, batch norm neck, identity head and cosine clothes head.

    smoothing: label smoothing of the identity loss. clothes_from_epoch: the first epoch (0-based) with the
    clothes head and L_CAL. triplet_weight: weight w of the triplet loss, 0 without (1 for LaST).
    """

    unscheduled = frozenset({"clothes"})

    def __init__(
        self,
        trunk: ResNetModel,
        subjects: int,
        clothes: Sequence[int],
        smoothing: float,
        clothes_from_epoch: int,
        triplet_weight: float,
    ) -> None:
        super().__init__()
        self.smoothing, self.clothes_from_epoch, self.triplet_weight = (
            smoothing,
            clothes_from_epoch,
            triplet_weight,
        )
        dimension = 2 * trunk.config.hidden_sizes[-1]
        self.trunk = trunk
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

    def forward(self, images: Tensor) -> Tensor:
        """f, float32 [B, 2D]: the neck's output is the heads' input and the test feature."""
        with self.autocast(images):
            maps = feature_map(self.trunk, images)
        return self.neck(max_and_average(maps.float()))

    def train_step(self, batch: Batch, epoch: float, step: Step) -> dict[str, float]:
        """The clothes head, then everything else. Losses: identity, triplet, clothes, adversarial."""
        f = self(batch.images)
        identity = F.cross_entropy(self.identity_head(f), batch.subjects, label_smoothing=self.smoothing)
        losses, total = {"identity": identity}, identity
        if self.triplet_weight:
            losses["triplet"] = triplet_loss(f, batch.subjects)
            total = total + self.triplet_weight * losses["triplet"]
        # a concatenated batch may hold generated images only
        if epoch >= self.clothes_from_epoch and batch.real.any():
            f, y, c = f[batch.real], batch.subjects[batch.real], batch.clothes[batch.real]
            losses["clothes"] = F.cross_entropy(SCALE * cosines(f.detach(), self.clothes_head), c)
            step("clothes", losses["clothes"])
            losses["adversarial"] = adversarial_loss(cosines(f, self.clothes_head), c, self.owned[y])
            total = total + losses["adversarial"]
        step("main", total)
        return {name: loss.item() for name, loss in losses.items()}


def max_and_average(maps: Tensor) -> Tensor:
    """Global max and average pooling of maps [B, D, h, w], concatenated to [B, 2D]."""
    return torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], dim=1)


def cosines(f: Tensor, weight: Tensor) -> Tensor:
    """cos_c of features [B, D] and class weights [C, D]: [B, C] in -1..1."""
    return F.linear(F.normalize(f), F.normalize(weight))


def adversarial_loss(cosine: Tensor, clothes: Tensor, owned: Tensor, s: float = SCALE, eps: float = EPSILON) -> Tensor:
    """L_CAL, mean over the batch.

    cosine: cos_c [B, C]; clothes: c* [B]; owned: bool [B, C], the clothes C(y) of each sample's subject.
        log p(c) = s cos_c - log( exp(s cos_c) + sum over j not in C(y) of exp(s cos_j) )
        L = - sum over c in C(y) of w_c log p(c),   w_{c*} = 1 - eps + eps / n, the others eps / n
    """
    logits = s * cosine
    others = logits.masked_fill(owned, -torch.inf).logsumexp(1, keepdim=True)
    log_p = logits - torch.logaddexp(logits, others)
    share = owned / owned.sum(1, keepdim=True, dtype=cosine.dtype)
    weights = eps * share + (1 - eps) * F.one_hot(clothes, cosine.shape[1]).to(cosine.dtype)
    return -(weights * log_p).sum(1).mean()


def triplet_loss(f: Tensor, subjects: Tensor, margin: float = MARGIN) -> Tensor:
    """Mean over the batch of max(0, margin + farthest positive - nearest negative), in cosine distances of f
    [B, D].

    CAL's variant of batch-hard mining: distances are 1 - cosine, in 0..2. Needs two subjects in the batch.
    """
    f = F.normalize(f)
    distance = 1 - f @ f.T
    same = subjects[:, None] == subjects
    farthest = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return F.relu(margin + farthest - nearest).mean()


@register_model("cal")
def cal(
    subjects: int,
    clothes: Sequence[int],
    weights: str | None = None,
    smoothing: float = 0.1,
    clothes_from_epoch: int = 25,
    triplet_weight: float = 0.0,
) -> CAL:
    """CAL of the paper's size: ResNet-50, 384x192, 4096-d. `weights`: where the trunk starts (`resnet50`)."""
    return CAL(resnet50(weights), subjects, clothes, smoothing, clothes_from_epoch, triplet_weight)


@register_model("cal-mini")
def cal_mini(
    subjects: int,
    clothes: Sequence[int],
    weights: str | None = None,
    smoothing: float = 0.1,
    clothes_from_epoch: int = 25,
    triplet_weight: float = 0.0,
) -> CAL:
    """The same on the small trunk: 96x48, 320-d. `weights`: where the trunk starts (`mini_resnet`)."""
    return CAL(mini_resnet(weights), subjects, clothes, smoothing, clothes_from_epoch, triplet_weight)
