"""Losses and similarities that several models share; those of one model alone stand in its own file."""

import torch
from torch import Tensor
from torch.nn import functional as F

SCALE = 16.0
EPSILON = 0.1
MARGIN = 0.3


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


def hard_triplet_loss(f: Tensor, subjects: Tensor, margin: float = MARGIN) -> Tensor:
    """Mean over the batch of max(0, margin + farthest positive - nearest negative), in Euclidean distances of f [B, D].

    Batch-hard mining on features as they are, not normalised (Hermans et al., arXiv:1703.07737). Needs two subjects in
    the batch.
    """
    # by differences: |a|^2 + |b|^2 - 2ab would leave nothing but rounding of small distances
    distance = torch.linalg.vector_norm(f[:, None] - f, dim=2)
    same = subjects[:, None] == subjects
    farthest = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return F.relu(margin + farthest - nearest).mean()
