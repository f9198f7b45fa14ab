"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017): the comparison that the paper leaves to future work.

scores = evaluate(rerank(query, gallery), query_labels, gallery_labels, "cc")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dlcr.evaluation.nearest import nearest
from dlcr.evaluation.similarity import Features, blocks, check_columns, cosines, prepare, products

if TYPE_CHECKING:
    from scipy import sparse


def rerank(query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3) -> np.ndarray:
    """Re-ranked similarities float64 [Q, G], from 0 to 1, of features query [Q, D] and gallery [G, D].

    A similarity is 1 - d; d is (1 - weight) times the Jaccard distance of k-reciprocal neighbours plus weight times the
    original one, the squared Euclidean distance of unit rows divided by the largest in its row (as the authors' code
    has it). Neighbours are looked for among queries and gallery together, junk included: re-ranking knows no labels.
    k1, k2 and weight are the authors' names and defaults for single-image Re-ID (k1, k2, lambda). Equal distances:
    queries before the gallery, then the lower index first.

    Every image of both sets meets every other one, so time grows with (Q + G)^2; their similarities are made block by
    block, and only the sparse encodings and the result are held whole.

    ValueError if a shape or value does not fit.
    """
    query, gallery = prepare(query, "query"), prepare(gallery, "gallery")
    check_columns(query, gallery)
    for name, k in (("k1", k1), ("k2", k2)):
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {k!r}")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie between 0 and 1, got {weight}")
    every = prepare(np.concatenate([query.given, gallery.given]), "query and gallery")
    neighbours, largest = _nearest_and_largest(every, max(k1 + 1, k2))
    encoded = _encode(every, neighbours, largest, k1)
    if k2 > 1:  # local query expansion: the mean of the nearest, which include the image itself
        encoded = _membership(neighbours[:, :k2]) @ encoded / min(k2, len(every))
    encoded = encoded.tocsr()
    others = encoded[len(query) :].tocsc()
    similarity = np.empty((len(query), len(gallery)))
    for rows in blocks(len(query), max(gallery.given.shape)):
        original = (2 - 2 * cosines(query.exact(rows), gallery, slice(None))) / largest[rows, None]
        for row in range(rows.start, rows.stop):
            own = slice(encoded.indptr[row], encoded.indptr[row + 1])
            jaccard = _jaccard(encoded.indices[own], encoded.data[own], others)
            similarity[row] = 1 - (1 - weight) * jaccard - weight * original[row - rows.start]
    return similarity


def _nearest_and_largest(every: Features, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of each row, nearest first: int64 [N, min(count, N)]; itself first, ties by index.

    And the largest distance of each row, float64 [N]; where all are 0, the smallest number to divide by.
    """
    neighbours = np.empty((len(every), min(count, len(every))), dtype=np.int64)
    largest = np.empty(len(every))
    for rows, similarity, window in products(every, every):
        own = np.arange(rows.start, rows.stop)
        part = every.take(own)
        opposite = Features(-part.given.astype(np.float64), -part.single, part.scale)  # unsigned ones have no opposite
        largest[rows] = 2 + 2 * nearest(-similarity, window, opposite, every, 1)[1][:, 0]
        similarity[own - rows.start, own] = -np.inf
        neighbours[rows, 0] = own  # whatever equals it
        if neighbours.shape[1] > 1:
            neighbours[rows, 1:] = nearest(similarity, window, part, every, neighbours.shape[1] - 1)[0]
    return neighbours, np.maximum(largest, 1e-300)


def _membership(neighbours: np.ndarray) -> sparse.csr_array:
    """Which rows are among whose neighbours: a sparse matrix of ones, [N, N]."""
    from scipy import sparse

    count, k = neighbours.shape
    starts = np.arange(0, count * k + 1, k)
    return sparse.csr_array((np.ones(count * k), neighbours.ravel(), starts), shape=(count, count))


def _reciprocal(neighbours: np.ndarray, k: int) -> sparse.csr_array:
    """R(p, k): the k nearest of p (beside itself) that have p among their k nearest; ones, p itself included."""
    forward = _membership(neighbours[:, : k + 1])
    return forward.multiply(forward.T).tocsr()


def _encode(every: Features, neighbours: np.ndarray, largest: np.ndarray, k1: int) -> sparse.csr_array:
    """The k-reciprocal features V [N, N] of the expanded sets R*(p, k1), rows of sum 1 (equations 4 to 7)."""
    from scipy import sparse

    wide, narrow = _reciprocal(neighbours, k1), _reciprocal(neighbours, round(k1 / 2))
    sizes = narrow.sum(axis=1)
    shared = (wide @ narrow.T).multiply(wide).tocoo()  # |R(p, k1) & R(q, k1 / 2)| for every q of R(p, k1)
    # more than two thirds, as in the authors' code (their paper: at least); in whole numbers, which never round
    joins = 3 * shared.data > 2 * sizes[shared.col]
    joining = sparse.csr_array((np.ones(joins.sum()), (shared.row[joins], shared.col[joins])), shape=wide.shape)
    expanded = (wide + joining @ narrow).tocsr()
    weights = np.empty(expanded.nnz)

    for row in range(len(every)):
        own = slice(expanded.indptr[row], expanded.indptr[row + 1])
        similarity = cosines(every.exact(slice(row, row + 1)), every, expanded.indices[own])[0]
        weights[own] = np.exp((2 * similarity - 2) / largest[row])
        weights[own] /= weights[own].sum()
    return sparse.csr_array((weights, expanded.indices, expanded.indptr), shape=expanded.shape)


def _jaccard(columns: np.ndarray, values: np.ndarray, others: sparse.csc_array) -> np.ndarray:
    """1 - sum(min) / sum(max) of one encoding with all others, [G] (equation 10). Rows sum to 1."""
    shared = np.zeros(others.shape[0])
    for column, value in zip(columns, values, strict=True):
        part = slice(others.indptr[column], others.indptr[column + 1])
        shared[others.indices[part]] += np.minimum(value, others.data[part])
    return 1 - shared / (2 - shared)
