"""The best face of every image: a detection score and an embedding (bar371/GEFF).

    finder = load_faces("models/mini/faces")             # or "insightface:buffalo_l", GEFF's own choice
    scores, embeddings = find_faces(finder, images, batch=64)

Of several faces in an image the one with the highest detection score counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dlcr.data import decode_readable
from dlcr.faces import insight
from dlcr.runtime.memory import Batch
from dlcr.runtime.networks import model_fingerprint

INSIGHTFACE = "insightface:"


@dataclass(frozen=True)
class FaceFinder:
    """A loaded model.

    width: E, the length of an embedding. work: one batch of uint8 RGB images [H, W, 3] of any sizes to each one's
    score in [0, 1] and embedding [E] of length 1, or 0 and zeros without a face.
    """

    width: int
    work: Callable[[Sequence[np.ndarray]], list[tuple[float, np.ndarray]]]


def load_faces(source: str) -> FaceFinder:
    """Loads a mini face model from a folder or `repo@revision`, or `insightface:<pack>`.

    Raises FileNotFoundError or OSError if the model isn't there, ValueError if it is of another kind or the package
    insightface is needed and missing.
    """
    if source.startswith(INSIGHTFACE):
        return FaceFinder(*insight.load(source.removeprefix(INSIGHTFACE)))
    from dlcr.faces import mini  # with transformers: seconds

    return FaceFinder(*mini.load(source))


def source_fingerprint(source: str) -> str:
    """The hash of the files that a source computes with; a hub's `repo@revision` stands for itself."""
    if source.startswith(INSIGHTFACE):
        return model_fingerprint(str(insight.pack_folder(source.removeprefix(INSIGHTFACE))))
    return model_fingerprint(source)


def find_faces(finder: FaceFinder, images: Sequence[np.ndarray], batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 [N] and embeddings float32 [N, E] of length 1 of the best faces in N images uint8 RGB [H, W, 3].

    Score 0 and a row of zeros: no face found. `batch` images are worked on at once, fewer where a GPU's memory is too
    small. Raises ValueError for anything but RGB, an image without pixels, and results that are no faces.
    """
    for index, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"image {index}: expected uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
    found = Batch(batch).run(finder.work, images)
    scores = np.array([score for score, _ in found], np.float32)
    embeddings = np.array([row for _, row in found], np.float32).reshape(len(found), finder.width)
    check_faces(scores, embeddings, "image")
    return scores, embeddings


def face_maker(source: str, batch: int) -> Callable[[Sequence[tuple[str, bytes]]], tuple[np.ndarray, np.ndarray, int]]:
    """What finds the faces of images (image_id, encoded): scores float32 [N] and embeddings float32 [N, E], and how
    many of the images can't be decoded; these have no face."""
    finder = load_faces(source)

    def make(rows: Sequence[tuple[str, bytes]]) -> tuple[np.ndarray, np.ndarray, int]:
        images = decode_readable(rows)
        scores, embeddings = np.zeros(len(rows), np.float32), np.zeros((len(rows), finder.width), np.float32)
        places = np.array(list(images), np.intp)
        scores[places], embeddings[places] = find_faces(finder, list(images.values()), batch)
        return scores, embeddings, len(rows) - len(images)

    return make


def check_faces(scores: np.ndarray, embeddings: np.ndarray, name: str) -> None:
    """ValueError, naming the row as `name` and its number, unless every row is a face or none.

    A face: a score in (0, 1] and an embedding of length 1. None: 0 and zeros.
    """
    lengths = np.linalg.norm(embeddings, axis=1)
    good = np.where(scores > 0, (scores <= 1) & (abs(lengths - 1) < 1e-3), (scores == 0) & (lengths == 0))
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"{name} {row}: expected a score in (0, 1] with an embedding of length 1, or 0 and zeros, "
            f"found {scores[row]:g} with one of length {lengths[row]:g}"
        )
