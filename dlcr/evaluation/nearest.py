"""The nearest gallery images of queries, in the order and with the values of exact similarities."""

import numpy as np

from dlcr.evaluation.similarity import Features, blocks, cosines, in_threads

WIDE_SHARE = 0.05  # of the gallery that may be valued for a single row; beyond it, rows are valued together


def nearest(
    similarity: np.ndarray, window: float, sources: Features, gallery: Features, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gallery indices int64 and exact similarities float64, [N, count] each, of the nearest images, nearest first.

    similarity  float32 [N, G], as `product` makes them, and its window; what is -inf is left out
    sources     [N, D], its rows

    Among equals the lower gallery index comes first. Where there are fewer images the similarity is -inf, and the index
    means nothing.
    """
    index = np.zeros((len(sources), count), dtype=np.int64)
    exact = np.full(index.shape, -np.inf)
    top, values = largest(similarity, count + 1)
    # All that are as near as the last one, so far as float32 can tell. -inf - x is -inf: then all images are.
    least = values[:, count - 1] - np.float32(window) * sources.scale[:, 0]
    wide = np.zeros(len(sources), dtype=bool)

    def keep(row: int, columns: np.ndarray, found: np.ndarray) -> None:
        found[similarity[row, columns] == -np.inf] = -np.inf
        first = np.argsort(-found, kind="stable")[:count]
        index[row, : len(first)], exact[row, : len(first)] = columns[first], found[first]

    for row in range(len(sources)):  # threads would only wait for each other
        columns = np.sort(top[row, :count])
        if values[row, count] >= least[row]:
            columns = np.flatnonzero(similarity[row] >= least[row])
            wide[row] = len(columns) > WIDE_SHARE * len(gallery)
        if not wide[row]:
            keep(row, columns, cosines(sources.exact(slice(row, row + 1)), gallery, columns)[0])
    every = np.arange(len(gallery))
    for part in blocks(wide.sum(), len(gallery)):
        rows = np.flatnonzero(wide)[part]
        for row, found in zip(rows, cosines(sources.exact(rows), gallery, slice(None)), strict=True):
            keep(row, every, found)
    return index, exact


def largest(similarity: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and values [N, count] of the largest of each row [N, G]; -inf where there are no more.

    `count` passes of argmax: fast, as a row stays in the cache. `similarity` changes meanwhile.
    """
    top = np.zeros((len(similarity), count), dtype=np.int64)
    values = np.full(top.shape, -np.inf, dtype=similarity.dtype)
    passes = min(count, similarity.shape[1])

    def search(part: slice) -> None:
        rows = similarity[part]
        every = np.arange(len(rows))
        for k in range(passes):
            top[part, k] = rows.argmax(axis=1)
            values[part, k] = rows[every, top[part, k]]
            rows[every, top[part, k]] = -np.inf
        for k in reversed(range(passes)):  # an index comes twice where all that is left is -inf: its own value last
            rows[every, top[part, k]] = values[part, k]

    in_threads(search, *similarity.shape)
    return top, values
