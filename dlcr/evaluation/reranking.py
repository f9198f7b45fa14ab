"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017): the comparison that the paper leaves to future work.

distance = rerank(query, gallery)
scores = evaluate(-distance, query_labels, gallery_labels, "cc")
"""

import numpy as np
from scipy import sparse

from dlcr.evaluation.similarity import blocks, cosine, unit_rows


def rerank(query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3) -> np.ndarray:
    """Re-ranked distances float64 [Q, G], from 0 to 1, of features query [Q, D] and gallery [G, D].

    The distance is (1 - weight) times the Jaccard distance of k-reciprocal neighbours plus weight times the original
    one, the squared Euclidean distance of unit rows divided by the largest in its row (as the authors' code has it).
    Neighbours are looked for among queries and gallery together, junk included: re-ranking knows no labels. k1, k2 and
    weight are the authors' names and defaults for single-image Re-ID (k1, k2, lambda). Equal distances: queries before
    the gallery, then the lower index first.

    Every image of both sets meets every other one, so time grows with (Q + G)^2. Their distances are made block by
    block; what is held whole are the features in float64, the sparse encodings and the result.

    ValueError if a shape or value does not fit.
    """
    query, gallery = unit_rows(query, "query"), unit_rows(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query and gallery must have equally many columns, got {query.shape[1]} and {gallery.shape[1]}"
        )
    for name, k in (("k1", k1), ("k2", k2)):
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {k!r}")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie between 0 and 1, got {weight}")
    every = np.concatenate([query, gallery])
    nearest = _nearest(every, max(k1 + 1, k2))
    encoded = _encode(every, nearest, k1)
    if k2 > 1:  # local query expansion: the mean of the nearest, which include the image itself
        encoded = _membership(nearest[:, :k2]) @ encoded / min(k2, len(every))
    encoded = encoded.tocsr()
    others = encoded[len(query) :].tocsc()
    distance = np.empty((len(query), len(gallery)))
    for rows in blocks(len(query), len(every)):
        original = _distances(every[rows], every)
        original /= np.maximum(original.max(axis=1, keepdims=True), 1e-300)
        distance[rows] = weight * original[:, len(query) :]
    for row in range(len(query)):
        own = slice(encoded.indptr[row], encoded.indptr[row + 1])
        distance[row] += (1 - weight) * _jaccard(encoded.indices[own], encoded.data[own], others)
    return distance


def _distances(rows: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of rows of length 1; an image to itself has 0 where its row is not all zeros."""
    return 2 - 2 * cosine(rows, every)


def _nearest(every: np.ndarray, count: int) -> np.ndarray:
    """The nearest rows of each row, nearest first: int64 [N, min(count, N)]; itself first, ties by index."""
    parts = []
    for rows in blocks(len(every), len(every)):
        distances = _distances(every[rows], every)
        own = np.arange(rows.start, rows.stop)
        distances[np.arange(len(own)), own] = -1  # itself first, whatever equals it
        parts.append(np.argsort(distances, axis=1, kind="stable")[:, :count].copy())
    return np.concatenate(parts)


def _membership(neighbours: np.ndarray) -> sparse.csr_array:
    """Which rows are among whose neighbours: a sparse matrix of ones, [N, N]."""
    count, k = neighbours.shape
    starts = np.arange(0, count * k + 1, k)
    return sparse.csr_array((np.ones(count * k), neighbours.ravel(), starts), shape=(count, count))


def _reciprocal(nearest: np.ndarray, k: int) -> sparse.csr_array:
    """R(p, k): the k nearest of p (beside itself) that have p among their k nearest; ones, p itself included."""
    forward = _membership(nearest[:, : k + 1])
    return forward.multiply(forward.T).tocsr()


def _encode(every: np.ndarray, nearest: np.ndarray, k1: int) -> sparse.csr_array:
    """The k-reciprocal features V [N, N] of the expanded sets R*(p, k1), rows of sum 1 (equations 4 to 7)."""
    wide, narrow = _reciprocal(nearest, k1), _reciprocal(nearest, round(k1 / 2))
    sizes = narrow.sum(axis=1)
    shared = (wide @ narrow.T).multiply(wide).tocoo()  # |R(p, k1) & R(q, k1 / 2)| for every q of R(p, k1)
    joins = 3 * shared.data >= 2 * sizes[shared.col]
    joining = sparse.csr_array((np.ones(joins.sum()), (shared.row[joins], shared.col[joins])), shape=wide.shape)
    expanded = (wide + joining @ narrow).tocoo()
    weights = np.empty(len(expanded.row))
    for part in blocks(len(weights), every.shape[1]):
        pairs = every[expanded.row[part]], every[expanded.col[part]]
        weights[part] = np.einsum("nd,nd->n", *pairs)
    return _unit_sums(expanded, weights, every)


def _unit_sums(pairs: sparse.coo_array, similarity: np.ndarray, every: np.ndarray) -> sparse.csr_array:
    """exp(-d) of pairs with the given cosine similarities, d as in `rerank`, divided by its row's sum."""
    largest = np.concatenate([_distances(every[rows], every).max(axis=1) for rows in blocks(len(every), len(every))])
    distances = (2 - 2 * similarity) / np.maximum(largest, 1e-300)[pairs.row]
    encoded = sparse.csr_array((np.exp(-distances), (pairs.row, pairs.col)), shape=pairs.shape)
    return sparse.diags_array(1 / encoded.sum(axis=1)) @ encoded


def _jaccard(columns: np.ndarray, values: np.ndarray, others: sparse.csc_array) -> np.ndarray:
    """1 - sum(min) / sum(max) of one encoding with all others, [G] (equation 10). Rows sum to 1."""
    shared = np.zeros(others.shape[0])
    for column, value in zip(columns, values, strict=True):
        part = slice(others.indptr[column], others.indptr[column + 1])
        shared[others.indices[part]] += np.minimum(value, others.data[part])
    return 1 - shared / (2 - shared)
