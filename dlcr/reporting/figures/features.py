"""Figures A5 and A7: features in two dimensions by t-SNE.

t-SNE is scikit-learn's, seeded and on one thread: the same features give the same picture on the same machine. It keeps
neighbours, not distances, and the captions say so.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dlcr.data import load_manifest, open_generated, open_images
from dlcr.params import Params
from dlcr.reporting.figures.models import load_first
from dlcr.reporting.figures.style import BLUE, GREEN, ORANGE, PINK, RED, style, to_bytes
from dlcr.reporting.parts import Picture
from dlcr.reporting.results import Result

LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (RED, "D"), (PINK, "v"))
PER_PLACE = 60  # points of a subject in the queries, and in the gallery
SUBJECTS, ORIGINALS, VARIANTS = 3, 20, 200  # of Figure A7: subjects, and each one's images
COLUMNS = ("image_id", "split", "subject", "feature")
NEIGHBOURS = "t-SNE keeps neighbours, not distances: how large a cluster is or how far from another says little."


def embed(features: np.ndarray, seed: int) -> np.ndarray:
    """Points float [N, 2] by t-SNE of features [N, D], N at least 4. Source: van der Maaten and Hinton, JMLR 2008."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(features) - 1) / 3)
    with threadpool_limits(1):  # sums cut differently among threads end in another picture
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32)
        return tsne.fit_transform(np.asarray(features, np.float64))


def load_features(result: Result | None) -> pd.DataFrame | None:
    """An evaluation's features.parquet: image_id, split, subject, feature; None if there is none. ValueError naming a
    column that it lacks."""
    source = result.folder / "features.parquet" if result else None
    if source is None or not source.is_file():
        return None
    table = pd.read_parquet(source)
    lacking = [column for column in COLUMNS if column not in table.columns]
    if lacking:
        raise ValueError(f"{source}: no column {', '.join(lacking)}; it has {', '.join(table.columns)}")
    return table[list(COLUMNS)]


def query_features(before: Result | None, after: Result | None, seed: int) -> Picture | None:
    """Figure A5: the queries and gallery images of a few subjects, baseline beside DLCR; None if the features of one
    are not there or they share fewer than four images."""
    tables = [load_features(result) for result in (before, after)]
    if any(table is None for table in tables):
        return None
    keys = ["image_id", "split"]
    shared = tables[0].merge(tables[1][[*keys, "feature"]], on=keys, suffixes=("", "_after")).sort_values(keys)
    shared = shared.assign(gallery=shared["split"] == "gallery")
    kept = sorted(shared["subject"].unique())[: len(LOOKS)]
    shared = shared[shared["subject"].isin(kept)].groupby(["subject", "gallery"], group_keys=False)
    shared = (
        shared.sample(frac=1, random_state=seed % 2**32).groupby(["subject", "gallery"]).head(PER_PLACE).sort_index()
    )
    if len(shared) < 4:
        return None
    with style():
        figure = Figure(figsize=(7.2, 4.1), layout="constrained")
        for axes, name, column in zip(
            figure.subplots(1, 2), ("Baseline", "DLCR"), ("feature", "feature_after"), strict=True
        ):
            points = embed(np.stack(shared[column]), seed)
            _scatter(axes, points, shared["subject"].to_numpy(), shared["gallery"].to_numpy(bool), kept)
            axes.set_title(name, loc="left")
        _legend(figure, kept, "Filled: gallery. Hollow: query.")
        content = to_bytes(figure)
    return Picture(
        "fig-a5",
        "Figure A5: features of queries and gallery, baseline beside DLCR",
        content,
        f"Two scatter plots of the same {len(shared)} test images of the subjects {', '.join(map(str, kept))}: "
        "left the baseline’s features, right those of DLCR.",
        f"t-SNE of the features of {int(shared['gallery'].sum())} gallery images (filled) and "
        f"{int((~shared['gallery']).sum())} queries (hollow) of {len(kept)} test subjects drawn with a seed, the same "
        f"on both sides; first training seed. {NEIGHBOURS}",
    )


def training_features(root: Path, params: Params, evaluation: str | None, seed: int) -> Picture | None:
    """Figure A7: real and generated images of a few training subjects, by the features of an evaluation's model; None
    if the model, the data or the generated set is not there."""
    model = load_first(root, params, evaluation)
    chosen = choose_training(root, params, seed)
    if model is None or chosen is None:
        return None
    from dlcr.evaluation.features import extract_features

    table, pictures = chosen
    features = extract_features(model, pictures, model.size, desc=None)
    real, subjects = table["variant"].to_numpy() < 0, table["subject"].to_numpy()
    kept = sorted(set(subjects))
    with style():
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        _scatter(figure.subplots(), embed(features, seed), subjects, real, kept)
        _legend(figure, kept, "Filled: real. Hollow: generated.")
        content = to_bytes(figure)
    return Picture(
        "fig-a7",
        "Figure A7: real and generated images",
        content,
        f"Scatter plot of {int(real.sum())} real and {int((~real).sum())} generated images of the training subjects "
        f"{', '.join(map(str, kept))}.",
        f"t-SNE of the baseline’s features of {int(real.sum())} real images (filled) and {int((~real).sum())} "
        f"generated ones (hollow) of {len(kept)} training subjects drawn with a seed. Before t-SNE the mean distance "
        f"of a feature from the mean of its subject is {_spread(features, subjects, real):.2f} for real images, and "
        f"{_spread(features, subjects, ~real):.2f} for generated ones. {NEIGHBOURS}",
    )


def choose_training(root: Path, params: Params, seed: int) -> tuple[pd.DataFrame, list[np.ndarray]] | None:
    """Images of `SUBJECTS` training subjects and variants of these, drawn with a seed: a table with image_id, subject
    and variant (-1: real), and the images uint8 [H, W, 3] in its order; None if data or set are not there or empty."""
    folder, source = root / "data" / params.report.dataset, root / "generated" / params.report.samples
    if not (folder / "images").is_dir() or not source.is_dir():
        return None
    train = load_manifest(folder).query("split == 'train'").sort_values("image_id")
    rng = np.random.default_rng(seed)
    subjects = np.sort(train["subject"].unique())
    chosen = rng.permutation(subjects)[:SUBJECTS]
    train = train[train["subject"].isin(chosen)].sample(frac=1, random_state=rng)
    train = train.groupby("subject").head(ORIGINALS)[["image_id", "subject"]]
    generated = open_generated(source, params.quality.minimum())
    made = generated.table(["image_id", "variant", "skipped"]).query("skipped == ''")
    made = made.merge(train, on="image_id").sort_values(["image_id", "variant"]).sample(frac=1, random_state=rng)
    made = made.groupby("subject").head(VARIANTS)
    if made.empty:
        return None
    table = pd.concat([train.assign(variant=-1), made]).sort_values(["image_id", "variant"], ignore_index=True)
    images = open_images(folder / "images")
    pictures = [
        images[row.image_id] if row.variant < 0 else generated[row.image_id, row.variant] for row in table.itertuples()
    ]
    return table[["image_id", "subject", "variant"]], pictures


def _spread(features: np.ndarray, subjects: np.ndarray, chosen: np.ndarray) -> float:
    """The mean distance of the chosen features from the mean of those of the same subject."""
    frame = pd.DataFrame(features[chosen]).groupby(subjects[chosen])
    return float(np.linalg.norm(features[chosen] - frame.transform("mean").to_numpy(), axis=1).mean())


def _scatter(axes: Axes, points: np.ndarray, subjects: np.ndarray, filled: np.ndarray, names: list[str]) -> None:
    for (colour, marker), name in zip(LOOKS, names, strict=False):
        for full in (False, True):  # what is filled lies above, as it is less
            rows = (subjects == name) & (filled == full)
            axes.scatter(
                *points[rows].T,
                s=34 if full else 20,
                marker=marker,
                facecolor=colour if full else "none",
                edgecolor="black" if full else colour,
                linewidth=0.6 if full else 1.0,
            )
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)


def _legend(figure: Figure, names: list[str], title: str) -> None:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markeredgecolor="black", label=f"subject {name}")
        for (colour, marker), name in zip(LOOKS, names, strict=False)
    ]
    figure.legend(
        handles=handles, title=title, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8
    )
