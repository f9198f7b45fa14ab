"""CCFA, clothing-change feature augmentation (Han et al., CVPR 2023): clothes are changed in feature space.

Symbols: f the feature of an image (the classifier's input and the test feature), y its subject, c its clothes, E the
encoder (backbone, pooling, neck), C_id the identity head, Sigma_c [D] the variances of a change of clothes, g an
augmentation vector, f~ = f + lambda g. No code of the authors is public: what is taken from the paper's equations and
Algorithm 1, and what had to be decided here, is told apart in docs/ccfa.md.

Three phases of one run, by epoch:

I    Sigma_c is estimated over the steps. E and C_id learn L_id = CE + alpha triplet; two discriminators of pairs learn
     on detached features: D_clo, do both wear the same clothes, and D_id, are both the same subject.
II   E, C_id, D_clo and D_id are frozen. The generator G learns vectors g that spread as N(0, Sigma_c) does and that
     change the clothes but not the subject, as D_clo and D_id see it; D_dis tells its vectors from N(0, Sigma_c).
III  G is frozen. E and C_id learn L_id on f~, with one g for each position in a group, the same for all subjects.

With generated images in the batch L_id, the augmentation and batch norm see all images; Sigma_c and the discriminators
of pairs, all about clothes, the real ones. G learns from the features of real images too.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dlcr.reid.models.base import Batch, ReidModel, Step, register_model
from dlcr.reid.models.losses import triplet_loss
from dlcr.reid.models.resnet import LastMap, channels_of, make_backbone, max_and_average

AUGMENTATIONS = ("generator", "normal")
STRATEGIES = ("correlated", "uncorrelated")
GENERATOR_LOSSES = ("clo", "id", "sta", "adv_g", "adv_d")
SLOPE = 0.2


class PairDiscriminator(nn.Module):
    """Logits [N] of "both show the same", for pairs of features, each [N, D]; the order of a pair does not matter.

    A layer of `hidden` units on |f - f'| and (f + f') / 2 side by side, leaky ReLU, a layer to the logit.
    """

    def __init__(self, dimension: int, hidden: int) -> None:
        super().__init__()
        self.layers = mlp(2 * dimension, hidden, 1)

    def forward(self, f: Tensor, other: Tensor) -> Tensor:
        return self.layers(torch.cat([(f - other).abs(), (f + other) / 2], dim=1))[:, 0]


@register_model("ccfa")
@register_model("ccfa-mini", backbone="mini", phase_2_from=8, phase_3_from=11, gamma1=0.1, hidden=128, noise=32)
class CCFA(ReidModel):
    """Backbone, max and average pooling side by side, batch norm neck, identity head; G, D_dis, D_clo, D_id beside it.

    On ResNet-50 features are 4096-d, on the small backbone, 96x48, 320-d. weights: where the backbone starts.
    phase_2_from, phase_3_from: the first epochs (0-based) of phases II and III; phase_2_from None: phase I only.
    smoothing: label smoothing of the CE. alpha: weight of the triplet loss. momentum: what the running means and
    Sigma_c keep at a step. lam: lambda. gamma1, gamma2: weights of L_sta and L_cciu. hidden: units of the hidden layers
    of G and the discriminators; noise: G's inputs.

    The ablations: augmentation "generator", or "normal" for vectors of N(0, Sigma_c) (phase II then has nothing to
    learn); strategy "correlated", or "uncorrelated" for an own vector for every image; generator_losses: those in use,
    "clo" and "id" being the two terms of L_cciu.
    """

    unscheduled = frozenset({"d_clo", "d_id", "generator", "d_dis"})

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        phase_2_from: int | None = 25,
        phase_3_from: int = 30,
        smoothing: float = 0.1,
        alpha: float = 1.0,
        momentum: float = 0.9,
        lam: float = 1.0,
        gamma1: float = 0.01,
        gamma2: float = 1.0,
        hidden: int = 512,
        noise: int = 128,
        augmentation: str = "generator",
        strategy: str = "correlated",
        generator_losses: Sequence[str] = GENERATOR_LOSSES,
    ) -> None:
        super().__init__()
        _check("augmentation", [augmentation], AUGMENTATIONS)
        _check("strategy", [strategy], STRATEGIES)
        _check("generator_losses", generator_losses, GENERATOR_LOSSES)
        if phase_2_from is not None:
            _check_phases(phase_2_from, phase_3_from, augmentation, generator_losses)
            if len(clothes) == subjects:
                raise ValueError(
                    "CCFA: Sigma_c needs a subject with two clothes, every subject has one; "
                    "phase_2_from: null trains phase I only"
                )
        self.phase_2_from, self.phase_3_from = phase_2_from, phase_3_from
        self.smoothing, self.alpha, self.momentum = smoothing, alpha, momentum
        self.lam, self.gamma1, self.gamma2, self.noise = lam, gamma1, gamma2, noise
        self.augmentation, self.strategy, self.generator_losses = augmentation, strategy, frozenset(generator_losses)
        resnet = make_backbone(backbone, weights)
        dimension = 2 * channels_of(resnet)
        self.body = LastMap(resnet)
        self.neck = nn.BatchNorm1d(dimension)
        self.identity_head = nn.Linear(dimension, subjects)
        nn.init.normal_(self.neck.weight, 1.0, 0.02)
        nn.init.normal_(self.identity_head.weight, std=0.001)
        nn.init.zeros_(self.identity_head.bias)
        self.d_clo, self.d_id = PairDiscriminator(dimension, hidden), PairDiscriminator(dimension, hidden)
        self.d_dis = mlp(dimension, hidden, 1)
        self.generator = mlp(noise, hidden, hidden, dimension)
        self.register_buffer("owners", torch.tensor(clothes), persistent=False)
        self.register_buffer("means", torch.zeros(len(clothes), dimension))
        self.register_buffer("seen", torch.zeros(len(clothes), dtype=torch.bool))
        self.register_buffer("covariance", torch.zeros(dimension))
        self.register_buffer("estimated", torch.zeros((), dtype=torch.bool))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """A group for each discriminator and the generator, "main" for E and C_id."""
        main = [*self.body.parameters(), *self.neck.parameters(), *self.identity_head.parameters()]
        return {"main": main} | {name: list(getattr(self, name).parameters()) for name in sorted(self.unscheduled)}

    def phase(self, epoch: int) -> int:
        """1, 2 or 3."""
        if self.phase_2_from is None or epoch < self.phase_2_from:
            return 1
        return 2 if epoch < self.phase_3_from else 3

    def start_epoch(self, epoch: int) -> None:
        """Train mode; in phase II the encoder stays in eval mode, so that its batch norms are frozen too."""
        self.train()
        if self.phase(epoch) == 2:
            self.body.eval()
            self.neck.eval()

    def features(self, maps: Tensor) -> Tensor:
        """f, float32 [B, 2D]: the neck's output is the head's input and the test feature."""
        return self.neck(max_and_average(maps))

    def train_step(self, maps: Tensor, batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """A step of the epoch's phase.

        Losses: identity, triplet, d_clo, d_id (I); d_dis, adv, sta, clo, id (II); identity, triplet (III).
        """
        phase = self.phase(epoch)
        if phase == 2:
            losses = self._train_generator(self.features(maps.detach()).detach()[batch.real], step)
        else:
            f = self.features(maps)
            if phase == 1:
                real = f.detach()[batch.real], batch.subjects[batch.real], batch.clothes[batch.real]
                self._estimate(real[0], real[2])
                losses = self._train_discriminators(*real, step)
            else:
                f, losses = self._augment(f, batch.position), {}
            losses |= self._train_encoder(f, batch.subjects, step)
        return {name: loss.item() for name, loss in losses.items()}

    def augmentation_vectors(self, count: int) -> Tensor:
        """`count` random vectors g [count, D], of G or of N(0, Sigma_c)."""
        if self.augmentation == "normal":
            return self._normal(count)
        return self.generator(self._random(count, self.noise))

    @torch.no_grad()
    def _estimate(self, f: Tensor, clothes: Tensor) -> None:
        """Move the running means and Sigma_c by the features f [B, D] of one batch, Eq. (2)."""
        # update_means before the covariance: mu_t is the mean at this step
        update_means(self.means, self.seen, f, clothes, self.momentum)
        same_owner = self.owners[clothes][:, None] == self.owners
        others = same_owner.scatter(1, clothes[:, None], False) & self.seen
        squares, count = clothing_change(f, self.means, others)
        if count:
            now, keep = squares / count, self.momentum if self.estimated else 0.0
            self.covariance.copy_(keep * self.covariance + (1 - keep) * now)
            self.estimated.fill_(True)

    def _train_discriminators(self, f: Tensor, subjects: Tensor, clothes: Tensor, step: Step) -> dict[str, Tensor]:
        """D_clo and D_id on all pairs of detached features f [B, D], Eqs. (4) and (5)."""
        losses = {}
        pairs = torch.triu_indices(len(f), len(f), 1, device=f.device)
        same_clothes, same_subject = (labels[pairs[0]] == labels[pairs[1]] for labels in (clothes, subjects))
        for name, same in (("d_clo", same_clothes), ("d_id", same_subject)):
            # a batch with one answer only would teach just that
            if same.any() and not same.all():
                logits = getattr(self, name)(f[pairs[0]], f[pairs[1]])
                losses[name] = pair_loss(logits, same, same_clothes, same_subject)
                step(losses[name], name)
        return losses

    def _train_generator(self, f: Tensor, step: Step) -> dict[str, Tensor]:
        """D_dis, then G, on detached features f [B, D], Eqs. (6) to (10)."""
        if self.augmentation == "normal" or len(f) == 0:
            return {}
        use, losses, total = self.generator_losses, {}, torch.zeros((), device=f.device)
        g = self.augmentation_vectors(len(f))
        if "adv_d" in use:
            losses["d_dis"] = discriminator_loss(self.d_dis(self._normal(len(f))), self.d_dis(g.detach()))
            step(losses["d_dis"], "d_dis")
        if "adv_g" in use:
            losses["adv"] = F.softplus(-frozen(self.d_dis, g)).mean()
            total = total + losses["adv"]
        if "sta" in use:
            losses["sta"] = statistics_loss(g, self.covariance)
            total = total + self.gamma1 * losses["sta"]
        for name, discriminator, sign in (("clo", self.d_clo, 1), ("id", self.d_id, -1)):
            if name in use:
                losses[name] = F.softplus(sign * frozen(discriminator, f, f + self.lam * g)).mean()
                total = total + self.gamma2 * losses[name]
        step(total, "generator")
        return losses

    def _augment(self, f: Tensor, position: Tensor) -> Tensor:
        """f~ of f [B, D]: images at the same position have the same vector, or everyone an own one."""
        with torch.no_grad():
            g = self.augmentation_vectors(len(f))
        return f + self.lam * (g[position] if self.strategy == "correlated" else g)

    def _train_encoder(self, f: Tensor, subjects: Tensor, step: Step) -> dict[str, Tensor]:
        """E and C_id by L_id on the (augmented) features, Eq. (3)."""
        losses = {
            "identity": F.cross_entropy(self.identity_head(f), subjects, label_smoothing=self.smoothing),
            "triplet": triplet_loss(f, subjects),
        }
        step(losses["identity"] + self.alpha * losses["triplet"], "main")
        return losses

    def _normal(self, count: int) -> Tensor:
        """`count` vectors a ~ N(0, Sigma_c) [count, D]."""
        return self._random(count, len(self.covariance)) * self.covariance.sqrt()

    def _random(self, count: int, width: int) -> Tensor:
        return self.covariance.new_empty(count, width).normal_()


def update_means(means: Tensor, seen: Tensor, f: Tensor, clothes: Tensor, momentum: float) -> None:
    """Move the running means mu [C, D] of the clothes in a batch of features f [B, D], in place.

        mu_c <- m mu_c + (1 - m) mean of the batch's f of clothes c,    the first time that mean itself

    clothes: int64 [B]; seen: bool [C], the clothes that have a mean.
    """
    own = F.one_hot(clothes, len(means)).to(f.dtype)
    count = own.sum(0)
    present = count > 0
    now = own.T @ f / count.clamp(min=1)[:, None]
    keep = torch.where(seen, momentum, 0.0).to(f.dtype)[:, None]
    means.copy_(torch.where(present[:, None], keep * means + (1 - keep) * now, means))
    seen.logical_or_(present)


def clothing_change(f: Tensor, means: Tensor, others: Tensor) -> tuple[Tensor, int]:
    """Sum [D] of (mu_c - f)^2 over the features f [B, D] and the clothes in `others` bool [B, C], and their number.

    `others` are the other clothes of each feature's subject that have a mean: the quotient is Sigma'_c of Eq. (2).
    """
    rows, columns = others.nonzero(as_tuple=True)
    return (means[columns] - f[rows]).square().sum(0), len(rows)


def pair_loss(logits: Tensor, same: Tensor, same_clothes: Tensor, same_subject: Tensor) -> Tensor:
    """Balanced binary cross-entropy of pairs: `logits` [N] against `same` bool [N], both answers present.

    Positives and negatives count one half each. The pairs are of three kinds: same clothes, same subject in other
    clothes, two subjects; the kinds with the same answer share its half equally, as far as they are in the batch.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, same.to(logits.dtype), reduction="none")
    kinds = [same_clothes, same_subject & ~same_clothes, ~same_subject]
    halves = []
    for answer in (same, ~same):
        means = [entropy[answer & kind].mean() for kind in kinds if (answer & kind).any()]
        halves.append(torch.stack(means).mean())
    return (halves[0] + halves[1]) / 2


def statistics_loss(g: Tensor, covariance: Tensor) -> Tensor:
    """L_sta of vectors g [N, D]: | E[g] |_1 + | E[(E[g] - g)^2] - Sigma_c |_1, sums over D."""
    mean = g.mean(0)
    return mean.abs().sum() + ((mean - g).square().mean(0) - covariance).abs().sum()


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """L_adv^D = - E[ log D_dis(a) + log(1 - D_dis(g)) ] from the logits of a and of g, each [N, 1]."""
    return F.softplus(-real).mean() + F.softplus(made).mean()


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers between `widths`, leaky ReLU between them, initialised to keep the variance of their input."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        layers += [nn.LeakyReLU(SLOPE)] if i else []
        layers.append(nn.Linear(inputs, outputs))
        gain = nn.init.calculate_gain("leaky_relu", SLOPE) if i else 1.0
        nn.init.normal_(layers[-1].weight, std=gain * inputs**-0.5)
        nn.init.zeros_(layers[-1].bias)
    return nn.Sequential(*layers)


def frozen(module: nn.Module, *inputs: Tensor) -> Tensor:
    """`module(*inputs)` with gradients for the inputs, but none for the module's parameters."""
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return functional_call(module, parameters, inputs)


def _check(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise ValueError(f"CCFA: {name} has {value!r}; expected {', '.join(known)}")


def _check_phases(second: int, third: int, augmentation: str, losses: Sequence[str]) -> None:
    if not 1 <= second <= third:
        raise ValueError(f"CCFA: phases II and III from epochs {second} and {third}; expected 1 <= II <= III")
    if augmentation == "generator" and (second == third or not set(losses) - {"adv_d"}):
        raise ValueError("CCFA: the generator learns nothing: phase II needs an epoch, and a loss other than adv_d")
