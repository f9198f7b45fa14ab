"""Cosine similarities in blocks of queries, so that no whole Q x G matrix is ever held."""

from collections.abc import Iterator

import numpy as np

BLOCK_VALUES = 4_000_000  # similarities in a block; ranking them needs about 40 bytes each, so 160 MB
DECIMALS = 12  # float64 keeps 15; see `cosine`


def unit_rows(features: np.ndarray, name: str) -> np.ndarray:
    """`features` [N, D] as float64 rows of length 1; a row of zeros stays zero, similar to nothing.

    ValueError if it is not two-dimensional, is empty or holds NaN or infinities.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers of shape [N, D], got {array.dtype} of shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: expected at least one row and column, got shape {array.shape}")
    rows = array.astype(np.float64)
    largest = np.maximum(rows.max(axis=1, keepdims=True), -rows.min(axis=1, keepdims=True))  # no copy
    broken = np.flatnonzero(~np.isfinite(largest[:, 0]))
    if len(broken):
        raise ValueError(f"{name} must be finite, but row {broken[0]} is not")
    rows /= np.where(largest > 0, largest, 1)  # so that squares neither over- nor underflow
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    return rows


def cosine(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Similarities [Q, G] of rows of length 1, rounded to 12 decimals.

    The last bits of a matrix product depend on how it is cut into blocks; rounded, equal gallery rows are
    ties whatever the block, and a ranking doesn't depend on it.
    """
    similarity = query @ gallery.T
    return np.round(similarity, DECIMALS, out=similarity)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` that, times `columns`, hold at most BLOCK_VALUES values (but at least one row)."""
    step = max(1, BLOCK_VALUES // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
