"""The score by which training chooses an epoch without seeing the test set: mAP on the validation identities.

train_run(..., validate=load_validation(Path("data/minicc")))
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dlcr.data import load_manifest, open_images
from dlcr.evaluation.features import extract_features
from dlcr.evaluation.labels import Labels
from dlcr.evaluation.metrics import evaluate_features
from dlcr.evaluation.protocols import joint_labels

BATCH = 64


def load_validation(dataset: Path) -> Callable[[torch.nn.Module], float]:
    """`validation_map` of data/<dataset>, as a function of the model alone; it can be sent to another process.

    Queries are split val_query and the gallery val_gallery; where there is only one split val (PRCC), each of its
    images meets all others. ValueError when the dataset has neither.
    """
    manifest = load_manifest(dataset)
    split = manifest["split"].to_numpy(dtype=object)
    if (split == "val").any():
        query = gallery = np.flatnonzero(split == "val")
    else:
        query, gallery = (np.flatnonzero(split == name) for name in ("val_query", "val_gallery"))
    if not len(query) or not len(gallery):
        raise ValueError(f"{dataset}: no images of splits val, or val_query and val_gallery, to validate on; use last")
    rows = np.union1d(query, gallery)
    labels = joint_labels(manifest)
    images = manifest["image_id"].iloc[rows].tolist()
    setting = "cc" if (manifest["clothes"].iloc[rows] != "").all() else "general"
    places = np.searchsorted(rows, query), np.searchsorted(rows, gallery)
    return partial(validation_map, dataset, images, places, (labels.take(query), labels.take(gallery)), setting)


def validation_map(
    dataset: Path,
    image_ids: list[str],
    places: tuple[np.ndarray, np.ndarray],
    labels: tuple[Labels, Labels],
    setting: str,
    model: torch.nn.Module,
) -> float:
    """mAP, 0 to 1, of the images at `places` (queries, gallery) among `image_ids`. The model is left in eval mode."""
    images = open_images(dataset / "images")
    features = extract_features(model, images, model.size, BATCH, keys=image_ids, desc=None)
    return evaluate_features(features[places[0]], features[places[1]], *labels, setting).map
