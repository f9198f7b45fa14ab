"""Rankings by other features: of queries, the mean of their own and their variants'; of both sides, centralized among
their neighbours (NFC).

    scores = evaluate_features(average(query, variants), gallery, query_labels, gallery_labels, "cc")
    scores = evaluate_features(centralize(query), centralize(gallery), query_labels, gallery_labels, "cc")
"""

import numpy as np

from dlcr.evaluation.nearest import nearest
from dlcr.evaluation.similarity import blocks, prepare, products


def average(query: np.ndarray, variants: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """The mean of each query's features [Q, D] and its variants' [Q, l, D], all of length 1: float32 [Q, D].

    The obvious alternative to Algorithm 1, which the paper does not try. present: bool [Q, l], the variants that there
    are; None: all. A query without any keeps its own direction. ValueError if a shape or value does not fit.
    """
    own, variants = prepare(query, "query"), np.asarray(variants)
    if variants.ndim != 3 or variants.shape[0] != len(own) or variants.shape[2] != own.given.shape[1]:
        raise ValueError(f"variants must be [{len(own)}, l, {own.given.shape[1]}], got shape {list(variants.shape)}")
    count = variants.shape[1]
    present = np.ones((len(own), count), dtype=bool) if present is None else np.asarray(present)
    if present.shape != (len(own), count) or present.dtype != bool:
        raise ValueError(f"present must be bool [{len(own)}, {count}], got {present.dtype} {list(present.shape)}")
    sums = own.exact(slice(None))
    if present.any():
        owner = np.nonzero(present)[0]
        np.add.at(sums, owner, prepare(variants[present], "variants").exact(slice(None)))
    return (sums / (1 + present.sum(axis=1))[:, None]).astype(np.float32)


def centralize(features: np.ndarray, k1: int = 2, k2: int = 2) -> np.ndarray:
    """Neighbour feature centralization (NFC; Yuan et al., CVPR 2025) of features [N, D]: float32 [N, D] of length 1.

    To each row of length 1 those of its k1 nearest others are added that have it among their own k2 nearest, as far as
    these are among their k1 nearest. Neighbours are by cosine; the lower index comes first among equals. Queries and
    gallery are centralized apart, each among themselves, and no label is known, nor any junk.

    k1 and k2 are the authors' names and defaults. Their repository (yuanc3/Pose2ID) holds the function twice: NFC.py
    returns the sums as they are, demo/TransReID-main/utils/NFC.py, with which they report numbers, gives them length 1
    again. This is the latter. Where there are fewer than k1 others, all are neighbours; theirs fails.

    ValueError if a shape or value does not fit.
    """
    given = prepare(features, "features")
    for name, k in (("k1", k1), ("k2", k2)):
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {k!r}")
    count = len(given)
    neighbours = np.empty((count, min(k1, count - 1)), dtype=np.int64)
    for rows, similarity, window in products(given, given) if count > 1 else ():
        own = np.arange(rows.start, rows.stop)
        similarity[own - rows.start, own] = -np.inf
        neighbours[rows] = nearest(similarity, window, given.take(own), given, neighbours.shape[1])[0]
    result = np.empty(given.given.shape, dtype=np.float32)
    for rows in blocks(count, max(given.given.shape)):
        own = np.arange(rows.start, rows.stop)
        sums = given.exact(rows)
        for near in neighbours[rows].T:
            mutual = (neighbours[near, :k2] == own[:, None]).any(axis=1)
            sums[mutual] += given.exact(near[mutual])
        result[rows] = prepare(sums, "features").exact(slice(None))
    return result
