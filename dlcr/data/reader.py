"""What a dataset's reader says of it: one module under dlcr/data/readers for each, with one `READER`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Compared:
    """Whose queries a setting takes, by split, and to which cameras, if not all, it restricts queries and gallery."""

    splits: tuple[str, ...]
    cameras: tuple[str, ...] = ()


PROTOCOL = {
    "cc": Compared(("query",)),
    "sc": Compared(("query_sc",)),
    "general": Compared(("query", "query_sc")),
}
"""By setting. Datasets without query_sc, LTCC and CCVID, have no "sc" setting."""


@dataclass(frozen=True)
class Reader:
    """A dataset in the layout in which it is published.

    `title`: its name in tables. `read`: from its folder to the manifest. `published`: numbers of images by split.
    `protocol`: what its settings compare. `camera_alone`: of the query's subject only images of its own camera are left
    out, whatever they wear: the cameras make the setting. `single_shot`: its results are given single-shot too.
    `redistributable`: False where its licence forbids to pass on images and what is made from them. `pixels`: of a
    usual image.
    """

    title: str
    read: Callable[[Path], pd.DataFrame]
    published: Mapping[str, int] = field(default_factory=dict)
    protocol: Mapping[str, Compared] = field(default_factory=lambda: PROTOCOL)
    camera_alone: bool = False
    single_shot: bool = False
    redistributable: bool = True
    pixels: int = 256 * 128
