"""Scores of the single stages, for a dataset that knows the truth (`data/<dataset>/truth`): MiniCC does, real
ones do not.

Masks against the true label maps, texts against the true outfits, generated variants against the original
pixels and against their own prompts. All shares are in percent.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import decode_grey, load_manifest, open_generated, open_images, open_masks
from dlcr.inpainting.quality import word_hits
from dlcr.params import Params
from dlcr.prompts import Describer, describe, load_describer, vote
from dlcr.runtime.seeds import seed_of

PARTS = {"upper": 4, "lower": 5, "footwear": 6}
"""Body parts in the order of an outfit text, and their values in the truth's label maps."""
ALIGNMENT_SAMPLE = 500
NEAR_VARIANTS = 2
VISIBLE_PIXELS = 12
"""A body part counts for prompt alignment from this many of its pixels inside the mask."""


def stage_scores(root: Path, params: Params) -> dict[str, dict]:
    """Scores of the single stages; {} for a dataset without known truth (every real one)."""
    dataset, generated = params.report.dataset, params.report.samples
    if not (root / "data" / dataset / "truth").is_dir():
        return {}
    manifest, outfits = load_manifest(root / "data" / dataset), params.generated[generated].outfits
    judge = params.models.describers[params.models.judge], params.describe.model_dump(), params.seed
    return {
        "masks": mask_scores(root, dataset, manifest),
        **prompt_scores(root, dataset, params.outfits[outfits].descriptions, outfits),
        "variants": variant_scores(root, dataset, generated),
        "prompt_alignment": prompt_alignment(root, dataset, generated, *judge, oracle_of(root, params, generated)),
        "sets": {name: set_scores(root, params, name, *judge) for name in _compared_sets(root, params)},
        "discriminators": _discriminator_scores(root, params),
    }


def _compared_sets(root: Path, params: Params) -> list[str]:
    """The sets of the report's dataset whose truth an oracle set shows."""
    return [
        name
        for name, item in params.generated.items()
        if item.dataset == params.report.dataset
        and (root / "generated" / name).is_dir()
        and oracle_of(root, params, name) is not None
    ]


def set_scores(root: Path, params: Params, generated: str, model: str, settings: dict, seed: int) -> dict[str, float]:
    """How a set's pictures look: `words` of `prompt_alignment`, and its `truth_nearness`.

    Of an oracle set the words are those of its `bound`, within the masks as in the other sets. {} for an empty set.
    """
    if not (open_generated(root / "generated" / generated).table(["skipped"])["skipped"] == "").any():
        return {}
    oracle, dataset = oracle_of(root, params, generated), params.generated[generated].dataset
    itself = params.generated[generated].kind == "oracle"
    found = prompt_alignment(root, dataset, generated, model, settings, seed, oracle if itself else None)
    words = (found["bound"] if itself else found)["words"]
    return {"words": words} | truth_nearness(root, dataset, generated, oracle)


def truth_nearness(root: Path, dataset: str, generated: str, oracle: str) -> dict[str, float]:
    """How near a set's variants come to those of an oracle set within the clothes masks; outside they are alike.

    `difference`: mean absolute, over pixels and RGB, in levels of 255; `similarity`: SSIM (Wang et al., IEEE TIP 2004;
    windows of 7 pixels). Both are means over the first NEAR_VARIANTS variants of every image; NaN where there are none.
    """
    import torch
    from kornia.metrics import ssim

    variants, truth = open_generated(root / "generated" / generated), open_generated(root / "generated" / oracle)
    images, masks = open_images(root / "data" / dataset / "images"), open_masks(root / "masks" / dataset)
    found, count = [], min(NEAR_VARIANTS, variants.variants, truth.variants)
    for image_id in variants.image_ids:
        mask, image = masks[image_id], images[image_id]
        both = [(variants[image_id, number], truth[image_id, number]) for number in range(count)]
        pairs = [(made, true) for made, true in both if made is not None and true is not None and mask.any()]
        if not pairs:
            continue
        made, true = (
            torch.from_numpy(np.where(mask[..., None], np.stack(side), image)).permute(0, 3, 1, 2).float() / 255
            for side in zip(*pairs, strict=True)
        )
        inside = torch.from_numpy(mask)
        alike = ssim(made, true, 7).mean(1)[:, inside].mean(1)
        found += zip((255 * (made - true).abs().mean(1)[:, inside].mean(1)).tolist(), alike.tolist(), strict=True)
    difference, similarity = np.mean(found, axis=0) if found else (np.nan, np.nan)
    return {"difference": float(difference), "similarity": float(similarity)}


def _discriminator_scores(root: Path, params: Params) -> dict[str, dict[str, float]]:
    """By discriminator and timesteps, the held-out images that it tells from generated ones, in percent."""
    found = {}
    for name in params.discriminators:
        path = root / "discriminators" / name / "scores.json"
        if path.is_file():
            bands = json.loads(path.read_text(encoding="utf-8"))["bands"]
            found[name] = {f"{band['first']} to {band['last']}": 100 * band["accuracy"] for band in bands}
    return found


def oracle_of(root: Path, params: Params, generated: str) -> str | None:
    """The oracle set with the same outfits on the same images as a generated set, None if none has been made."""
    wanted = params.generated[generated]
    same = (
        name
        for name, item in sorted(params.generated.items())
        if item.kind == "oracle"
        and (item.dataset, item.outfits, item.split) == (wanted.dataset, wanted.outfits, wanted.split)
        and (root / "generated" / name).is_dir()
    )
    return next(same, None)


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


def prompt_scores(root: Path, dataset: str, descriptions: str, outfits: str) -> dict[str, dict[str, float]]:
    """Accuracy of the texts: `descriptions`, one per image as the describer gave it; `outfits`, one per clothes
    ID."""
    truth = pd.read_parquet(root / "data" / dataset / "truth" / "outfits.parquet").set_index("clothes")["prompt"]
    sources = {
        "descriptions": (root / "descriptions" / f"{descriptions}.parquet", "response", lambda text: vote([text])),
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
    root: Path, dataset: str, generated: str, model: str, settings: dict, seed: int, oracle: str | None = None
) -> dict:
    """What the describer reads back of the prompts, over a seeded sample of the variants.

    `words`: share of the prompts' words (colours, patterns, garments) that it names, an unsaid pattern being a word
    ("plain"); by body part and `all`: share of whole items. Only body parts of which the truth shows at least
    `VISIBLE_PIXELS` inside the mask count: nobody can repaint the rest.

    A mask has the shape of the clothes that were worn (nobody can paint a coat's sleeves into a T-shirt), and the
    describer errs. `bound` has the same shares for the truth within the same masks: the variants of the set `oracle`,
    of which only the masks' pixels are put on the original images. It is left out without that set.

    Args:
        model: the describer's weights. settings: question, temperature, max_new_tokens and batch of
            `params.describe`.

    Returns the shares in percent, the number of `items` and of sampled `images`.
    """
    variants = open_generated(root / "generated" / generated)
    masks = open_masks(root / "masks" / dataset)
    table = variants.table(["image_id", "variant", "prompt", "skipped"])
    table = table[table["skipped"] == ""].sort_values(["variant", "image_id"], ignore_index=True)
    count = min(ALIGNMENT_SAMPLE, len(table))
    if count == 0:
        raise ValueError(f"{root / 'generated' / generated}: no variants, prompt alignment needs at least one")
    rng = np.random.default_rng(seed_of("prompt-alignment", generated, seed))
    rows = table.iloc[np.sort(rng.choice(len(table), count, replace=False))].to_dict("records")
    labels = true_labels(root, dataset)
    seen = [labels(row["image_id"])[masks[row["image_id"]]] for row in rows]
    visible = np.array(
        [[np.count_nonzero(inside == value) >= VISIBLE_PIXELS for value in PARTS.values()] for inside in seen]
    )
    describer = load_describer(model)

    def shares(images: Callable[[dict], np.ndarray]) -> dict[str, float]:
        return _shares(rows, _read_back(describer, rows, images, settings, seed), visible)

    found = shares(lambda row: variants[row["image_id"], row["variant"]])
    if oracle is not None:
        truth, originals = open_generated(root / "generated" / oracle), open_images(root / "data" / dataset / "images")

        def within_mask(row: dict) -> np.ndarray:
            image_id = row["image_id"]
            return np.where(masks[image_id][..., None], truth[image_id, row["variant"]], originals[image_id])

        found["bound"] = shares(within_mask)
    return found | {"items": int(visible.sum()), "images": count}


def _shares(rows: list[dict], texts: list[str], visible: np.ndarray) -> dict[str, float]:
    """Shares of prompted items and words that the texts name, in percent; visible bool [N, parts] says which count."""
    hits = np.stack([word_hits(row["prompt"], text) for row, text in zip(rows, texts, strict=True)])
    whole = hits.all(axis=2)
    parts = {part: whole[visible[:, column], column] for column, part in enumerate(PARTS)}
    return {
        name: 100 * float(np.mean(values)) if values.size else np.nan
        for name, values in {**parts, "all": whole[visible], "words": hits[visible]}.items()
    }


def _read_back(
    describer: Describer, rows: list[dict], images: Callable[[dict], np.ndarray], settings: dict, seed: int
) -> list[str]:
    """The describer's outfit text of each row's image."""
    texts = []
    for start in range(0, len(rows), settings["batch"]):
        chunk = rows[start : start + settings["batch"]]
        answers = describe(
            describer,
            [images(row) for row in chunk],
            settings["question"],
            temperature=settings["temperature"],
            max_new_tokens=settings["max_new_tokens"],
            seeds=[seed_of("read-back", row["image_id"], row["variant"], seed) for row in chunk],
        )
        texts += [vote([answer]) for answer in answers]
    return texts
