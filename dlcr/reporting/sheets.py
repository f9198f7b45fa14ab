"""Chooses what the figures with images show, by rules that the report states; nothing is picked by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import Generated, load_manifest, open_generated, open_images, open_masks
from dlcr.params import Params
from dlcr.reporting.results import Result, load_rankings

SAMPLES, VARIANTS = 5, 6
SAMPLE_RULE = (
    f"The first training image (by image ID) of each of the first {SAMPLES} subjects, with its first "
    f"{VARIANTS} variants."
)
WAY_SAMPLES, OUTFITS = 4, 2
WAY_RULE = (
    f"The first training image (by image ID) of each of the first {WAY_SAMPLES} subjects, in at most the first "
    f"{OUTFITS} outfits of its inpainted variants."
)
PER_CATEGORY, TOP = 3, 3
RETRIEVAL_RULE = (
    f"Of each category the first {PER_CATEGORY} queries by image ID, at most one a subject; first seed, junk "
    "gallery images removed as in the metric."
)
CATEGORIES = {
    "fixed": "baseline wrong, DLCR right",
    "broken": "baseline right, DLCR wrong",
    "failed": "both wrong",
}


@dataclass(frozen=True)
class Sample:
    """A training image: uint8 [H, W, 3] images, the mask bool [H, W], the variants (None if skipped) with their
    prompts."""

    image_id: str
    original: np.ndarray
    mask: np.ndarray
    variants: list[np.ndarray | None]
    prompts: list[str]


@dataclass(frozen=True)
class Expansion:
    """A training image in the same outfits by several ways: by way an image uint8 [H, W, 3] an outfit, or why there is
    none; the outfits' prompts."""

    image_id: str
    original: np.ndarray
    variants: dict[str, list[np.ndarray | str]]
    prompts: list[str]


@dataclass(frozen=True)
class Retrieval:
    """A query and its best gallery images; `before` and `after` hold (image uint8 [H, W, 3], correct) by rank."""

    category: str
    image_id: str
    query: np.ndarray
    before: list[tuple[np.ndarray, bool]]
    after: list[tuple[np.ndarray, bool]]


def private_item(params: Params) -> str:
    """An item that keeps all images, and the texts on them, out of figures and page, as it may not be passed on; "" if
    they may be shown.

    Shown are the dataset, the samples, the ways of Fig. 1, and what the evaluations of Table A1's rows 1, 5 and 6 are
    made from.
    """
    report = params.report
    places = (report.evaluation(f"a1/{row}") for row in ("1", "5", "6"))
    shown = [("datasets", report.dataset), *(("generated", name) for name in (report.samples, *report.ways.values()))]
    shown += [("evaluations", place) for place in places if place]
    return next((name for section, name in shown if params.is_private(section, name)), "")


def choose_first(manifest: pd.DataFrame, split: str, count: int) -> list[str]:
    """The first image ID of each of the first `count` subjects of a split."""
    rows = manifest[manifest["split"] == split].sort_values("image_id")
    return rows.groupby("subject", sort=True)["image_id"].first().head(count).tolist()


def load_samples(root: Path, dataset: str, generated: str, minimum: Mapping[str, float]) -> list[Sample]:
    """The images of `SAMPLE_RULE` with the variants of a set, those below `minimum` (`Quality.minimum`) skipped; [] if
    the data, the masks or the set are not there."""
    folders = [root / "data" / dataset / "images", root / "masks" / dataset, root / "generated" / generated]
    if not all(folder.is_dir() for folder in folders):
        return []
    images, masks = open_images(folders[0]), open_masks(folders[1])
    variants = open_generated(folders[2], minimum)
    shown = range(min(VARIANTS, variants.variants))
    return [
        Sample(
            image_id,
            images[image_id],
            masks[image_id],
            [variants[image_id, number] for number in shown],
            [variants.prompt(image_id, number) for number in shown],
        )
        for image_id in choose_first(load_manifest(root / "data" / dataset), "train", SAMPLES)
    ]


def load_expansions(root: Path, dataset: str, sets: Mapping[str, str], minimum: Mapping[str, float]) -> list[Expansion]:
    """The images of `WAY_RULE` by every way: `sets` names the generated set of "inpainting" and of the others.

    Of the others the variant with the same prompt is taken; "not run" where a set is not there, "skipped" where it has
    no such variant. [] without the inpainted set; images with too few variants are left out.
    """
    folder = root / "data" / dataset
    found = {way: root / "generated" / name for way, name in sets.items()}
    opened = {way: open_generated(path, minimum) for way, path in found.items() if path.is_dir()}
    if "inpainting" not in opened or not (folder / "images").is_dir():
        return []
    images, lines = open_images(folder / "images"), []
    count = min(OUTFITS, *(generated.variants for generated in opened.values()))
    for image_id in choose_first(load_manifest(folder), "train", WAY_SAMPLES):
        prompts = list(_by_prompt(opened["inpainting"], image_id))[:count]
        if len(prompts) == count > 0:
            lines.append(Expansion(image_id, images[image_id], _worn(opened, sets, image_id, prompts), prompts))
    return lines


def _worn(opened: Mapping[str, Generated], sets: Mapping[str, str], image_id: str, prompts: list[str]) -> dict:
    variants: dict[str, list[np.ndarray | str]] = {}
    for way in sets:
        if way not in opened:
            variants[way] = ["not run"] * len(prompts)
            continue
        places = _by_prompt(opened[way], image_id)
        variants[way] = [opened[way][image_id, places[text]] if text in places else "skipped" for text in prompts]
    return variants


def _by_prompt(generated: Generated, image_id: str) -> dict[str, int]:
    """The first variant of an image with each prompt, skipped ones left out, in the order of the variants."""
    places: dict[str, int] = {}
    for number in range(generated.variants):
        if (image_id, number) in generated and not generated.skipped(image_id, number):
            places.setdefault(generated.prompt(image_id, number), number)
    return places


def categories(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Each query that both rankings hold, by its first gallery image: query, category ("" if both right)."""
    first = [table[table["rank"] == 1].set_index("query")["correct"].astype(bool) for table in (before, after)]
    table = pd.concat(first, axis=1, keys=["before", "after"], join="inner").sort_index()
    names = {(False, True): "fixed", (True, False): "broken", (False, False): "failed", (True, True): ""}
    table["category"] = [names[pair] for pair in zip(table["before"], table["after"], strict=True)]
    return table.reset_index()[["query", "category"]]


def choose_retrievals(table: pd.DataFrame, subjects: dict[str, str]) -> list[tuple[str, str]]:
    """(category, query) by `RETRIEVAL_RULE`; `table` as from `categories`, `subjects` maps query to
    subject."""
    table = table.assign(subject=table["query"].map(subjects)).sort_values("query")
    chosen = []
    for category in CATEGORIES:
        found = table[table["category"] == category].drop_duplicates("subject").head(PER_CATEGORY)
        chosen += [(category, query) for query in found["query"]]
    return chosen


def retrieval_counts(before: Result | None, after: Result | None) -> dict[str, int]:
    """How many queries each category has, and `queries` in all; {} if one of the two was not run.

    before: the baseline's evaluation. after: DLCR's, of which the refined rankings count.
    """
    if before is None or after is None:
        return {}
    table = categories(*_rankings(before, after))
    counts = table["category"].value_counts()
    return {name: int(counts.get(name, 0)) for name in CATEGORIES} | {"queries": len(table)}


def load_retrievals(root: Path, dataset: str, before: Result | None, after: Result | None) -> list[Retrieval]:
    """The queries of `RETRIEVAL_RULE` with their best gallery images; arguments as in `retrieval_counts`. [] if one was
    not run or the data is not there."""
    folder = root / "data" / dataset
    if before is None or after is None or not (folder / "images").is_dir():
        return []
    tables = _rankings(before, after)
    subjects = load_manifest(folder).set_index("image_id")["subject"].to_dict()
    images = open_images(folder / "images")
    return [
        Retrieval(
            category,
            query,
            images[query],
            *(
                [
                    (images[gallery], bool(correct))
                    for gallery, correct in ranking.loc[ranking["query"] == query, ["gallery", "correct"]].to_numpy()
                ]
                for ranking in tables
            ),
        )
        for category, query in choose_retrievals(categories(*tables), subjects)
    ]


def _rankings(before: Result, after: Result) -> list[pd.DataFrame]:
    """The first `TOP` gallery images of each query, plain of `before` and refined of `after`."""
    tables = []
    for result, refined in ((before, False), (after, True)):
        ranking = load_rankings(result)
        ranking = ranking[ranking["refined"].astype(bool) == refined]
        tables.append(ranking[ranking["rank"] <= TOP].sort_values(["query", "rank"]))
    return tables
