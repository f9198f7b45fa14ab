"""Speed and memory of evaluation at the sizes of PRCC and LaST, beside the usual way and the machine's limit.

    python -m benchmarks.evaluation                     # five minutes on two cores, 2 GB -> benchmarks/evaluation.json
    python -m benchmarks.evaluation --scale 0.1         # a tenth of the images, to try it

Every case is a process of its own. Features are made up: a subject and an outfit as directions, plus noise.
The usual way is what Re-ID code bases share: similarities one query row at a time, the whole matrix kept, then a loop
over queries with argwhere, setdiff1d, intersect1d and isin. The limit is the time of the float32 matrix products
alone, in blocks into memory that is there already. Times are the best of a few runs, taken in turn.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.common import best_of, command, peak_memory, timed
from dlcr.evaluation import Labels, evaluate, evaluate_features, refine, rerank

PRCC = 3_543, 3_384, 4_096, 71  # queries, gallery images, columns, subjects
LAST = 10_176, 125_353, 2_048, 5_800
VARIANTS = 6
DIMENSIONS = 64  # of the space in which features differ, so that similarities spread as those of trained models do
NOISE = 2.5
BLOCK = 1024  # rows of a product of the limit
PAUSE = 0.5  # seconds before each run, as threads of matrix products go on waiting for the next one for a while


def prcc(scale: float) -> dict:
    """Similarities and metrics of PRCC's clothes-changing queries, three ways."""
    query, gallery, labels, images = features(*PRCC, scale)
    similarity = by_row_similarity(query, gallery)
    rows, loops, ours, metrics, limit = best_of(
        lambda: by_row_similarity(query, gallery),
        lambda: by_row_metrics(similarity, labels, images),
        lambda: evaluate_features(query, gallery, labels, images, "cc"),
        lambda: evaluate(similarity, labels, images, "cc"),
        lambda: product(query, gallery),
        rounds=5,
        pause=PAUSE,
    )
    top1, mean_ap = by_row_metrics(similarity, labels, images)
    scores = evaluate_features(query, gallery, labels, images, "cc")
    return {
        "usual way, similarities (s)": rows,
        "usual way, metrics (s)": loops,
        "evaluate_features (s)": ours,
        "evaluate: metrics alone (s)": metrics,
        "matrix product alone (s)": limit,
        "GFLOP/s of the product": 2e-9 * len(query) * gallery.size / limit,
        "times faster, together": (rows + loops) / ours,
        "times faster, metrics alone": loops / metrics,
        "evaluate_features over the product": ours / limit,
        "top-1": scores.top1,
        "mAP": scores.map,
        "difference of top-1 to the usual way": abs(scores.top1 - top1),
        "difference of mAP to the usual way": abs(scores.map - mean_ap),
    }


def last(scale: float) -> dict:
    """LaST's test set: too large for a whole matrix of similarities."""
    query, gallery, labels, images = features(*LAST, scale, cameras=False)
    before = peak_memory()
    first, scores = timed(lambda: evaluate_features(query, gallery, labels, images, "general"))
    memory = peak_memory()
    again, limit = best_of(
        lambda: evaluate_features(query, gallery, labels, images, "general"),
        lambda: product(query, gallery),
        rounds=2,
        pause=PAUSE,
    )
    ours = min(first, again)
    return {
        "evaluate_features (s)": ours,
        "matrix product alone (s)": limit,
        "GFLOP/s of the product": 2e-9 * len(query) * gallery.size / limit,
        "evaluate_features over the product": ours / limit,
        "peak memory (GB)": memory,
        "of it the features and Python (GB)": before,
        "top-1": scores.top1,
        "mAP": scores.map,
    }


def refinement(scale: float) -> dict:
    """Algorithm 1 at PRCC's size with l = 6 variants, similarities included."""
    query, gallery, labels, images = features(*PRCC, scale)
    rng = np.random.default_rng(1)
    variants = np.empty((len(query), VARIANTS, query.shape[1]), dtype=np.float32)
    for row in range(len(query)):
        rng.standard_normal(variants[row].shape, out=variants[row], dtype=np.float32)
        variants[row] *= query[row].std()
        variants[row] += query[row]
    before = peak_memory()
    first, _ = timed(lambda: refine(query, variants, gallery, labels, images))
    memory = peak_memory()
    flat = variants.reshape(-1, variants.shape[2])
    again, limit = best_of(
        lambda: refine(query, variants, gallery, labels, images),
        lambda: (product(query, gallery), product(flat, gallery)),
        rounds=5,
        pause=PAUSE,
    )
    ours = min(first, again)
    return {
        "refine (s)": ours,
        "queries/s": len(query) / ours,
        "matrix products alone (s)": limit,
        "GFLOP/s of the products": 2e-9 * (1 + VARIANTS) * len(query) * gallery.size / limit,
        "share of the limit": limit / ours,
        "peak memory beyond features and Python (GB)": memory - before,
    }


def reranking(scale: float) -> dict:
    """k-reciprocal re-ranking at PRCC's size."""
    query, gallery, labels, images = features(*PRCC, scale)
    before = peak_memory()
    ours, similarity = timed(lambda: rerank(query, gallery))
    memory = peak_memory()
    plain = evaluate_features(query, gallery, labels, images, "cc")
    better = evaluate(similarity, labels, images, "cc")
    return {
        "rerank (s)": ours,
        "peak memory beyond features and Python (GB)": memory - before,
        "mAP before": plain.map,
        "mAP after": better.map,
    }


CASES: dict[str, Callable[[float], dict]] = {"prcc": prcc, "last": last, "refine": refinement, "rerank": reranking}
app = command("evaluation", CASES, "numpy")


def features(
    queries: int, images: int, columns: int, subjects: int, scale: float, cameras: bool = True
) -> tuple[np.ndarray, np.ndarray, Labels, Labels]:
    """Made-up float32 features of queries and gallery, and their labels: other clothes, another camera."""
    queries, images, subjects = (max(2, round(scale * count)) for count in (queries, images, subjects))
    rng = np.random.default_rng(0)
    centres, outfits = rng.standard_normal((2, subjects, DIMENSIONS), dtype=np.float32)
    basis = rng.standard_normal((DIMENSIONS, columns), dtype=np.float32)
    made = []
    for count, clothes in ((queries, 1), (images, 0)):
        who = rng.permutation(np.arange(count) % subjects)
        inside = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
        inside *= rng.uniform(0.4, NOISE, (count, 1)).astype(np.float32)  # easy and hard images
        inside += centres[who]
        inside += 0.7 * outfits[rng.integers(0, subjects, count) if cameras else who]
        camera = np.full(count, clothes) if cameras else -1 - np.arange(count) - clothes * images
        made += [inside @ basis, Labels(who, 2 * who + clothes, camera)]
    return made[0], made[2], made[1], made[3]


def by_row_similarity(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The usual way: normalise, then one query at a time."""
    rows, columns = (torch.nn.functional.normalize(torch.from_numpy(x), dim=1) for x in (query, gallery))
    similarity = torch.zeros((len(rows), len(columns)))
    for i in range(len(rows)):
        similarity[i] = torch.mm(rows[i : i + 1], columns.t())
    return similarity.numpy()


def by_row_metrics(similarity: np.ndarray, query: Labels, gallery: Labels) -> tuple[float, float]:
    """The usual way: the clothes-changing setting, sets of indices for one query at a time."""
    order = np.argsort(-similarity, axis=1)
    hits, precisions = [], []
    for i in range(len(similarity)):
        own = np.argwhere(gallery.subjects == query.subjects[i])
        camera = np.argwhere(gallery.cameras == query.cameras[i])
        clothes = np.argwhere(gallery.clothes == query.clothes[i])
        good = np.setdiff1d(np.setdiff1d(own, camera), clothes)
        junk = np.union1d(np.intersect1d(own, camera), np.intersect1d(own, clothes))
        if len(good) == 0:
            continue
        ranked = order[i][np.isin(order[i], junk, invert=True)]
        ranks = np.argwhere(np.isin(ranked, good)).ravel()
        hits.append(ranks[0] == 0)
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))
    return float(np.mean(hits)), float(np.mean(precisions))


def product(query: np.ndarray, gallery: np.ndarray) -> None:
    """All similarities, none kept, by the fastest matrix product at hand."""
    rows, columns = torch.from_numpy(query), torch.from_numpy(gallery).T
    space = torch.empty((min(BLOCK, len(query)), len(gallery)))
    for part in rows.split(BLOCK):
        torch.matmul(part, columns, out=space[: len(part)])


if __name__ == "__main__":
    app()
