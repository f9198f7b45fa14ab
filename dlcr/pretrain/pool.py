"""Rendered pretraining scenes, kept under .dlcr/pretrain so that models which learn from them share them.

    images, labels, words = pool(8000)

The cache is named by the source code of `dlcr.minicc`: another look of the benchmark makes another pool. It
can be deleted at any time.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcr.minicc import outfit_words, pretrain_scene, render
from dlcr.runtime.code import code_of
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress
from dlcr.runtime.store import state_root

_CHUNK = 500  # scenes in one cache file


class Pool(NamedTuple):
    """Scenes 0 .. N-1 of the pretraining stream."""

    images: np.ndarray  # uint8 [N, 96, 48, 3], RGB
    labels: np.ndarray  # uint8 [N, 96, 48], positions in dlcr.minicc.LABELS
    words: list[str]  # N outfit texts like "Gray striped shirt| Blue jeans| Black shoes"


def pool(count: int, workers: int = 2) -> Pool:
    """The first `count` pretraining scenes, rendered with `workers` processes where the cache lacks them.

    A larger pool starts with the smaller one's scenes, so `pool(n + m)` past row n is held out from
    `pool(n)`. Raises ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError(f"a pool needs at least 1 scene, got {count}")
    folder = state_root() / "pretrain" / f"minicc-{code_of(pretrain_scene, render)}"
    paths = [folder / f"scenes-{first:06d}.npz" for first in range(0, count, _CHUNK)]
    missing = [(index * _CHUNK, path) for index, path in enumerate(paths) if not path.is_file()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            progress(len(missing) * _CHUNK, "rendering pretraining scenes") as bar,
            ProcessPoolExecutor(workers) as executor,
        ):
            for written in executor.map(_render_chunk, *zip(*missing, strict=True)):
                bar.update(written)
    chunks = [np.load(path) for path in paths]
    images, labels, words = (
        np.concatenate([chunk[key] for chunk in chunks])[:count] for key in ("images", "labels", "words")
    )
    return Pool(images, labels, words.tolist())


def _render_chunk(first: int, path: Path) -> int:
    """Renders scenes first .. first + _CHUNK - 1 into a file; returns how many."""
    scenes = [pretrain_scene(index) for index in range(first, first + _CHUNK)]
    rendered = [render(scene) for scene in scenes]
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file,
            images=np.stack([item.image for item in rendered]),
            labels=np.stack([item.labels for item in rendered]),
            words=np.array([outfit_words(scene.outfit) for scene in scenes]),
        )
    return len(scenes)
