"""Scores of the single stages, for a dataset that knows the truth (`data/<dataset>/truth`): MiniCC does, real
ones do not.

Masks against the true label maps, texts against the true outfits, generated variants against the original
pixels and against their own prompts. All shares are in percent.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import Generated, decode_grey, open_generated, open_images, open_masks
from dlcr.prompts import describe, load_describer, vote
from dlcr.runtime.seeds import seed_of

PARTS = {"upper": 4, "lower": 5, "footwear": 6}
"""Body parts in the order of an outfit text, and their values in the truth's label maps."""
ALIGNMENT_SAMPLE = 500
VISIBLE_PIXELS = 12
"""A body part counts for prompt alignment from this many of its pixels inside the mask."""


def true_labels(root: Path, dataset: str) -> Callable[[str], np.ndarray]:
    """Gives an image's true label map by image_id: uint8 [H, W], values as in `PARTS`."""
    folder = root / "data" / dataset / "truth"
    labels = open_images(folder)
    return lambda image_id: decode_grey(labels.encoded(image_id), f"{folder}: {image_id}")


def mask_iou(mask: np.ndarray, labels: np.ndarray) -> float:
    """Intersection over union of a mask (bool [H, W], True = clothes) and the truth's clothes; 1 if both are
    empty."""
    truth = np.isin(labels, list(PARTS.values()))
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def mask_scores(root: Path, dataset: str, manifest: pd.DataFrame, splits: Iterable[str] = ("train", "query")) -> dict:
    """Mean IoU of the clothes masks by split, and the images behind it; a split without images is left
    out."""
    labels = true_labels(root, dataset)
    masks = open_masks(root / "masks" / dataset)
    scores = {}
    for split in splits:
        ids = manifest.loc[manifest["split"] == split, "image_id"]
        if len(ids):
            ious = [mask_iou(masks[image_id], labels(image_id)) for image_id in ids]
            empty = sum(masks.status(image_id) == "empty" for image_id in ids)
            scores[split] = {"iou": 100 * float(np.mean(ious)), "images": len(ids), "empty": empty}
    return scores


def items(text: str) -> list[str]:
    """The items of an outfit text by body part, in the order of `PARTS`, lower case; "" where a part is
    missing."""
    found = [" ".join(item.lower().split()) for item in text.split("|")]
    return (found + [""] * len(PARTS))[: len(PARTS)]


def text_accuracy(texts: Iterable[str], truths: Iterable[str]) -> dict[str, float]:
    """Share of texts whose item equals the truth's, by body part and (`all`) in all of them; case does not
    count."""
    pairs = [(items(text), items(truth)) for text, truth in zip(texts, truths, strict=True)]
    if not pairs:
        raise ValueError("text accuracy needs at least one text")
    hits = np.array([[a == b for a, b in zip(text, truth, strict=True)] for text, truth in pairs])
    shares = dict(zip(PARTS, 100 * hits.mean(axis=0), strict=True))
    return {part: float(share) for part, share in shares.items()} | {
        "all": 100 * float(hits.all(axis=1).mean()),
        "texts": len(pairs),
    }


def prompt_scores(root: Path, dataset: str, outfits: str) -> dict[str, dict[str, float]]:
    """Accuracy of the texts: `descriptions`, one an image as the describer gave it; `outfits`, one a clothes
    ID."""
    truth = pd.read_parquet(root / "data" / dataset / "truth" / "outfits.parquet").set_index("clothes")["prompt"]
    sources = {
        "descriptions": (root / "descriptions" / f"{dataset}.parquet", "response", lambda text: vote([text])),
        "outfits": (root / "outfits" / f"{outfits}.parquet", "prompt", str),
    }
    scores = {}
    for name, (path, column, outfit_of) in sources.items():
        table = pd.read_parquet(path)
        unknown = sorted(set(table["clothes"]) - set(truth.index))
        if unknown:
            raise ValueError(f"{path}: clothes {unknown[0]!r} are not in the truth of {dataset}")
        scores[name] = text_accuracy([outfit_of(text) for text in table[column]], truth[table["clothes"]])
    return scores


def variant_scores(root: Path, dataset: str, generated: str) -> dict[str, float]:
    """Of all variants of a set: how many were skipped, and the share whose pixels outside the mask are the
    original's."""
    images, masks = open_images(root / "data" / dataset / "images"), open_masks(root / "masks" / dataset)
    variants = open_generated(root / "generated" / generated)
    identical = skipped = 0
    for image_id in variants.image_ids:
        outside, original = ~masks[image_id], images[image_id]
        for variant in range(variants.variants):
            made = variants[image_id, variant]
            skipped += made is None
            identical += made is not None and np.array_equal(made[outside], original[outside])
    total = variants.variants * len(variants.image_ids)
    made = total - skipped
    return {
        "variants": total,
        "skipped": skipped,
        "outside_identical": 100 * identical / made if made else np.nan,
    }


def prompt_alignment(
    root: Path, dataset: str, generated: str, model: str, settings: dict, seed: int
) -> dict[str, float]:
    """Share of prompted items that the describer reads back from the variants, over a seeded sample of them.

    Only body parts of which the truth shows at least `VISIBLE_PIXELS` inside the mask count: nobody can
    repaint the rest. The describer errs too: `descriptions` of `prompt_scores` is what it reads off real
    images, the bound of this score.

    Args:
        model: the describer's weights. settings: question, temperature, max_new_tokens and batch of
            `params.describe`.

    Returns the share by body part and over `all` of them, the number of `items` and of sampled `images`.
    """
    variants = open_generated(root / "generated" / generated)
    masks = open_masks(root / "masks" / dataset)
    labels = true_labels(root, dataset)
    table = variants.table(["image_id", "variant", "prompt", "skipped"])
    table = table[table["skipped"] == ""].sort_values(["variant", "image_id"], ignore_index=True)
    count = min(ALIGNMENT_SAMPLE, len(table))
    if count == 0:
        raise ValueError(f"{root / 'generated' / generated}: no variants, prompt alignment needs at least one")
    rng = np.random.default_rng(seed_of("prompt-alignment", generated, seed))
    sample = table.iloc[np.sort(rng.choice(len(table), count, replace=False))]
    read = _read_back(variants, sample, model, settings, seed)
    hits: dict[str, list[bool]] = {part: [] for part in PARTS}
    for row, text in zip(sample.to_dict("records"), read, strict=True):
        inside = labels(row["image_id"])[masks[row["image_id"]]]
        for (part, value), wanted, found in zip(PARTS.items(), items(row["prompt"]), items(text), strict=True):
            if np.count_nonzero(inside == value) >= VISIBLE_PIXELS:
                hits[part].append(wanted == found)
    both = [hit for values in hits.values() for hit in values]
    scores = {part: 100 * float(np.mean(values)) if values else np.nan for part, values in hits.items()}
    return scores | {
        "all": 100 * float(np.mean(both)) if both else np.nan,
        "items": len(both),
        "images": count,
    }


def _read_back(variants: Generated, sample: pd.DataFrame, model: str, settings: dict, seed: int) -> list[str]:
    """The describer's outfit text of each sampled variant."""
    describer, texts = load_describer(model), []
    rows, batch = sample.to_dict("records"), settings["batch"]
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        images = [variants[row["image_id"], row["variant"]] for row in chunk]
        seeds = [seed_of("read-back", row["image_id"], row["variant"], seed) for row in chunk]
        answers = describe(
            describer,
            images,
            settings["question"],
            temperature=settings["temperature"],
            max_new_tokens=settings["max_new_tokens"],
            seeds=seeds,
        )
        texts += [vote([answer]) for answer in answers]
    return texts
