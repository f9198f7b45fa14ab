"""Cosine similarities: found in float32, valued in float64.

The similarity of two rows is their cosine in float64, rounded to 12 decimals: rounded, equal gallery rows are ties
whatever matrix library, block or number of threads made it. Rankings need few of these values. A float32 product of
blocks of queries (`products`), half the price of float64, orders all pairs but those that lie closer than its own
error; only for these exact values are made (`cosines`, `pair_cosines`). So scores are those of float64, at the speed
of float32.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dlcr.runtime.determinism import core_count

BLOCK_VALUES = 4_000_000  # similarities in a block: 16 MB in float32, memory that is used again and again
BLOCK_ROWS = 512  # of a block at least: products of fewer rows are slow
SAMPLE = 48  # queries whose similarities are measured
PAIR_VALUES = 32_000  # of a side of the pairs that are valued at a time: a quarter of a megabyte
CHUNK_VALUES = 250_000  # values that a thread works on at a time: a megabyte, so that they stay in its cache
DECIMALS = 12  # float64 keeps 15


@dataclass(frozen=True, eq=False)
class Features:
    """Features [N, D] ready to be compared.

    given   as they came
    single  what products are made of, float32 [N, D]: as given, or rows of length 1 (zeros stay zero)
    scale   the lengths of `single`, float32 [N, 1]; 1 for zeros
    """

    given: np.ndarray
    single: np.ndarray
    scale: np.ndarray

    def __len__(self) -> int:
        return len(self.given)

    def take(self, rows: slice | np.ndarray) -> "Features":
        """Some rows, as features."""
        return Features(self.given[rows], self.single[rows], self.scale[rows])

    def exact(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows, of length 1 (zeros stay zero), in float64."""
        return _normalised(self.given[rows])


def prepare(features: np.ndarray, name: str) -> Features:
    """Check features [N, D] and measure their rows. ValueError if they are not finite numbers of that shape, or none.

    Nothing is copied where they are float32 and of usual lengths.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers of shape [N, D], got {array.dtype} of shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: expected at least one row and column, got shape {array.shape}")
    scale = np.ones((len(array), 1), dtype=np.float32)

    def measure(rows: slice) -> None:
        scale[rows] = _quick_lengths(array[rows])

    def unite(rows: slice) -> None:
        exact = _normalised(array[rows])
        broken = np.flatnonzero(np.isnan(exact.sum(axis=1)))
        if len(broken):
            raise ValueError(f"{name} must be finite, but row {rows.start + broken[0]} is not")
        single[rows] = exact

    if array.dtype == np.float32:
        array = np.ascontiguousarray(array)  # a copy of reversed or transposed ones only
        in_threads(measure, *array.shape)
        if ((scale > 1e-15) & (scale < 1e15)).all():
            return Features(array, array, scale)
        scale[:] = 1
    single = np.empty(array.shape, dtype=np.float32)
    in_threads(unite, *array.shape)
    return Features(array, single, scale)


def check_columns(query: Features, gallery: Features) -> None:
    """ValueError unless both have as many columns."""
    if query.given.shape[1] != gallery.given.shape[1]:
        raise ValueError(
            f"query and gallery must have equally many columns, got {query.given.shape[1]} and {gallery.given.shape[1]}"
        )


def products(query: Features, gallery: Features) -> Iterator[tuple[slice, np.ndarray, float]]:
    """`product` of blocks of queries with all of the gallery: their rows, the similarities [rows, G] and the window.

    The array may be overwritten; the next block overwrites it.
    """
    slices = list(blocks(len(query), len(gallery), max(BLOCK_VALUES, BLOCK_ROWS * len(gallery))))
    space = np.empty((slices[0].stop, len(gallery)), dtype=np.float32)
    for rows in slices:
        yield rows, *product(query.take(rows), gallery, space[: rows.stop - rows.start])


def product(query: Features, gallery: Features, out: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Similarities float32 [Q, G], cosines times `query.scale` (the length of a query doesn't change its order).

    And the window: two of a row that differ by more than it, times `query.scale`, are in the right order.

    PyTorch makes them: a tenth faster than NumPy, whose threads would busily wait for the next product and keep a core
    from what follows.
    """
    import torch

    out = np.empty((len(query), len(gallery)), dtype=np.float32) if out is None else out
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor written to
        rows, columns = torch.from_numpy(query.single), torch.from_numpy(gallery.single)
    similarity = torch.matmul(rows, columns.T, out=torch.from_numpy(out))
    similarity *= torch.from_numpy(1 / gallery.scale[:, 0])
    return out, _window(query, gallery, out)


def cosines(rows: np.ndarray, gallery: Features, columns: slice | np.ndarray) -> np.ndarray:
    """Exact similarities [n, m] of float64 rows of length 1 [n, D] and some rows of the gallery."""
    similarity = rows @ gallery.exact(columns).T
    return np.round(similarity, DECIMALS, out=similarity)


def pair_cosines(query: Features, gallery: Features, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Exact similarities [n] of pairs: rows i of the queries with rows j of the gallery."""
    values, squares = np.empty(len(i)), np.empty(len(i))
    slices = list(blocks(len(i), query.given.shape[1], PAIR_VALUES))
    a, b = np.empty((2, slices[0].stop, query.given.shape[1])) if slices else (None, None)
    for part in slices:  # in memory that stays; threads would only wait for each other
        n = part.stop - part.start
        a[:n], b[:n] = query.given[i[part]], gallery.given[j[part]]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            squares[part] = np.vecdot(a[:n], a[:n]) * np.vecdot(b[:n], b[:n])
            values[part] = np.vecdot(a[:n], b[:n]) / np.sqrt(squares[part])
    for at in np.flatnonzero(~((squares > 1e-100) & (squares < 1e100))):  # zeros, or near the ends of float64's range
        values[at] = np.vecdot(query.exact(i[at : at + 1]), gallery.exact(j[at : at + 1]))[0]
    return np.round(values, DECIMALS, out=values)


def _window(query: Features, gallery: Features, similarity: np.ndarray) -> float:
    """How close two cosines of a `product` may lie and be in the wrong order: twice the error of one.

    With u = 2^-24 and D columns it is at most about (D + 8) u, if all D roundings go the same way, as with features
    that repeat; as a rule most of them cancel, and 1 to 20 u are left. So it is measured, with the largest similarities
    of some queries and some others, and taken four times, and 4 u more.
    """
    k = np.arange(SAMPLE)
    i = k * (len(query) - 1) // (SAMPLE - 1)
    j = np.append(similarity[i].argmax(axis=1), k * 40_503 % len(gallery))
    i = np.append(i, i)
    error = np.abs(similarity[i, j] / query.scale[i, 0] - pair_cosines(query, gallery, i, j)).max()
    unit = 2.0**-24
    return float(2 * min((query.given.shape[1] + 8) * unit, 4 * error + 4 * unit))


def blocks(rows: int, columns: int, values: int | None = None) -> Iterator[slice]:
    """Slices of `rows` that, times `columns`, hold at most `values` (BLOCK_VALUES) values, but at least one row."""
    step = max(1, (values or BLOCK_VALUES) // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def in_threads(work: Callable[[slice], None], rows: int, columns: int) -> None:
    """`work` on slices of `rows`, few enough for a thread's cache; NumPy lets go of the interpreter while it computes.

    Each thread has its own part of the rows. Of several errors the one of the lowest rows is raised.
    """

    def run(part: slice) -> None:
        for chunk in blocks(part.stop - part.start, columns, CHUNK_VALUES):
            work(slice(part.start + chunk.start, part.start + chunk.stop))

    parts = list(blocks(rows, 1, -(-rows // core_count())))
    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        list(pool.map(run, parts))


def _quick_lengths(rows: np.ndarray) -> np.ndarray:
    """Lengths [n, 1] of float32 rows, right to about 2^-24: squares are summed by 64, the sums in float64."""
    whole = rows.shape[1] // 64 * 64
    parts, rest = rows[:, :whole].reshape(len(rows), -1, 64), rows[:, whole:]
    squares = np.einsum("npd,npd->np", parts, parts).sum(axis=1, dtype=np.float64)
    return np.sqrt(squares + np.einsum("nd,nd->n", rest, rest))[:, None]


def _normalised(rows: np.ndarray) -> np.ndarray:
    """Rows [n, D] of length 1 in float64: zeros stay zero, and a row with a value that isn't finite gets a NaN."""
    rows = rows.astype(np.float64)
    squares = np.einsum("nd,nd->n", rows, rows)[:, None]
    if ((squares > 1e-200) & (squares < 1e200)).all():
        rows *= 1 / np.sqrt(squares)
        return rows
    # rows of zeros, broken ones, and those whose squares come near the ends of float64's range
    largest = np.maximum(rows.max(axis=1, keepdims=True), -rows.min(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        rows /= np.where(largest > 0, largest, 1)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
    return rows
