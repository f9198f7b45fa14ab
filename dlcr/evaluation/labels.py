"""Labels of queries and gallery, and which gallery images a query must not be compared with (PAPER.md,
Protocols).

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


def junk_and_match(query: Labels, gallery: Labels, setting: str) -> tuple[np.ndarray, np.ndarray]:
    """Two bool arrays [Q, G]: the gallery images removed for a query, and its correct answers.

    Removed are images of the query's own subject; those of other subjects always stay:
        "cc"       that share its camera or its clothes (what remains shows other clothes)
        "sc"       that share its camera or wear other clothes (what remains shows the same clothes)
        "general"  that share its camera
    Correct are the images of the query's subject that are not removed.
    """
    check_setting(setting)
    same_subject = query.subjects[:, None] == gallery.subjects
    junk = query.cameras[:, None] == gallery.cameras
    if setting == "cc":
        junk |= query.clothes[:, None] == gallery.clothes
    elif setting == "sc":
        junk |= query.clothes[:, None] != gallery.clothes
    junk &= same_subject
    return junk, same_subject & ~junk


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
