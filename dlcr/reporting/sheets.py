"""Chooses what the picture sheets show, by rules that are stated on the page; nothing is picked by hand."""

from pathlib import Path

import pandas as pd

from dlcr.data import load_manifest, open_generated, open_images, open_masks
from dlcr.reporting.figures import Retrieval, Sample
from dlcr.reporting.results import Result, load_rankings

SAMPLES, VARIANTS = 5, 6
SAMPLE_RULE = (
    f"The first training image (by image ID) of each of the first {SAMPLES} subjects, with its first "
    f"{VARIANTS} variants."
)
PER_CATEGORY, TOP = 3, 5
RETRIEVAL_RULE = (
    f"Of each category the first {PER_CATEGORY} queries by image ID, at most one a subject; first seed, junk "
    "gallery images removed as in the metric."
)
CATEGORIES = {
    "fixed": "baseline wrong, DLCR right",
    "broken": "baseline right, DLCR wrong",
    "failed": "both wrong",
}


def choose_samples(manifest: pd.DataFrame) -> list[str]:
    """Image IDs by `SAMPLE_RULE`."""
    train = manifest[manifest["split"] == "train"].sort_values("image_id")
    return train.groupby("subject", sort=True)["image_id"].first().head(SAMPLES).tolist()


def load_samples(root: Path, dataset: str, generated: str) -> list[Sample]:
    """The sample sheet's lines of a generated set; [] if the dataset has no training images."""
    images, masks = open_images(root / "data" / dataset / "images"), open_masks(root / "masks" / dataset)
    variants = open_generated(root / "generated" / generated)
    shown = range(min(VARIANTS, variants.variants))
    return [
        Sample(
            image_id,
            images[image_id],
            masks[image_id],
            [variants[image_id, number] for number in shown],
            [variants.prompt(image_id, number) for number in shown],
        )
        for image_id in choose_samples(load_manifest(root / "data" / dataset))
    ]


def categories(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Each query that both rankings hold, by its first gallery image: query, subject of it, category ("" if
    both right)."""
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


def load_retrievals(
    root: Path, dataset: str, before: Result, after: Result, refined: bool
) -> tuple[list[Retrieval], dict[str, int]]:
    """The retrieval sheet's lines, and how many queries each category has in all.

    before: the baseline's evaluation, plain. after: DLCR's, refined if `refined`.
    """
    tables = []
    for result, kind in ((before, False), (after, refined)):
        ranking = load_rankings(result)
        ranking = ranking[ranking["refined"].astype(bool) == kind]
        tables.append(ranking[ranking["rank"] <= TOP].sort_values(["query", "rank"]))
    manifest = load_manifest(root / "data" / dataset)
    subjects = manifest.set_index("image_id")["subject"].to_dict()
    images = open_images(root / "data" / dataset / "images")
    table = categories(*tables)
    lines = []
    for category, query in choose_retrievals(table, subjects):
        found = [
            [
                (images[row["gallery"]], bool(row["correct"]))
                for row in ranking[ranking["query"] == query].to_dict("records")
            ]
            for ranking in tables
        ]
        lines.append(Retrieval(CATEGORIES[category], query, images[query], *found))
    counts = table["category"].value_counts()
    return lines, {name: int(counts.get(name, 0)) for name in CATEGORIES} | {"queries": len(table)}
