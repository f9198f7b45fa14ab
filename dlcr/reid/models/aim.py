"""AIM, causality inspired clothes debiasing (Yang et al., CVPR 2023): an identity branch, a clothes branch and
their fusion.

Symbols: f the identity branch's feature of an image, g the clothes branch's, f~ the fused one; y the subject, c* the
clothes; W the identity head, shared: z = W f, z_fused = W f~; C1 and C2 the cosine clothes heads of f and g; s = 16.

    C1               CE(s C1(f), c*) on detached f                                     from clothes_from_epoch on
    clothes branch   CE(s C2(g), c*)
                     + k_kl (KL(P || Q) + KL(Q || P))                                  from clothes_from_epoch on
    identity branch  CE_ls(z, y)
                     + k_cal CE_ls(z - z_fused, y) + L_CAL(C1(f))                      from clothes_from_epoch on

P = softmax C2(g) and Q = softmax C1(f) of the cosines without s, Q detached. KL is summed over clothes and images,
everything else is a mean over images: the larger the batch, the more KL weighs.

A batch is two steps, as in CAL: C1's, then one of everything else. The release steps the clothes branch and the
identity branch one after the other. As neither loss reaches the other's parameters (the fusion looks at the detached
clothes map, P at a detached Q) and both are made of the same maps, one step of their sum is the same. With generated
images in the batch the identity losses (CE_ls) and batch norm see all images, the losses about clothes the real ones.

Taken as fact from the public code (BoomShakaY/AIM-CCReID: train.py, main.py, models/): the formulas and what is
detached; Q comes from C1 after its step; all epochs of change are 25; C1 has an Adam of its own without a schedule, C2
belongs to the clothes branch's, W and the fusion to the identity branch's, both with the schedule; no triplet loss
(its weight is 0 in the configuration, and by its authors' word); both backbones start from ImageNet; on test the
identity branch alone. Uncertain ("?"): the epochs (100 in one configuration, 70 in another), whether the published
numbers come from one process of 32 images or two (then KL is a sum over 32 of 64 images, and each process has a C1
of its own); here it is the sum over the whole batch.

Numerics: the release is known to give NaN losses. Three of its formulas have no value or gradient somewhere: the
signed root, whose slope at 0 is infinite while its inputs are exactly 0 wherever a channel is silent (its guard
`GUARD` vanishes in half precision, and inf * 0 follows); the L2 norm of a silent map; log(softmax), -inf once a
probability underflows (not for cosines in float32, but for any larger logits). Here the fusion runs in float32, outside
the body, with the same guard, and KL is made of log-softmaxes. Which of them was the authors' NaN is not known.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.losses import SCALE, adversarial_loss, cosines
from dlcr.reid.models.resnet import channels_of, make_backbone, max_and_average

# the slope of the signed root is at most 1 / (2 sqrt(GUARD)), 5e5
GUARD = 1e-12


def signed_root(x: Tensor) -> Tensor:
    """sign(x) sqrt(|x| + GUARD): finite with its gradient everywhere, 0 with gradient 0 at 0. x must be float32 at
    least: GUARD is nothing in half precision."""
    return x.sign() * (x.abs() + GUARD).sqrt()


def symmetric_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(P || Q) + KL(Q || P) = sum (P - Q) (log P - log Q), summed over the rows, of P, Q = softmax p, q [B, C]."""
    log_p, log_q = p.log_softmax(1), q.log_softmax(1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()


class TwoBackbones(nn.Module):
    """The body: images [B, 3, H, W] to the identity map and the clothes map, [B, D, h, w] each.

    In eval mode the identity map alone: on test nothing looks at the other.
    """

    def __init__(self, identity: nn.Module, clothes: nn.Module) -> None:
        super().__init__()
        self.identity, self.clothes = identity, clothes

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        used = (self.identity, self.clothes) if self.training else (self.identity,)
        return tuple(backbone(images).last_hidden_state for backbone in used)


class ClothesBranch(nn.Module):
    """g: the maximum of each stripe, reduced, side by side, and all of it through a linear layer and batch norm.

    channels: D of the map; stripes: into how many the map is cut, several times over; reduced: width of one stripe's
    part; dimension: of g.
    """

    def __init__(self, channels: int, stripes: Sequence[int], reduced: int, dimension: int) -> None:
        super().__init__()
        self.stripes = tuple(stripes)
        # a 1x1 convolution of one pixel is a linear layer
        self.reductions = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, reduced, bias=False), nn.BatchNorm1d(reduced), nn.ReLU())
            for _ in range(sum(self.stripes))
        )
        self.linear = nn.Linear(reduced * sum(self.stripes), dimension, bias=False)
        self.neck = _neck(dimension)
        for reduction in self.reductions:
            nn.init.kaiming_normal_(reduction[0].weight, mode="fan_out")
        nn.init.normal_(self.linear.weight, std=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        """g [B, dimension] of maps [B, D, h, w]; ValueError when h is too small to be cut.

        Where h cannot be cut evenly the upper stripes are one row higher (the release drops the last rows).
        """
        if maps.shape[2] < max(self.stripes):
            raise ValueError(f"maps of {maps.shape[2]} rows cannot be cut into {max(self.stripes)} stripes")
        pooled = [part.amax((2, 3)) for stripes in self.stripes for part in maps.tensor_split(stripes, dim=2)]
        parts = [reduce(part) for reduce, part in zip(self.reductions, pooled, strict=True)]
        return self.neck(self.linear(torch.cat(parts, dim=1)))


class Fusion(nn.Module):
    """f~: the identity map, summed up where the clothes branch looks (bilinear attention).

    channels: D of both maps; attentions: M, the number of attention maps; dimension: of f~.
    """

    def __init__(self, channels: int, attentions: int, dimension: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv2d(channels, attentions, 1, bias=False), nn.BatchNorm2d(attentions, eps=1e-3), nn.ReLU()
        )
        self.linear = nn.Linear(attentions * channels, dimension, bias=False)
        self.neck = _neck(dimension)
        nn.init.normal_(self.linear.weight, std=0.001)

    def forward(self, identity: Tensor, clothes: Tensor) -> Tensor:
        """f~ [B, dimension] of the identity map and the (detached) clothes map, [B, D, h, w] each."""
        attention = self.attention(clothes).flatten(2)
        # [B, M, D]: the identity map's mean over the pixels, weighted by each attention map
        sums = attention @ identity.flatten(2).mT / attention.shape[2]
        return self.neck(self.linear(F.normalize(signed_root(sums.flatten(1)))))


@register_model("aim")
@register_model("aim-mini", backbone="mini", stripes=(1, 2, 4), reduced=20, attentions=4)
class AIM(ReidModel):
    """Two backbones, the identity branch on the one, the clothes branch on the other, and their fusion.

    On ResNet-50, 384x192, features are 4096-d, on the small backbone, 96x48, 320-d. weights: where both backbones
    start. stripes, reduced: as in `ClothesBranch`. attentions: as in `Fusion`. smoothing: label smoothing of the
    identity losses (CE_ls). clothes_from_epoch: the first epoch (0-based) with C1 and what it takes part in, and with
    the fusion. k_cal, k_kl: weights of CE_ls(z - z_fused) and of KL.
    """

    unscheduled = frozenset({"clothes"})

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        stripes: Sequence[int] = (1, 2, 4, 8),
        reduced: int = 256,
        attentions: int = 8,
        smoothing: float = 0.1,
        clothes_from_epoch: int = 25,
        k_cal: float = 1.0,
        k_kl: float = 1.0,
    ) -> None:
        super().__init__()
        self.smoothing, self.clothes_from_epoch = smoothing, clothes_from_epoch
        self.k_cal, self.k_kl = k_cal, k_kl
        identity, other = (make_backbone(backbone, weights) for _ in range(2))
        channels = channels_of(identity)
        dimension = 2 * channels
        self.body = TwoBackbones(identity, other)
        self.clothes_branch = ClothesBranch(channels, stripes, reduced, dimension)
        self.fusion = Fusion(channels, attentions, dimension)
        self.neck = _neck(dimension)
        self.identity_head = nn.Linear(dimension, subjects)
        nn.init.normal_(self.identity_head.weight, std=0.001)
        nn.init.zeros_(self.identity_head.bias)
        # C1 and C2
        self.clothes_head, self.clothes_branch_head = (
            nn.Parameter(F.normalize(torch.empty(len(clothes), dimension).uniform_(-1, 1))) for _ in range(2)
        )
        owners = torch.tensor(clothes)
        # owned[y, c]: does subject y wear clothes c
        self.register_buffer("owned", owners == torch.arange(subjects)[:, None], persistent=False)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Group "clothes" is C1, "main" everything else."""
        main = [parameter for name, parameter in self.named_parameters() if name != "clothes_head"]
        return {"main": main, "clothes": [self.clothes_head]}

    def features(self, maps: tuple[Tensor, ...]) -> Tensor:
        """f, float32 [B, 2D]: the neck's output is the heads' input and the test feature."""
        return self.neck(max_and_average(maps[0]))

    def train_step(self, maps: tuple[Tensor, Tensor], batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """C1, then everything else. Losses: identity, debiased (of z - z_fused), clothes (C1), clothes_branch (C2),
        adversarial (L_CAL), divergence (KL)."""
        f, g = self.features(maps), self.clothes_branch(maps[1])
        real, debias = batch.real, epoch >= self.clothes_from_epoch
        losses = self._identity_losses(f, maps, batch.subjects, debias)
        if real.any():
            if debias:
                of_f = cosines(f[real].detach(), self.clothes_head)
                losses["clothes"] = F.cross_entropy(SCALE * of_f, batch.clothes[real])
                step(losses["clothes"], "clothes")
            losses |= self._clothes_losses(f[real], g[real], batch.subjects[real], batch.clothes[real], debias)
        weights = {"debiased": self.k_cal, "divergence": self.k_kl}
        total = sum(weights.get(name, 1) * loss for name, loss in losses.items() if name != "clothes")
        # a concatenated batch may hold generated images only; processes still wait for a gradient of all of the body
        step(total if real.any() else total + 0 * g.sum(), "main")
        return {name: loss.item() for name, loss in losses.items()}

    def _identity_losses(
        self, f: Tensor, maps: tuple[Tensor, Tensor], subjects: Tensor, debias: bool
    ) -> dict[str, Tensor]:
        z = self.identity_head(f)
        losses = {"identity": F.cross_entropy(z, subjects, label_smoothing=self.smoothing)}
        if debias:
            z_fused = self.identity_head(self.fusion(maps[0], maps[1].detach()))
            losses["debiased"] = F.cross_entropy(z - z_fused, subjects, label_smoothing=self.smoothing)
        return losses

    def _clothes_losses(
        self, f: Tensor, g: Tensor, subjects: Tensor, clothes: Tensor, debias: bool
    ) -> dict[str, Tensor]:
        """The main step's losses about clothes; f, g and labels are those of the real images."""
        of_g = cosines(g, self.clothes_branch_head)
        losses = {"clothes_branch": F.cross_entropy(SCALE * of_g, clothes)}
        if debias:
            of_f = cosines(f, self.clothes_head.detach())
            losses["adversarial"] = adversarial_loss(of_f, clothes, self.owned[subjects])
            losses["divergence"] = symmetric_kl(of_g, of_f.detach())
        return losses


def _neck(dimension: int) -> nn.BatchNorm1d:
    neck = nn.BatchNorm1d(dimension)
    nn.init.normal_(neck.weight, 1.0, 0.02)
    return neck
