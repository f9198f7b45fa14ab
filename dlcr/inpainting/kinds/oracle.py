"""Kind `oracle`, the truth, which only MiniCC knows: an image's scene, rendered in the outfit of a clothes ID."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dlcr.inpainting.kind import Kind
from dlcr.inpainting.painters import Chunk, Painter, one_by_one
from dlcr.minicc import benchmark_scenes, render

if TYPE_CHECKING:
    from dlcr.params import GeneratedSet, Params


def choose(params: Params, entry: GeneratedSet) -> tuple[Callable[[], Painter], dict]:
    """As `Kind.choose`. Raises ValueError for a dataset that is no domain of MiniCC."""
    if params.datasets[entry.dataset].reader != "minicc":
        raise ValueError(f"kind oracle needs a dataset that knows the truth (reader minicc), {entry.dataset} does not")
    return partial(build, entry.dataset, params.minicc.model_dump()), {}


def build(dataset: str, sizes: dict) -> Painter:
    """dataset: a domain of MiniCC; sizes: the section `minicc` of params.yaml.

    The painter raises ValueError for clothes IDs of other datasets.
    """
    scenes = benchmark_scenes(dataset, **sizes)
    by_image = {scene.image_id: scene for scene in scenes}
    outfits = {scene.clothes: scene.outfit for scene in scenes}

    def draw(image: np.ndarray, mask: np.ndarray, chunk: Chunk, place: int) -> np.ndarray:
        clothes = chunk.clothes[place]
        if clothes not in outfits:
            raise ValueError(f"{dataset}: no outfit of clothes ID {clothes!r}; an oracle set needs the dataset's own")
        return render(by_image[chunk.image_ids[place]], outfits[clothes]).image

    return one_by_one(draw)


KIND = Kind(choose)
