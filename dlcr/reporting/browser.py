"""What the page's two browsers show: retrievals query by query with the votes of refinement, and generated samples.

    browsers = gather(root, params, results)
    browsers = fit(browsers, room=8_000_000)      # as many of both as so many bytes hold

What is shown is drawn with a seed, of a dataset of any size; every picture is a small copy and is kept once.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps
from PIL import Image

from dlcr.data import Generated, load_manifest, open_generated, open_images, open_masks
from dlcr.params import Params
from dlcr.reporting.figures import overlay
from dlcr.reporting.results import Result, load_rankings
from dlcr.reporting.sheets import categories, private_item
from dlcr.runtime.seeds import seed_of

QUERIES, SAMPLES = 240, 60
"""The most queries and training images that the browsers hold."""
HEIGHT, QUALITY = 128, 88
"""Of the pictures: the most pixels in height, and WebP's quality. Lossless, MiniCC's alone would fill the page."""
MEASURES = ("change", "seam", "spread", "smoothness", "alignment")
VOTES = ["query", "variant", "rank", "gallery", "subject", "similarity", "vote", "counted"]
RIGHT = "right"
"""The category of a query that both rankings get right; the others are those of `sheets.CATEGORIES`."""


@dataclass(frozen=True)
class Browsers:
    """Plain data for JSON; where an item says `picture` it means a place in `pictures`, or None for a gap.

    pictures: (name, data URI); both are "" where no item shows it. retrievals and samples: the most telling first,
    as `gather` drew them; `fit` keeps the first ones.
    """

    pictures: list[tuple[str, str]] = field(default_factory=list)
    retrievals: list[dict] = field(default_factory=list)
    samples: list[dict] = field(default_factory=list)


class Album:
    """Pictures by key, each made and kept once; `add` gives its place."""

    def __init__(self) -> None:
        self.pictures: list[tuple[str, str]] = []
        self._places: dict[tuple, int] = {}

    def add(self, key: tuple, name: str, image: Callable[[], np.ndarray]) -> int:
        """The place of a picture; `image` gives it, uint8 [H, W, 3], if it is new."""
        if key not in self._places:
            self._places[key] = len(self.pictures)
            self.pictures.append((name, thumbnail(image())))
        return self._places[key]


def thumbnail(image: np.ndarray) -> str:
    """A picture, uint8 [H, W, 3], as the data URI of a copy at most `HEIGHT` high."""
    picture = Image.fromarray(image)
    if picture.height > HEIGHT:
        width = max(1, round(picture.width * HEIGHT / picture.height))
        picture = picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def gather(root: Path, params: Params, results: Mapping[str, Result | None]) -> Browsers:
    """The browsers' data: Table A1's row 1 against row 6, and the set `report.samples`.

    Empty where nothing was run, and where pictures may not be passed on (`sheets.private_item`). Raises ValueError
    naming a file that is damaged or lacks a column.
    """
    dataset = params.report.dataset
    if private_item(params) or not (root / "data" / dataset).is_dir():
        return Browsers()
    album = Album()
    manifest = load_manifest(root / "data" / dataset)
    retrievals = _retrievals(root, params, results, manifest, album)
    samples = _samples(root, params, manifest, album)
    return Browsers(album.pictures, retrievals, samples)


def fit(browsers: Browsers, room: int) -> Browsers:
    """The first retrievals and samples, in turn, whose JSON with pictures fits into `room` bytes; each by image ID."""
    kept: dict[str, list[dict]] = {"retrievals": [], "samples": []}
    shown: set[int] = set()
    left = room - _size(Browsers([("", "")] * len(browsers.pictures)))
    for kind, item in _in_turn(browsers):
        new = set(_places(item)) - shown
        left -= _size(item) + sum(_size(browsers.pictures[place]) for place in new)
        if left < 0:
            break
        shown |= new
        kept[kind].append(item)
    pictures = [picture if place in shown else ("", "") for place, picture in enumerate(browsers.pictures)]
    return Browsers(pictures, *(sorted(kept[kind], key=lambda item: item["id"]) for kind in kept))


def script_data(browsers: Browsers) -> str:
    """The browsers as JSON that is safe within a script element."""
    return htmlsafe_json_dumps(asdict(browsers))


def _size(value: object) -> int:
    """Bytes of a part of the page's JSON, with what stands between it and the next."""
    return len(htmlsafe_json_dumps(asdict(value) if isinstance(value, Browsers) else value)) + 2


def _in_turn(browsers: Browsers) -> Iterable[tuple[str, dict]]:
    pairs = zip_longest(browsers.retrievals, browsers.samples)
    both = chain.from_iterable((("retrievals", one), ("samples", other)) for one, other in pairs)
    return ((kind, item) for kind, item in both if item is not None)


def _places(value: object) -> Iterable[int]:
    """The pictures that an item shows."""
    if isinstance(value, dict):
        place = value.get("picture")
        yield from () if place is None else (place,)
        value = list(value.values())
    if isinstance(value, list):
        yield from chain.from_iterable(_places(item) for item in value)


def choose_queries(table: pd.DataFrame, seed: int) -> list[tuple[str, str]]:
    """(query, category) of at most `QUERIES` queries: a shuffled one of each category in turn.

    table: query and category, as from `sheets.categories`.
    """
    table = table.sort_values("query").sample(frac=1, random_state=np.random.default_rng(seed))
    table = table.assign(turn=table.groupby("category").cumcount()).sort_values("turn", kind="stable").head(QUERIES)
    return list(zip(table["query"], table["category"].replace("", RIGHT), strict=True))


def choose_samples(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most `SAMPLES` rows of a manifest: a shuffled image of each subject in turn."""
    images = images.sort_values("image_id").sample(frac=1, random_state=np.random.default_rng(seed))
    turn = images.groupby("subject").cumcount()
    return images.assign(turn=turn).sort_values("turn", kind="stable").head(SAMPLES).drop(columns="turn")


def load_votes(result: Result) -> pd.DataFrame | None:
    """What each variant's top m add to the subjects' scores, None where the evaluation has no refinement.

    Raises ValueError naming the file and the columns that it lacks.
    """
    source = result.folder / "votes.parquet"
    if not source.is_file():
        return None
    table = pd.read_parquet(source)
    lacking = [column for column in VOTES if column not in table.columns]
    if lacking:
        raise ValueError(f"{source}: no column {', '.join(lacking)}; it has {', '.join(table.columns)}")
    return table


def _retrievals(
    root: Path, params: Params, results: Mapping[str, Result | None], manifest: pd.DataFrame, album: Album
) -> list[dict]:
    before, after = (results.get(params.report.evaluation(f"a1/{row}")) for row in ("1", "6"))
    if before is None or after is None:
        return []
    first, second = (load_rankings(result) for result in (before, after))
    first, second = first[~first["refined"].astype(bool)], second[second["refined"].astype(bool)]
    chosen = choose_queries(categories(first, second), seed_of("retrieval-browser", params.seed))
    wanted = [query for query, _ in chosen]
    found = [_by_query(table, wanted) for table in (first, second)]
    votes = load_votes(after)
    votes = None if votes is None else _by_query(votes, wanted)
    variants = _query_variants(root, params)
    facts = manifest.set_index("image_id")[["subject", "clothes", "camera"]].to_dict("index")
    images = open_images(root / "data" / params.report.dataset / "images")

    def picture(image_id: str) -> int:
        return album.add(("image", image_id), image_id, lambda: images[image_id])

    items = []
    for query, category in chosen:
        subject = facts[query]["subject"]
        cast = None if votes is None else votes.get(query)
        items.append(
            {
                "id": query,
                "kind": category,
                "picture": picture(query),
                **facts[query],
                "before": _hits(found[0][query], facts, picture),
                "after": _hits(found[1][query], facts, picture),
                "sources": _sources(query, cast, variants, picture, album),
                "scores": [] if cast is None else _scores(cast, subject, picture),
            }
        )
    return items


def _by_query(table: pd.DataFrame, wanted: Sequence[str]) -> dict[str, pd.DataFrame]:
    table = table[table["query"].isin(set(wanted))].sort_values(["query", "rank"], kind="stable")
    return dict(iter(table.groupby("query", sort=False)))


def _query_variants(root: Path, params: Params) -> Generated | None:
    """The variants that refinement used, as the quality gate leaves them; None where there are none."""
    evaluation = params.evaluation(params.report.evaluation("a1/6"))
    folder = root / "generated" / evaluation.queries
    made = evaluation.queries != "none" and folder.is_dir()
    return open_generated(folder, params.quality.minimum()) if made else None


def _hits(ranking: pd.DataFrame, facts: dict, picture: Callable[[str], int]) -> list[dict]:
    """The gallery images of one query's ranking, best first."""
    return [
        {
            "picture": picture(row["gallery"]),
            "subject": facts[row["gallery"]]["subject"],
            "similarity": _short(row["similarity"]),
            "right": bool(row["correct"]),
        }
        for row in ranking.to_dict("records")
    ]


def _sources(
    query: str, votes: pd.DataFrame | None, variants: Generated | None, picture: Callable[[str], int], album: Album
) -> list[dict]:
    """The query (variant -1) and its variants, each with its picture or why there is none, and with its votes."""
    cast = {} if votes is None else {int(key): part for key, part in votes.groupby("variant")}
    count = variants.variants if variants is not None and (query, 0) in variants else 0
    found = []
    for number in range(-1, count):
        item = {"variant": number, "picture": picture(query), "prompt": "", "skipped": ""}
        if number >= 0:
            item["prompt"], item["skipped"] = variants.prompt(query, number), variants.skipped(query, number)
            item["picture"] = _variant(album, variants, query, number)
        item["votes"] = [
            {
                "picture": picture(row["gallery"]),
                "subject": row["subject"],
                "similarity": _short(row["similarity"]),
                "vote": _short(row["vote"]),
                "counted": bool(row["counted"]),
            }
            for row in (cast[number].to_dict("records") if number in cast else ())
        ]
        found.append(item)
    return found


def _variant(album: Album, variants: Generated, image_id: str, number: int) -> int | None:
    if variants.skipped(image_id, number):
        return None
    key = (variants.folder.name, image_id, number)
    return album.add(key, f"{image_id}, variant {number + 1}", lambda: variants[image_id, number])


def _scores(votes: pd.DataFrame, subject: str, picture: Callable[[str], int]) -> list[dict]:
    """What the subjects of S reach, best first, each with the image of it that the query ranks first, and the share of
    its score that comes from the query itself."""
    counted = votes[votes["counted"].astype(bool)]
    totals = counted.groupby("subject", sort=False)["vote"].sum()
    own = counted[counted["variant"] == -1]
    from_query = own.groupby("subject", sort=False)["vote"].sum()
    faces = own.drop_duplicates("subject").set_index("subject")["gallery"]
    # Equal scores: the better original rank first, as in `refine`.
    ranked = sorted(faces.index, key=lambda name: -round(totals[name], 12))
    return [
        {
            "subject": name,
            "picture": picture(faces[name]),
            "score": _short(totals[name]),
            "query": _short(from_query[name]),
            "right": name == subject,
        }
        for name in ranked
    ]


def _samples(root: Path, params: Params, manifest: pd.DataFrame, album: Album) -> list[dict]:
    dataset = params.report.dataset
    folder = root / "generated" / params.report.samples
    if not folder.is_dir():
        return []
    variants = open_generated(folder, params.quality.minimum())
    images = open_images(root / "data" / dataset / "images")
    masks = open_masks(root / "masks" / dataset) if (root / "masks" / dataset).is_dir() else None
    train = manifest[(manifest["split"] == "train") & manifest["image_id"].isin(set(variants.image_ids))]
    chosen = choose_samples(train, seed_of("sample-browser", params.seed))
    table = variants.table(["image_id", "variant", "prompt", "target_clothes", "skipped", *MEASURES])
    made = dict(iter(table[table["image_id"].isin(set(chosen["image_id"]))].groupby("image_id")))

    items = []
    for row in chosen[["image_id", "subject", "clothes", "camera"]].to_dict("records"):
        image_id = row.pop("image_id")
        original = images[image_id]
        shown = [
            _made(image_id, values, variants, album)
            for values in made[image_id].sort_values("variant").to_dict("records")
        ]
        kind = "gaps" if any(variant["skipped"] for variant in shown) else "complete"
        place = album.add(("image", image_id), image_id, lambda original=original: original)
        item = {"id": image_id, "kind": kind, "picture": place, **row}
        items.append(item | {"mask": _mask(image_id, original, masks, album), "variants": shown})
    return items


def _made(image_id: str, values: dict, variants: Generated, album: Album) -> dict:
    """A variant of a training image with its prompt, its measures, or why it is not there."""
    return {
        "picture": _variant(album, variants, image_id, int(values["variant"])),
        "prompt": values["prompt"],
        "clothes": values["target_clothes"],
        "skipped": values["skipped"],
        "measures": {name: _short(values[name]) for name in MEASURES if pd.notna(values[name])},
    }


def _mask(image_id: str, original: np.ndarray, masks, album: Album) -> dict:
    """The mask over its image, and the parser's word on it."""
    if masks is None or image_id not in masks:
        return {"picture": None, "status": "not run"}
    place = album.add(("mask", image_id), f"{image_id}, mask", lambda: overlay(original, masks[image_id]))
    return {"picture": place, "status": masks.status(image_id), "area": _short(masks.area(image_id))}


def _short(value: float) -> float:
    return round(float(value), 3)
