"""Which images make up the batches of an epoch: identities, pairs, and the progressive schedule (Sec. 3.2.1).

What a batch is made of is addressed by (layer, row): row i is the i-th real training sample (an image, or for models
of tracklets a chunk of one), layer 0 the sample itself, layer 1 + j its variant j. A pair is always made by row, so a
sample meets none but its own variants.

Modes: `none` real images only; `paired` adds to every real image of a batch one of its K variants (32 become
64); `progressive` the same from a part of the variants that grows every N epochs; `concat` samples from all
(K+1)·n images as one set.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MODES = ("none", "concat", "paired", "progressive")
PARTS = 4


@dataclass(frozen=True)
class Epoch:
    """The n batches of an epoch: int64 [n, B] layers, rows and position, bool [n, B] real.

    `real` is False for what stands in a generated image's place; `position` is the place in a group of J. limit: the
    variants in use. replaced: pairs whose image has no variant among these (all skipped in generation), so that the
    real image takes the place.
    """

    layers: NDArray[np.int64]
    rows: NDArray[np.int64]
    real: NDArray[np.bool_]
    position: NDArray[np.int64]
    limit: int
    replaced: int


def plan_epoch(
    mode: str,
    subjects: NDArray[np.int64],
    present: NDArray[np.bool_],
    epoch: int,
    every: int,
    identities: int,
    images: int,
    rng: np.random.Generator,
) -> Epoch:
    """The batches of an epoch (0-based).

    subjects: [n] of the real samples. present: [K, n], False where a sample's variant was skipped. every: N, the epochs
    after which the progressive schedule takes the next part. identities x images: P x J of a batch (pairs
    double it). Raises ValueError when there are fewer than P subjects.
    """
    k = len(present)
    if mode == "concat":
        layers, rows = np.nonzero(np.concatenate([np.ones((1, len(subjects)), bool), present]))
        chosen = identity_batches(subjects[rows], identities, images, rng)
        return Epoch(layers[chosen], rows[chosen], layers[chosen] == 0, _positions(chosen, images), k, 0)
    rows = identity_batches(subjects, identities, images, rng)
    position = _positions(rows, images)
    if mode == "none":
        return Epoch(np.zeros_like(rows), rows, np.ones(rows.shape, bool), position, 0, 0)
    limit = variants_in_use(epoch, k, every) if mode == "progressive" else k
    layers = 1 + pick_variants(present[:limit], rows, rng)
    return Epoch(
        np.concatenate([np.zeros_like(rows), layers], axis=1),
        np.concatenate([rows, rows], axis=1),
        np.concatenate([np.ones(rows.shape, bool), np.zeros(rows.shape, bool)], axis=1),
        np.concatenate([position, position], axis=1),
        limit,
        int((layers == 0).sum()),
    )


def _positions(rows: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    return np.broadcast_to(np.arange(rows.shape[1]) % images, rows.shape)


def identity_batches(
    subjects: NDArray[np.int64], identities: int, images: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Batches of P groups of J images of one subject each: indices into `subjects`, [n, P·J].

    As CAL's sampler: a subject's images are shuffled and cut into groups of J, what is left over stays out of
    this epoch; a subject with fewer than J images gives one group drawn with replacement. The groups are
    shuffled, so that a batch may hold two groups of one subject; an incomplete last batch is dropped.
    ValueError for fewer than P subjects.
    """
    groups = []
    names = np.unique(subjects)
    if len(names) < identities:
        raise ValueError(f"batches of {identities} identities need as many subjects, the training set has {len(names)}")
    for subject in names:
        own = np.flatnonzero(subjects == subject)
        own = rng.choice(own, images) if len(own) < images else rng.permutation(own)
        groups.append(own[: len(own) // images * images].reshape(-1, images))
    shuffled = rng.permutation(np.concatenate(groups))
    batches = len(shuffled) // identities
    return shuffled[: batches * identities].reshape(batches, identities * images)


def variants_in_use(epoch: int, k: int, every: int) -> int:
    """How many of K variants the progressive schedule samples from: the first 1, 2, 3, then all of four
    parts.

    The parts are equal as far as whole numbers can be, q of them hold floor(K·q/4) variants, and at least one
    is in use: K = 10 gives 2, 5, 7, 10 as in the release.
    """
    parts = min(epoch // every + 1, PARTS)
    return min(k, max(1, k * parts // PARTS))


def pick_variants(present: NDArray[np.bool_], rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each row one of its variants, uniformly from those `present` [K, n]; -1 where an image has none."""
    candidates = present[:, rows]
    rank = np.floor(rng.random(rows.shape) * candidates.sum(0)).astype(np.int64)
    hit = candidates & (np.cumsum(candidates, axis=0) == rank + 1)
    return np.where(hit.any(0), hit.argmax(0), -1)
