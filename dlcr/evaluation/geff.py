"""GEFF: a gallery enriched by faces, then Re-ID and faces combined, around any model (Arkushin et al., WACV 2024).

    query, gallery = Side(features, labels, Faces(scores, embeddings)), Side(...)
    similarity = geff_similarity(query, gallery, "cc")
    scores = evaluate(similarity, query.labels, gallery.labels, "cc")

A query whose face resembles a gallery face joins that gallery image, or all images of that person: others may then be
recognised by the clothes that it shows (`enrich`). A gallery image is as near as itself or as the nearest of the
queries that joined it, d(q, g) = min(-cos(q, g), min over e of -cos(q, e)), and the final distance is

    alpha * d(q, g) + (1 - alpha) * (1 - cos of the faces).

Similarities here are (1 - alpha) minus that: alpha * cosine + (1 - alpha) * cosine of the faces. The order is the same,
and zero means "resembles nothing", which Algorithm 1 needs, as it divides by the largest (`refine_geff`). The cosine
with a face that isn't there is 0; for a query without one that is a constant, and leaves alpha times the Re-ID cosine.

GEFF is transductive: what a query is given depends on all the others. Whom a query shows is never used, but to remove
junk where `evaluate` does. Near twins of a query, the next frames of a video, do join the gallery.

Facts are those of the public code (bar371/GEFF, 2024; the paper's own text was not at hand). There a query joins a
single gallery image (`attach="image"`), in CCVID and 42Street the person (`attach="subject"`). Where we differ:

- There a query also meets its own copy, with distance -1, so that a recognised face alone decides. Never here.
- There all gallery images of the query's camera are put last wherever the query has a face. That clears away other
  people, whom the protocol keeps; here `evaluate` alone removes junk.
- There, where gallery images lack faces, images other than those in the same clothes are left out of enrichment (two
  numberings are mixed up).
- There inference is also given a similarity threshold (.5) and a choice to leave out the same clothes. For single
  images neither is used, and neither exists here.
- There PRCC's queries of both settings enrich the gallery together. Here those do that are given.
- There CCVID's tracklets are scored frame by frame. Not here: CCVID's model is one of clips, which has no features of
  frames, and the paper has GEFF on PRCC alone (Table 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dlcr.evaluation.labels import check_labels, check_setting
from dlcr.evaluation.metrics import prepare_both
from dlcr.evaluation.refinement import Refined, refine_similarity
from dlcr.evaluation.sides import Faces, Side
from dlcr.evaluation.similarity import Features, blocks, check_columns, cosines, prepare
from dlcr.params import Geff

BLOCK_VALUES = 16_000_000  # similarities in a block: 128 MB
BLOCK_ROWS = 256  # of a block at least: the gallery is normalised again for each


DEFAULT = Geff()


def enrich(query: Side, gallery: Side, setting: str = "cc", parameters: Geff = DEFAULT) -> np.ndarray:
    """The gallery image whose face is nearest to each query's: int64 [Q]; -1: the query does not join the gallery.

    Left out for a query are gallery images of its camera and, in setting "cc", those with its clothes, whoever they
    show; of equals the lowest index wins. `query.labels.subjects` is not used: nobody knows it yet. For the same reason
    "sc" leaves out cameras only, as other clothes mean other people where clothes are numbered by subject. There, too,
    leaving out the same clothes takes nothing but images of the query's own subject. So with attach="subject" it never
    makes a right choice out of a wrong one. With attach="image" it can help: it moves a query from an image that is
    junk to those who wear the same to one that counts for them.

    ValueError if a length doesn't fit, something is empty or the setting is unknown.
    """
    check_setting(setting)
    faces, others = _faces(query, gallery, parameters.enrichment_detection)
    best = np.empty(len(faces), dtype=np.int64)
    for rows in _slices(len(faces), len(others)):
        similarity = _cosines(faces.exact(rows), others)
        similarity[query.labels.cameras[rows, None] == gallery.labels.cameras] = -np.inf
        if setting == "cc":
            similarity[query.labels.clothes[rows, None] == gallery.labels.clothes] = -np.inf
        found = similarity.argmax(axis=1)
        near = similarity[np.arange(len(found)), found] >= parameters.enrichment_similarity
        best[rows] = np.where(near, found, -1)
    return best


def geff_blocks(
    query: Side, gallery: Side, setting: str = "cc", parameters: Geff = DEFAULT, variants: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """GEFF's similarities, one block of queries at a time: their rows, float64 [B, G], and their variants' [B, l, G].

    Features, and `variants` [Q, l, D], are those of the Re-ID model, of any scale; without variants l is 0.
    Inpainting leaves the face and takes nothing from the gallery: a variant has the face of its query and meets the
    enriched gallery of its query, whose own copy isn't met. Similarities lie between -1 and 1.

    Memory: a few blocks of 128 MB, or of 256 x G similarities where these are more.

    ValueError, at once, if a shape, length or value does not fit, something is empty or the setting is unknown.
    """
    queries, images = prepare_both(query, gallery)
    made = _check_variants(variants, queries.given.shape)
    faces = _faces(query, gallery, parameters.inference_detection)
    chosen = enrich(query, gallery, setting, parameters)
    key = gallery.labels.subjects if parameters.attach == "subject" else np.arange(len(images))
    copies = _copies(chosen, key)
    joined = queries.take(copies.queries)

    def similarities() -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        each = 1 + made.shape[1]
        for rows in _slices(len(queries), max(len(images), len(joined)), each):
            sources = np.concatenate([queries.given[rows, None], made[rows]], axis=1)
            units = prepare(sources.reshape(-1, sources.shape[2]), "variants").exact(slice(None))
            similarity = _cosines(units, images).reshape(-1, each, len(images))
            own = np.arange(len(queries))[rows, None] == copies.queries
            _add_copies(similarity, units, joined, copies, own)
            similarity *= parameters.alpha
            similarity += (1 - parameters.alpha) * _cosines(faces[0].exact(rows), faces[1])[:, None]
            yield rows, similarity[:, 0], similarity[:, 1:]

    return similarities()


def geff_similarity(query: Side, gallery: Side, setting: str = "cc", parameters: Geff = DEFAULT) -> np.ndarray:
    """The similarities of `geff_blocks` whole, float64 [Q, G]: what `evaluate` takes. Errors as there."""
    similarity = np.empty((len(query), len(gallery)))
    for rows, block, _ in geff_blocks(query, gallery, setting, parameters):
        similarity[rows] = block
    return similarity


def refine_geff(
    query: Side,
    variants: np.ndarray,
    gallery: Side,
    m: int = 5,
    setting: str = "cc",
    present: np.ndarray | None = None,
    parameters: Geff = DEFAULT,
) -> tuple[np.ndarray, Refined]:
    """Algorithm 1 on GEFF's similarities, whose query similarities [Q, G] come first: GEFF, stages 1 and 2.

    Both go to `evaluate_refined_similarity`. `present` bool [Q, l] marks the variants that exist, all without it; what
    the others hold must be finite, and counts for nothing. Similarities of variants are held a block at a time. Errors
    as in `geff_blocks` and `refine_similarity`.
    """
    if present is not None and np.shape(present) != np.shape(variants)[:2]:
        raise ValueError(f"present must be bool {np.shape(variants)[:2]}, got shape {np.shape(present)}")
    similarity = np.empty((len(query), len(gallery)))
    parts = []
    for rows, own, made in geff_blocks(query, gallery, setting, parameters, variants):
        similarity[rows] = own
        there = None if present is None else present[rows]
        parts.append(refine_similarity(own, made, query.labels.take(rows), gallery.labels, m, setting, there))
    columns = ("prediction", "subjects", "scores")
    return similarity, Refined(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


@dataclass(frozen=True, eq=False)
class _Copies:
    """Queries that joined the gallery, those of a group, which stand for the same gallery images, side by side.

    queries  int64 [E]: their rows
    starts   int64 [groups]: where each group starts
    images   int64 [n]: the gallery images that have a group, and `group` int64 [n]: which
    """

    queries: np.ndarray
    starts: np.ndarray
    images: np.ndarray
    group: np.ndarray


def _copies(chosen: np.ndarray, key: np.ndarray) -> _Copies:
    """Of what `enrich` chose; gallery images of equal `key` [G] belong together."""
    joined = np.flatnonzero(chosen >= 0)
    joined = joined[np.argsort(key[chosen[joined]], kind="stable")]
    groups, starts = np.unique(key[chosen[joined]], return_index=True)
    images = np.flatnonzero(np.isin(key, groups))
    return _Copies(joined, starts, images, np.searchsorted(groups, key[images]))


def _add_copies(similarity: np.ndarray, units: np.ndarray, joined: Features, copies: _Copies, own: np.ndarray) -> None:
    """Raise the similarities [B, 1 + l, G] of `units` to those with the copies, `joined` [E, D], of the same group.

    `own` bool [B, E] marks those that a query may not meet.
    """
    if len(joined) == 0:
        return
    enriched = _cosines(units, joined).reshape(*similarity.shape[:2], -1)
    i, j = np.nonzero(own)
    enriched[i, :, j] = -np.inf
    best = np.maximum.reduceat(enriched, copies.starts, axis=2)
    similarity[:, :, copies.images] = np.maximum(similarity[:, :, copies.images], best[:, :, copies.group])


def _slices(rows: int, columns: int, each: int = 1) -> Iterator[slice]:
    """Blocks of rows with `each` times `columns` similarities per row."""
    return blocks(rows, each * columns, max(BLOCK_VALUES, BLOCK_ROWS * columns))


def _cosines(units: np.ndarray, others: Features) -> np.ndarray:
    """Exact similarities float64 [n, N] of rows of length 1."""
    similarity = np.empty((len(units), len(others)))
    for part in blocks(*others.given.shape):
        similarity[:, part] = cosines(units, others, part)
    return similarity


def _faces(query: Side, gallery: Side, detection: float) -> tuple[Features, Features]:
    """Embeddings of both sides, checked; zeros where the detection score is too low."""
    made = []
    for side, name in ((query, "query"), (gallery, "gallery")):
        faces = side.faces
        if not isinstance(faces, Faces):
            raise ValueError(f"{name}.faces must be Faces(scores, embeddings), got {type(faces).__name__}")
        check_labels(side.labels, f"{name}_labels", len(faces))
        kept = np.where((faces.scores >= detection)[:, None], faces.embeddings, 0)
        made.append(prepare(kept, f"{name}.faces"))
    check_columns(*made)
    return made[0], made[1]


def _check_variants(variants: np.ndarray | None, query_shape: tuple[int, int]) -> np.ndarray:
    if variants is None:
        return np.zeros((query_shape[0], 0, query_shape[1]), dtype=np.float32)
    variants = np.asarray(variants)
    if variants.ndim != 3 or variants.shape[0] != query_shape[0] or variants.shape[2] != query_shape[1]:
        raise ValueError(f"variants must have shape [{query_shape[0]}, l, {query_shape[1]}], got {variants.shape}")
    if variants.dtype.kind not in "fiu" or not np.isfinite(variants).all():
        raise ValueError(f"variants must be finite numbers; a missing one may hold zeros, got {variants.dtype}")
    return variants
