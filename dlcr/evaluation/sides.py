"""What is compared has two sides, queries and gallery: of each the features, the labels and, for GEFF, the faces."""

from dataclasses import dataclass

import numpy as np

from dlcr.evaluation.labels import Labels


@dataclass(frozen=True, eq=False)
class Faces:
    """The face of each of N images: detection scores float64 [N], from 0 to 1, and embeddings float [N, E].

    Score 0 and a row of zeros: no face was found. Embeddings need not have length 1. ValueError if shapes don't fit, a
    number isn't finite, a score is out of range, or only one of the two says that there is a face.
    """

    scores: np.ndarray
    embeddings: np.ndarray

    def __post_init__(self) -> None:
        scores, embeddings = np.asarray(self.scores), np.asarray(self.embeddings)
        if scores.ndim != 1 or scores.dtype.kind not in "fiu":
            raise ValueError(f"Faces: scores must be numbers [N], got {scores.dtype} of shape {scores.shape}")
        if embeddings.ndim != 2 or embeddings.dtype.kind not in "fiu" or len(embeddings) != len(scores):
            raise ValueError(
                f"Faces: embeddings must be numbers [{len(scores)}, E], got {embeddings.dtype} of shape "
                f"{embeddings.shape}"
            )
        scores = scores.astype(np.float64)
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("Faces: scores must lie between 0 and 1")
        if not np.isfinite(embeddings).all():
            raise ValueError("Faces: embeddings must be finite")
        half = np.flatnonzero((scores > 0) != embeddings.any(axis=1))
        if len(half):
            raise ValueError(f"Faces: row {half[0]} must have a score and an embedding, or zeros in both")
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "embeddings", embeddings)

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: slice | np.ndarray) -> "Faces":
        """The faces of some rows: a slice, or an integer or boolean index."""
        return Faces(self.scores[rows], self.embeddings[rows])


@dataclass(frozen=True, eq=False)
class Side:
    """The queries or the gallery: features [N, D] of any scale, and the labels and, for GEFF, the face of each row.

    Whether lengths fit is checked by what takes both sides.
    """

    features: np.ndarray
    labels: Labels
    faces: Faces | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: slice | np.ndarray) -> "Side":
        """Some rows: a slice, or an integer or boolean index."""
        faces = None if self.faces is None else self.faces.take(rows)
        return Side(self.features[rows], self.labels.take(rows), faces)
