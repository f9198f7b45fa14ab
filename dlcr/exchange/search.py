"""The pictures of a gallery that show most likely the person of a query, of your own pictures.

found = search(model, find_pictures(Path("queries")), find_pictures(Path("gallery")), Settings(top=10), wardrobe)
write_search(found, Path("matches"), "runs/progressive/seed-0")    # dlcr.exchange.search_page

Nothing is known of the pictures but, with `people`, that those of one folder show one person: no picture is left out
for its camera or clothes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dlcr.data import decode_rgb
from dlcr.evaluation.features import extract_features
from dlcr.evaluation.labels import Labels, by_subject, images_of
from dlcr.evaluation.metrics import prepare_both
from dlcr.evaluation.nearest import nearest
from dlcr.evaluation.refinement import Refined, count_votes, find_voters
from dlcr.evaluation.sides import Side
from dlcr.evaluation.similarity import cosines, products
from dlcr.exchange.embedding import Embedded, embed, shown
from dlcr.exchange.pictures import Pictures
from dlcr.exchange.variants import Wardrobe, dress
from dlcr.reporting.album import thumbnail
from dlcr.runtime.progress import progress

if TYPE_CHECKING:
    from dlcr.reid import ReidModel

DRESSED = 32  # queries whose variants are made together
KEPT = 200  # queries, the first ones, whose variants are kept as pictures
NOTHING_REMOVED = "general"  # removes what shares subject and camera; a query's subject is nobody's here


@dataclass(frozen=True)
class Settings:
    """top: matches of each query. m: gallery pictures that vote (Algorithm 1). people: the pictures of one folder show
    one person; else each shows a person of its own. ValueError for numbers below 1."""

    top: int = 10
    m: int = 5
    people: bool = False

    def __post_init__(self) -> None:
        if self.top < 1 or self.m < 1:
            raise ValueError(f"--top and -m must be at least 1, got {self.top} and {self.m}")


@dataclass(frozen=True, eq=False)
class Matches:
    """The best gallery pictures of Q queries, best first.

    images        int64 [Q, top]: rows of the gallery
    similarities  float64 [Q, top]: their cosines
    votes         float64 [Q, top]: the refined score of their person, NaN where Algorithm 1 gives none
    before        int64 [Q, top]: their rank without refinement, from 1; 0: it is beyond `top`
    """

    images: np.ndarray
    similarities: np.ndarray
    votes: np.ndarray
    before: np.ndarray


@dataclass(frozen=True, eq=False)
class Search:
    """What was found: `asked` and `there` are what could be read of queries and gallery. variants: by query those of
    the first KEPT as data URIs, one for each outfit. unrefined: by query why it has none."""

    queries: Pictures
    gallery: Pictures
    asked: Embedded
    there: Embedded
    matches: Matches
    outfits: list[str] = field(default_factory=list)
    variants: dict[str, list[str]] = field(default_factory=dict)
    unrefined: dict[str, str] = field(default_factory=dict)


def search(
    model: ReidModel, queries: Pictures, gallery: Pictures, settings: Settings, wardrobe: Wardrobe | None
) -> Search:
    """The best matches of every query; with a wardrobe, refined by its variants (Algorithm 1), each of which wears an
    outfit. What cannot be read, or refined, is told on stderr and recorded.

    Raises ValueError where no query or no gallery picture can be read, and for features that are not finite.
    """
    asked, there = embed(model, queries, "queries"), embed(model, gallery, "gallery")
    asked.warn("queries")
    there.warn("gallery")
    people = _people(there.names) if settings.people else np.arange(len(there.names))
    sides = Side(asked.features, _labels(np.full(len(asked.names), -1))), Side(there.features, _labels(people))
    top = min(settings.top, len(there.names))
    if wardrobe is None:
        return Search(queries, gallery, asked, there, rank(*sides, top))
    features, variants, unrefined = _variants(model, queries, asked, wardrobe)
    for name, reason in unrefined.items():
        print(f"warning: queries: {shown(name)} is not refined: {reason}", file=sys.stderr)
    refined = count_votes(find_voters(sides[0], features, sides[1], settings.m, NOTHING_REMOVED), sides[1].labels)
    matches = rank(*sides, top, refined)
    return Search(queries, gallery, asked, there, matches, wardrobe.outfits, variants, unrefined)


def rank(query: Side, gallery: Side, top: int, refined: Refined | None = None) -> Matches:
    """The `top` best gallery pictures of each query, at most all of them. Among equals the lower row comes first.

    With `refined`, those of its subjects come first, by refined score and then by similarity, as in `evaluate_refined`;
    the others keep their order.
    """
    features, others = prepare_both(query, gallery)
    shape = (len(query), top)
    images, similarities = np.empty(shape, np.int64), np.empty(shape)
    for rows, block, window in products(features, others):
        images[rows], similarities[rows] = nearest(block, window, features.take(rows), others, top)
    votes, before = np.full(shape, np.nan), np.tile(np.arange(1, top + 1), (len(query), 1))
    if refined is None:
        return Matches(images, similarities, votes, before)
    order = by_subject(gallery.labels)
    for row, subjects in enumerate(refined.subjects):
        place, front = images_of(subjects, gallery.labels, order)
        values = cosines(features.exact(slice(row, row + 1)), others, front)[0]
        first = np.lexsort((front, -values, place))
        ranks = dict(zip(images[row].tolist(), range(1, top + 1), strict=True))
        behind = ~np.isin(images[row], front)
        scores = np.append(refined.scores[row, place[first]], np.full(behind.sum(), np.nan))
        similarities[row] = np.append(values[first], similarities[row, behind])[:top]
        images[row], votes[row] = np.append(front[first], images[row, behind])[:top], scores[:top]
        before[row] = [ranks.get(image, 0) for image in images[row].tolist()]
    return Matches(images, similarities, votes, before)


def table(found: Search) -> pd.DataFrame:
    """A row for each match: query, rank, match, similarity, votes, rank_before, problem. After them a row for each
    picture that could not be read, as query or as match, and for each query that could not be refined."""
    matches, (count, top) = found.matches, found.matches.images.shape
    rows = pd.DataFrame(
        {
            "query": np.repeat(np.array(found.asked.names, dtype=object), top),
            "rank": np.tile(np.arange(1, top + 1), count),
            "match": np.array(found.there.names, dtype=object)[matches.images.ravel()],
            "similarity": matches.similarities.ravel(),
            "votes": matches.votes.ravel(),
            "rank_before": pd.array(matches.before.ravel(), dtype="Int64"),
            "problem": "",
        }
    )
    rows.loc[rows["rank_before"] == 0, "rank_before"] = pd.NA
    problems = [("query", name, reason) for name, reason in (found.asked.unreadable | found.unrefined).items()]
    problems += [("match", name, reason) for name, reason in found.there.unreadable.items()]
    lines = pd.DataFrame([{side: shown(name), "problem": reason} for side, name, reason in problems])
    return pd.concat([rows, lines]).astype({"rank": "Int64"})


def _variants(
    model: ReidModel, queries: Pictures, asked: Embedded, wardrobe: Wardrobe
) -> tuple[np.ndarray, dict[str, list[str]], dict[str, str]]:
    """Features float32 [Q, outfits, D] of the queries' variants, NaN where there is none; as in `Search`, the first
    queries' variants, and why some have none."""
    names = asked.names
    found = np.full((len(names), len(wardrobe.outfits), asked.features.shape[1]), np.nan, np.float32)
    kept, unrefined = {}, {}
    with progress(len(names), "variants") as bar:
        for start in range(0, len(names), DRESSED):
            chunk = names[start : start + DRESSED]
            made, skipped = dress(wardrobe, {name: decode_rgb(queries.read(name), name) for name in chunk})
            for row, name in enumerate(chunk, start):
                if name in made:
                    found[row] = extract_features(model, made[name], model.size, desc=None)
                    kept |= {name: [thumbnail(variant) for variant in made[name]]} if row < KEPT else {}
            unrefined |= skipped
            bar.update(len(chunk))
    return found, kept, unrefined


def _people(names: list[str]) -> np.ndarray:
    """int64 [G]: the same number for pictures of the same folder."""
    return pd.factorize(np.array([str(PurePosixPath(name).parent) for name in names], dtype=object))[0]


def _labels(subjects: np.ndarray) -> Labels:
    """Labels of pictures of which no clothes and cameras are known."""
    unknown = np.zeros(len(subjects), np.int64)
    return Labels(subjects, unknown, unknown)
