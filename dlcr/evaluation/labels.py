"""Labels of queries and gallery, and which gallery images a query must not be compared with (Sec. 4 and
the protocol of each dataset).

The only place that knows what the settings "cc", "sc" and "general" mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SETTINGS = ("cc", "sc", "general")


@dataclass(frozen=True, eq=False)
class Labels:
    """Who, in which clothes, seen by which camera: three integer sequences [N], kept as int64 arrays.

    Only equality matters, so any integers do; query and gallery must share one numbering
    (`protocols.joint_labels`). ValueError if one is not one-dimensional, holds no integers, or the lengths
    differ.
    """

    subjects: np.ndarray
    clothes: np.ndarray
    cameras: np.ndarray

    def __post_init__(self) -> None:
        for name in ("subjects", "clothes", "cameras"):
            object.__setattr__(self, name, _integers(getattr(self, name), name))
        lengths = (len(self.subjects), len(self.clothes), len(self.cameras))
        if len(set(lengths)) != 1:
            raise ValueError(f"Labels: subjects, clothes and cameras must have equal lengths, got {lengths}")

    def __len__(self) -> int:
        return len(self.subjects)

    def take(self, rows: slice | Sequence[int] | np.ndarray) -> "Labels":
        """The labels of some rows: a slice, or an integer or boolean index."""
        return Labels(self.subjects[rows], self.clothes[rows], self.cameras[rows])


def own_images(
    query: Labels, gallery: Labels, setting: str, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gallery images of each query's own subject: arrays i (query row, ascending), j (gallery index), junk (bool).

    Junk is removed for the query; images of other subjects always stay:
        "cc"       what shares its camera or its clothes (what remains shows other clothes)
        "sc"       what shares its camera or wears other clothes (what remains shows the same clothes)
        "general"  what shares its camera
    The others of its own subject are its correct answers. `order` is `by_subject(gallery)`.
    """
    check_setting(setting)
    i, j = images_of(query.subjects, gallery, order)
    junk = query.cameras[i] == gallery.cameras[j]
    if setting == "cc":
        junk |= query.clothes[i] == gallery.clothes[j]
    elif setting == "sc":
        junk |= query.clothes[i] != gallery.clothes[j]
    return i, j, junk


def by_subject(gallery: Labels) -> np.ndarray:
    """Gallery indices with those of a subject side by side, ascending: what `images_of` looks up."""
    return np.argsort(gallery.subjects, kind="stable")


def images_of(subjects: np.ndarray, gallery: Labels, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gallery images of each of `subjects` [n]: arrays i (row of `subjects`, ascending) and j (gallery index)."""
    first = np.searchsorted(gallery.subjects, subjects, side="left", sorter=order)
    counts = np.searchsorted(gallery.subjects, subjects, side="right", sorter=order) - first
    starts = np.cumsum(counts) - counts
    i = np.repeat(np.arange(len(subjects)), counts)
    return i, order[np.arange(len(i)) + np.repeat(first - starts, counts)]


def check_setting(setting: str) -> None:
    """ValueError if `setting` is unknown."""
    if setting not in SETTINGS:
        raise ValueError(f"setting must be one of {', '.join(SETTINGS)}, got {setting!r}")


def check_labels(labels: Labels, name: str, rows: int) -> None:
    """ValueError unless `labels` are Labels of exactly `rows` images, at least one."""
    if not isinstance(labels, Labels):
        raise ValueError(f"{name} must be Labels(subjects, clothes, cameras), got {type(labels).__name__}")
    if len(labels) == 0:
        raise ValueError(f"{name} is empty: expected the labels of at least one image")
    if len(labels) != rows:
        raise ValueError(f"{name} holds the labels of {len(labels)} images, expected {rows}")


def _integers(values: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"Labels: {name} must be one-dimensional, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"Labels: {name} must be integers, got {array.dtype}")
    return array.astype(np.int64)
