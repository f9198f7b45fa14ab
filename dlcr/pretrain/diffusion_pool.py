"""Training examples of the inpainting model: a scene in two outfits gives the picture that perfect inpainting would.

An example is a picture, a mask in it and the words of the outfit that fills the mask. Inside the mask stands the scene
in the wanted outfit, outside it the scene as it was worn: just what the pipeline asks for when it puts another clothes
ID's outfit on an image, where the mask is the old clothes' silhouette and the new ones must fit into it.

    for chunk in example_chunks(range(24_000), workers=2): ...
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dlcr.minicc import LABELS, outfit_words, pretrain_scene, render, sample_outfit
from dlcr.runtime.seeds import seed_of

CLOTHES = tuple(LABELS.index(name) for name in ("upper", "lower", "footwear"))
CELL = 4
"""Pixels on each side of a latent cell; a trained parser predicts at the same resolution."""


@dataclass(frozen=True)
class Examples:
    """Pictures to be made, uint8 [N, H, W, 3]; masks, bool [N, H, W] (True = to be painted); words of the fillings."""

    targets: np.ndarray
    masks: np.ndarray
    words: list[str]


def roughen(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask as a trained parser would see it: blurred to cells of CELL pixels, cut at another level, a pixel off.

    mask: bool [H, W] with sides divisible by CELL; the result has the same shape.
    """
    height, width = mask.shape
    cells = mask.reshape(height // CELL, CELL, width // CELL, CELL).mean((1, 3))
    smooth = ndimage.zoom(cells, CELL, order=1, mode="nearest", grid_mode=True)
    shifted = ndimage.shift(smooth, rng.uniform(-1, 1, 2), order=1, mode="nearest")
    return shifted > rng.uniform(0.3, 0.65)


def scene_examples(index: int) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Two or three (target, mask, words) of pretraining scene `index`: each outfit in the other's silhouette;
    of every second scene also the same outfit again or, for image-to-image, the whole frame."""
    scene = pretrain_scene(index)
    rng = np.random.default_rng(seed_of("inpainter", "example", index))
    outfits = scene.outfit, sample_outfit(rng, "pretrain")
    rendered = [render(scene, outfit) for outfit in outfits]
    words = [outfit_words(outfit) for outfit in outfits]

    def example(worn: int, wanted: int, whole: bool = False) -> tuple[np.ndarray, np.ndarray, str]:
        mask = np.isin(rendered[worn].labels, CLOTHES)
        if rng.uniform() < 0.5:
            mask = roughen(mask, rng)
        mask = mask | whole
        return np.where(mask[..., None], rendered[wanted].image, rendered[worn].image), mask, words[wanted]

    examples = [example(0, 1), example(1, 0)]
    if index % 2 == 0:
        examples.append(example(0, 0, whole=index % 4 == 0))
    return examples


def _examples(indices: tuple[int, ...]) -> Examples:
    parts = [example for index in indices for example in scene_examples(index)]
    targets, masks, words = zip(*parts, strict=True)
    return Examples(np.stack(targets), np.stack(masks), list(words))


def all_examples(scenes: range, workers: int) -> Examples:
    """The examples of these pretraining scenes in one piece."""
    chunks = list(example_chunks(scenes, workers))
    return Examples(
        np.concatenate([chunk.targets for chunk in chunks]),
        np.concatenate([chunk.masks for chunk in chunks]),
        [text for chunk in chunks for text in chunk.words],
    )


def example_chunks(scenes: range, workers: int, size: int = 256) -> Iterator[Examples]:
    """Examples of these pretraining scenes, in order, `size` scenes at a time, rendered by `workers` processes."""
    chunks = [tuple(scenes[start : start + size]) for start in range(0, len(scenes), size)]
    with ProcessPoolExecutor(workers) as executor:
        yield from executor.map(_examples, chunks)
