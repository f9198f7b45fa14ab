"""A packed dataset of made-up people, and features of them in every kind of file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file
from scipy.io import savemat

from dlcr.data import IMAGE_SCHEMA, encode_png, load_manifest, save_manifest, write_shard
from dlcr.evaluation.tracklets import compared_tracklets

SUBJECTS, DIMENSIONS = 12, 8
SPLITS = (("gallery", "A", 1), ("gallery", "A", 1), ("query", "C", 2), ("query", "C", 2), ("query_sc", "B", 1))
"""Of every person in the test: split, camera, which outfit, as in PRCC."""


def make_people(folder: Path, **changes: object) -> pd.DataFrame:
    """Packs a dataset into `folder`; `changes` replace columns of its manifest. Returns the manifest."""
    rows = [("train", f"t{person}", outfit, camera) for person in range(3) for outfit, camera in ((1, "A"), (2, "C"))]
    rows += [(split, f"p{person:02}", outfit, camera) for person in range(SUBJECTS) for split, camera, outfit in SPLITS]
    table = pd.DataFrame(rows, columns=["split", "subject", "outfit", "camera"])
    table["clothes"] = table["subject"] + "-" + table.pop("outfit").astype(str)
    table["image_id"] = [f"{row.split}/{row.subject}/{number:03}.png" for number, row in enumerate(table.itertuples())]
    table = table.assign(tracklet="", frame=0, width=4, height=8).assign(**changes)
    save_manifest(table, folder / "manifest.parquet")
    table = load_manifest(folder)
    rng = np.random.default_rng(0)
    pictures = {image_id: rng.integers(0, 256, (8, 4, 3), dtype=np.uint8) for image_id in table["image_id"]}
    write_images(folder, {image_id: encode_png(picture) for image_id, picture in pictures.items()})
    return table


def write_images(folder: Path, encoded: dict[str, bytes]) -> None:
    ids = sorted(encoded)
    columns = {"image_id": ids, "image": [encoded[image_id] for image_id in ids]}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    write_shard(folder / "images" / "images-00000.arrow", columns, IMAGE_SCHEMA, {"dataset": "people"})


def compared(folder: Path) -> pd.DataFrame:
    return compared_tracklets(load_manifest(folder)).rows


def made_up(rows: pd.DataFrame, noise: float = 0.8, seed: int = 0) -> np.ndarray:
    """Features float32 [N, D]: a direction for each person, and noise."""
    rng = np.random.default_rng(seed)
    people = pd.factorize(rows["subject"], sort=True)[0]
    centres = np.random.default_rng(99).normal(size=(people.max() + 1, DIMENSIONS))
    return (centres[people] + noise * rng.normal(size=(len(rows), DIMENSIONS))).astype(np.float32)


def write_npz(path: Path, features: np.ndarray, names: list[str] | None) -> None:
    np.savez(path, features=features, **({} if names is None else {"names": np.array(names)}))


def write_safetensors(path: Path, features: np.ndarray, names: list[str] | None) -> None:
    metadata = None if names is None else {"names": json.dumps(names)}
    save_file({"features": np.ascontiguousarray(features)}, path, metadata)


def write_parquet(path: Path, features: np.ndarray, names: list[str] | None) -> None:
    columns = {} if names is None else {"image_id": names}
    pq.write_table(pa.table({**columns, "features": list(features)}), path)


def write_columns(path: Path, features: np.ndarray, names: list[str] | None) -> None:
    table = pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])
    (table if names is None else table.assign(image_id=names)).to_parquet(path)


def write_mat(path: Path, features: np.ndarray, rows: pd.DataFrame, **changes: object) -> None:
    """As test.py of Person_reID_baseline_pytorch: features, labels and cameras by part, as rows of numbers."""
    people = pd.factorize(rows["subject"])[0] + 100
    cameras = pd.factorize(rows["camera"])[0] + 1
    made = {}
    for part in dict.fromkeys(rows["split"]):
        own = (rows["split"] == part).to_numpy()
        made |= {f"{part}_f": features[own], f"{part}_label": people[own], f"{part}_cam": cameras[own]}
    savemat(path, made | changes)
