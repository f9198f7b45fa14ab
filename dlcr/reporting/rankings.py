"""What the retrieval browser shows: queries, and how every evaluation of their dataset ranked the gallery for them.

Evaluations keep the ranked images of their first training seed alone; of the others they keep each query's top-1 and
average precision, and those are shown.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import Generated, open_generated, open_images
from dlcr.params import Params
from dlcr.reporting.album import Album
from dlcr.reporting.results import Result, load_rankings
from dlcr.reporting.sheets import categories
from dlcr.runtime.seeds import seed_of

QUERIES = 240
"""The most queries that the browser holds."""
VOTES = ["query", "variant", "rank", "gallery", "subject", "similarity"]
RIGHT = "right"
"""The category of a query that both rankings get right; the others are those of `sheets.CATEGORIES`."""


@dataclass(frozen=True)
class Ranking:
    """One ranking of an evaluation, plain or refined (`kind`): the best gallery images of every query."""

    result: Result
    kind: str
    table: pd.DataFrame

    def seeds(self) -> list[int]:
        """Its training seeds."""
        return sorted(map(int, self._scores()["seed"].unique()))

    def outcomes(self) -> dict[str, list[list | None]]:
        """By query [hit (0 or 1), AP (0 to 1)] of each training seed, None where the seed has not the query."""
        rows, seeds = self._scores(), self.seeds()
        places = {seed: place for place, seed in enumerate(seeds)}
        found: dict[str, list] = {}
        for query, seed, hit, ap in zip(rows["image_id"], rows["seed"], rows["hit"], rows["ap"], strict=True):
            found.setdefault(query, [None] * len(seeds))[places[seed]] = [int(hit), _short(ap)]
        return found

    def _scores(self) -> pd.DataFrame:
        return self.result.outcomes(self.kind)


def gather_retrievals(
    root: Path, params: Params, results: Mapping[str, Result | None], manifest: pd.DataFrame, album: Album
) -> tuple[list[dict], list[dict], list[int]]:
    """The queries as drawn, the rankings, and the places of the two rankings that are compared at first.

    Of a query: its facts, for each ranking `hits` ([picture, similarity], best first) and `seeds` ([hit, AP]), its
    `variants`, and `votes` by ranking: of refined ones that use these variants. Of a ranking: name (the evaluation's),
    kind, row (of Table A1, "" if none), seeds. ([], [], []) where nothing was run.
    """
    rankings = load_all_rankings(params, results)
    if not rankings:
        return [], [], []
    rows = {(row.evaluation, row.kind): key for key, row in params.report.tables.get("a1", {}).items()}
    named = [rows.get((ranking.result.name, ranking.kind), "") for ranking in rankings]
    pair = [named.index(key) if key in named else other for key, other in (("1", 0), ("6", len(named) - 1))]
    compared = categories(*(rankings[place].table for place in pair))
    chosen = choose_queries(compared, seed_of("retrieval-browser", params.seed))
    shown = [
        {"name": ranking.result.name, "kind": ranking.kind, "row": row, "seeds": ranking.seeds()}
        for ranking, row in zip(rankings, named, strict=True)
    ]
    return _queries(root, params, rankings, chosen, manifest, album), shown, pair


def load_all_rankings(params: Params, results: Mapping[str, Result | None]) -> list[Ranking]:
    """The rankings of every evaluation of `report.dataset` that was run and may be shown (`Params.is_private`)."""
    found = []
    for place, result in results.items():
        other = params.evaluation(place).dataset != params.report.dataset
        if result is None or other or params.is_private("evaluations", place):
            continue
        table = load_rankings(result)
        refined = table["refined"].astype(bool)
        parts = {"plain": table[~refined], "refined": table[refined]}
        found += [Ranking(result, kind, part) for kind, part in parts.items() if len(part)]
    return found


def choose_queries(table: pd.DataFrame, seed: int) -> list[tuple[str, str]]:
    """(query, category) of at most `QUERIES` queries: a shuffled one of each category in turn.

    table: query and category, as from `sheets.categories`.
    """
    table = table.sort_values("query").sample(frac=1, random_state=np.random.default_rng(seed))
    table = table.assign(turn=table.groupby("category").cumcount()).sort_values("turn", kind="stable").head(QUERIES)
    return list(zip(table["query"], table["category"].replace("", RIGHT), strict=True))


def load_votes(result: Result) -> pd.DataFrame | None:
    """What each source's top m add to the subjects' scores (Algorithm 1), None where the evaluation has no refinement.

    To the columns of `VOTES` come `vote`, the similarity over the largest of its source (0 where that is not positive),
    and `counted`: whether the subject is in S, those among the query's own top m. Raises ValueError naming the file and
    the columns that it lacks.
    """
    source = result.folder / "votes.parquet"
    if not source.is_file():
        return None
    table = pd.read_parquet(source)
    lacking = [column for column in VOTES if column not in table.columns]
    if lacking:
        raise ValueError(f"{source}: no column {', '.join(lacking)}; it has {', '.join(table.columns)}")
    similarity = table["similarity"].astype(float)
    largest = similarity.groupby([table["query"], table["variant"]]).transform("max")
    own = table.loc[table["variant"] == -1, ["query", "subject"]].drop_duplicates()
    counted = table[["query", "subject"]].merge(own, how="left", indicator=True)["_merge"] == "both"
    return table.assign(vote=(similarity / largest).where(largest > 0, 0.0), counted=counted.to_numpy())


def _queries(
    root: Path,
    params: Params,
    rankings: Sequence[Ranking],
    chosen: Sequence[tuple[str, str]],
    manifest: pd.DataFrame,
    album: Album,
) -> list[dict]:
    wanted = {query for query, _ in chosen}
    facts = manifest.set_index("image_id")[["subject", "clothes", "camera"]].to_dict("index")
    images = open_images(root / "data" / params.report.dataset / "images")

    def picture(image_id: str) -> int:
        return album.add(("image", image_id), image_id, lambda: images[image_id], facts[image_id]["subject"])

    variants = _query_variants(root, params)
    ranked = [(_hits(ranking.table, wanted, picture), ranking.outcomes()) for ranking in rankings]
    votes = {str(place): _votes(cast, wanted, picture) for place, cast in _all_votes(params, rankings)}
    return [
        {
            "id": query,
            "kind": category,
            "picture": picture(query),
            **facts[query],
            "ranked": [{"hits": hits.get(query, []), "seeds": seeds.get(query, [])} for hits, seeds in ranked],
            "variants": _variants(query, variants, album),
            "votes": {place: cast[query] for place, cast in votes.items() if query in cast},
        }
        for query, category in chosen
    ]


def _refining(params: Params) -> str:
    """The set of variants that Table A1's row 6 refines with."""
    evaluation = params.report.evaluation("a1/6")
    return params.evaluation(evaluation).queries if evaluation else "none"


def _query_variants(root: Path, params: Params) -> Generated | None:
    """The variants that refinement used, as the quality gate leaves them; None where there are none."""
    folder = root / "generated" / _refining(params)
    made = folder.name != "none" and folder.is_dir()
    return open_generated(folder, params.quality.minimum()) if made else None


def _all_votes(params: Params, rankings: Sequence[Ranking]) -> list[tuple[int, pd.DataFrame]]:
    """By place the votes behind the refined rankings that use the variants which are shown."""
    found = [
        (place, load_votes(ranking.result))
        for place, ranking in enumerate(rankings)
        if ranking.kind == "refined" and params.evaluation(ranking.result.name).queries == _refining(params)
    ]
    return [(place, cast) for place, cast in found if cast is not None]


def _hits(table: pd.DataFrame, wanted: Container[str], picture: Callable[[str], int]) -> dict[str, list[list]]:
    """By query [picture, similarity] of the gallery images of a ranking, best first."""
    found: dict[str, list[list]] = {}
    for row in table.sort_values(["query", "rank"]).itertuples():
        if row.query in wanted:
            found.setdefault(row.query, []).append([picture(row.gallery), _short(row.similarity)])
    return found


def _variants(query: str, variants: Generated | None, album: Album) -> list[dict]:
    """The query's variants, each with its picture or why there is none."""
    count = variants.variants if variants is not None and (query, 0) in variants else 0
    return [
        {
            "picture": album.add_variant(variants, query, number),
            "prompt": variants.prompt(query, number),
            "skipped": variants.skipped(query, number),
        }
        for number in range(count)
    ]


def _votes(table: pd.DataFrame, wanted: Container[str], picture: Callable[[str], int]) -> dict[str, dict]:
    """By query how the votes fell.

    sources: by variant (-1: the query itself) its `hits`, [picture, similarity, vote, counted]. scores: what the
    persons of S reach, best first, as `hits`: [picture of it that the query ranks first, score, what of it comes from
    the query].
    """
    cast: dict[str, list] = {}
    for row in table.sort_values(["query", "variant", "rank"]).itertuples():
        if row.query in wanted:
            cast.setdefault(row.query, []).append(row)
    return {
        query: {"sources": _sources(rows, picture), "scores": _scores(rows, picture)} for query, rows in cast.items()
    }


def _sources(rows: Sequence, picture: Callable[[str], int]) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for row in rows:
        hit = [picture(row.gallery), _short(row.similarity), _short(row.vote), int(row.counted)]
        found.setdefault(str(row.variant), {"hits": []})["hits"].append(hit)
    return found


def _scores(rows: Sequence, picture: Callable[[str], int]) -> dict[str, list]:
    totals: dict[str, float] = {}
    from_query: dict[str, float] = {}
    faces: dict[str, str] = {}
    for row in rows:  # those of the query come first, by rank
        if row.counted:
            totals[row.subject] = totals.get(row.subject, 0.0) + row.vote
            if row.variant == -1:
                from_query[row.subject] = from_query.get(row.subject, 0.0) + row.vote
                faces.setdefault(row.subject, row.gallery)
    # Equal scores: the better original rank first, as in `refine`.
    order = sorted(faces, key=lambda name: -round(totals[name], 12))
    return {"hits": [[picture(faces[name]), _short(totals[name]), _short(from_query[name])] for name in order]}


def _short(value: float) -> float:
    return round(float(value), 3)
