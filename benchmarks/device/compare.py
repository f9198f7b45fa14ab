"""How far what a GPU made is from what a CPU made, of each stage's output; `within`: no farther than is to be expected.

A GPU multiplies in another order and, in convolutions of float32, with ten bits of mantissa (TF32) where a CPU has 23:
relative errors of 5e-4 in single products. Tolerances are about ten times what that does on a CPU
(`pretend`), which is in brackets.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from dlcr.data import load_manifest, open_generated, open_masks

PIXELS = 0.998  # of masks: pixels at borders can flip (none did)
TEXTS = 0.9  # greedy answers and sampled outfits: a tie can turn, and all that follows with it (none did)
LEVELS = 0.3  # of 255, the mean inside the masks (0.03)
FACES = 0.999  # cosine (1.000)
LOSSES = 0.02  # relative, of the last epoch: rounding errors grow from step to step (0.001)
WEIGHTS = 0.002  # relative, of a discriminator after few steps (0.0001)
POINTS = 15.0  # mAP after trainings that drifted apart, of a dozen queries: the same training, no more (2 to 5)
FEATURES = 0.9999  # cosine, of the same image by the same weights (1.00000)
SAME_POINTS = 2.5  # mAP by the same weights: two images that are as close may change places, once or twice (0.0)
QUERIES = 1  # whose top-1 is another, by the same weights (0)


def bounded(found: dict, tolerance: str, within: bool) -> dict:
    """What was found, what was asked of it, and whether it is so."""
    return found | {"tolerance": tolerance, "within": bool(within)}


def manifests(cpu: Path, gpu: Path) -> dict:
    """Of prepared datasets, which no GPU touches."""
    equal = load_manifest(cpu).equals(load_manifest(gpu))
    return bounded({"manifests are equal": equal}, "equal", equal)


def masks(cpu: Path, gpu: Path) -> dict:
    """Of masks: the share of pixels, and of statuses, that are equal."""
    one, other = open_masks(cpu), open_masks(gpu)
    shares = [float(np.mean(one[image_id] == other[image_id])) for image_id in one.ids]
    statuses = float(np.mean([one.status(image_id) == other.status(image_id) for image_id in one.ids]))
    found = {"equal pixels": float(np.mean(shares)), "of the worst mask": min(shares), "equal statuses": statuses}
    return bounded(found, f"equal pixels at least {PIXELS}", found["equal pixels"] >= PIXELS)


def texts(cpu: Path, gpu: Path, column: str) -> dict:
    """Of descriptions and outfits: the share of rows with the same text."""
    one, other = (pd.read_parquet(path)[column] for path in (cpu, gpu))
    equal = float((one == other).mean()) if len(one) == len(other) else 0.0
    return bounded({"texts": len(one), "equal texts": equal}, f"equal texts at least {TEXTS}", equal >= TEXTS)


def variants(cpu: Path, gpu: Path, masks: Path) -> dict:
    """Of generated sets: the mean difference of variants with the same prompt, in levels, inside the masks."""
    one, other, masked = open_generated(cpu), open_generated(gpu), open_masks(masks)
    columns = ["image_id", "variant", "prompt", "skipped"]
    pairs = one.table(columns).merge(other.table(columns), on=columns)
    pairs = pairs[pairs["skipped"] == ""]
    means = []
    for image_id, variant in zip(pairs["image_id"], pairs["variant"], strict=True):
        difference = np.abs(one[image_id, variant].astype(int) - other[image_id, variant])
        means.append(float(difference[masked[image_id]].mean()))
    found = {
        "variants": len(one),
        "compared": len(pairs),
        "mean difference inside the masks (levels)": float(np.mean(means)) if means else None,
        "of the worst variant": max(means, default=None),
    }
    enough = len(pairs) >= TEXTS * len(one)
    tolerance = f"mean difference at most {LEVELS}, of at least {TEXTS} of the variants"
    return bounded(found, tolerance, enough and np.mean(means) <= LEVELS)


def weights(cpu: Path, gpu: Path) -> dict:
    """Of trained networks: the size of the difference over the size of the weights."""
    found = {"relative difference of the weights": distance(cpu, gpu)}
    return bounded(found, f"at most {WEIGHTS}", found["relative difference of the weights"] <= WEIGHTS)


def distance(cpu: Path, gpu: Path) -> float:
    """The norm of the difference of two networks' floating-point tensors over the norm of the first."""
    one, other = load_file(cpu / "model.safetensors"), load_file(gpu / "model.safetensors")
    names = [name for name, values in one.items() if values.is_floating_point()]
    pairs = [(one[name].double(), other[name].double()) for name in names]
    return float(np.sqrt(sum((a - b).square().sum() for a, b in pairs) / sum(a.square().sum() for a, _ in pairs)))


def faces(cpu: Path, gpu: Path) -> dict:
    """Of faces: cosines of the embeddings found by both, and the share of images where both found one or neither."""
    one, other = (pd.read_parquet(path / "faces.parquet").set_index("image_id") for path in (cpu, gpu))
    other = other.loc[one.index]
    there = [table["score"].to_numpy() > 0 for table in (one, other)]
    both = there[0] & there[1]
    embeddings = [np.stack(table["embedding"][both].to_list()) for table in (one, other)]
    found = {
        "images": len(one),
        "both or neither found a face": float(np.mean(there[0] == there[1])),
        "least cosine": float((embeddings[0] * embeddings[1]).sum(1).min()),
    }
    return bounded(found, f"least cosine at least {FACES}", found["least cosine"] >= FACES)


def trainings(cpu: Path, gpu: Path) -> dict:
    """Of runs: losses of the first and the last epoch, and weights, of all seeds and ablations."""
    first, last, apart = [], [], []
    for path in sorted(cpu.rglob("history.csv")):
        one, other = (pd.read_csv(folder / path.relative_to(cpu)) for folder in (cpu, gpu))
        losses = one.columns.difference(["epoch", "learning_rate", "variants", "replaced"])
        relative = ((one[losses] - other[losses]).abs() / one[losses].abs().clip(lower=0.1)).max(axis=1)
        first.append(float(relative.iloc[0]))
        last.append(float(relative.iloc[-1]))
        apart.append(distance(path.parent, (gpu / path.relative_to(cpu)).parent))
    found = {
        "losses of the first epoch, largest relative difference": max(first),
        "losses of the last epoch, largest relative difference": max(last),
        "relative difference of the weights": max(apart),
    }
    return bounded(found, f"losses of the last epoch at most {LOSSES}", max(last) <= LOSSES)


def evaluations(cpu: Path, gpu: Path) -> dict:
    """Of evaluations after two trainings: the largest difference of any score, in points."""
    found = scores(cpu, gpu)
    return bounded(found, f"mAP at most {POINTS} points", found["mAP (points)"] <= POINTS)


def same_models(cpu: Path, gpu: Path) -> dict:
    """Of evaluations by the same weights: the scores, and the features themselves where they are written."""
    found = scores(cpu, gpu)
    cosines = [cosine(path, gpu / path.relative_to(cpu)) for path in sorted(cpu.rglob("features.parquet"))]
    found["least cosine of the features of an image"] = min(cosines, default=None)
    within = found["mAP (points)"] <= SAME_POINTS and found["queries with another top-1"] <= QUERIES
    tolerance = f"mAP at most {SAME_POINTS} points, {QUERIES} query with another top-1, cosine at least {FEATURES}"
    return bounded(found, tolerance, within and min(cosines, default=1.0) >= FEATURES)


def cosine(cpu: Path, gpu: Path) -> float:
    """The least cosine of the features of the same image."""
    one, other = (pd.read_parquet(path).set_index("image_id")["feature"] for path in (cpu, gpu))
    rows = [np.stack(column.to_list()) for column in (one, other.loc[one.index])]
    lengths = [np.linalg.norm(row, axis=1) for row in rows]
    return float(((rows[0] * rows[1]).sum(1) / (lengths[0] * lengths[1])).min())


def scores(cpu: Path, gpu: Path) -> dict:
    """Largest differences of any setting's and kind's scores, and of how many queries top-1 is another, at most."""
    top1, mean, turned, single = [], [], [], []
    for path in sorted(cpu.rglob("scores.json")):
        one, other = (json.loads((folder / path.relative_to(cpu)).read_text())["mean"] for folder in (cpu, gpu))
        top1 += [abs(one[key]["top1"] - other[key]["top1"]) for key in one]
        mean += [abs(one[key]["map"] - other[key]["map"]) for key in one]
        keys = ["seed", "setting", "kind", "image_id"]
        tables = [
            pd.read_parquet((folder / path.relative_to(cpu)).parent / "per_query.parquet") for folder in (cpu, gpu)
        ]
        joined = tables[0].merge(tables[1], on=keys, suffixes=("", " there"))
        another = (joined["rank"] == 1) != (joined["rank there"] == 1)
        turned.append(int(another.groupby([joined[key] for key in keys[:3]]).sum().max()))
        single.append(float((joined["ap"] - joined["ap there"]).abs().mean()))
    return {
        "top-1 (points)": max(top1),
        "mAP (points)": max(mean),
        "queries with another top-1": max(turned),
        "average precision of a query, mean difference": max(single),
    }
