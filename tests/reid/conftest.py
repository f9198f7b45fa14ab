"""Small made-up datasets for the tests of training."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dlcr.data import GENERATED_SCHEMA, IMAGE_SCHEMA, encode_png, save_manifest, write_shard
from dlcr.data.shards import MEASURES
from dlcr.reid.models import base

SIZE = (32, 16)
Maker = Callable[..., tuple[Path, Path]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def own_models() -> Iterator[None]:
    """Forgets afterwards what a test's own files registered."""
    known, modules = set(base._REGISTRY), set(sys.modules)
    yield
    for name in set(base._REGISTRY) - known:
        del base._REGISTRY[name]
    for name in set(sys.modules) - modules:
        if name.startswith("dlcr_own_"):
            del sys.modules[name]


@pytest.fixture
def make_toy(tmp_path: Path) -> Maker:
    """`make_toy(counts, k, skipped, ...)` writes data/toy and generated/toyset under `tmp_path` and returns
    both folders.

    counts: images of each subject; half of them in each of two clothes. The pixels of image i and its variant
    v are filled with recognisable values: red = i, green = 0 for the real image or 1 + v. One gallery image
    is not for training.
    """

    def make(
        counts: tuple[int, ...] = (4, 4, 4),
        k: int = 3,
        skipped: tuple[tuple[int, int], ...] = (),
        dataset: str = "toy",
    ) -> tuple[Path, Path]:
        owners = [subject for subject, count in enumerate(counts) for _ in range(count)]
        ids = [f"{owner}/{i:03d}.png" for i, owner in enumerate(owners)]
        clothes = [f"{owner}-{i % 2}" for i, owner in enumerate(owners)]
        names = [*ids, "gallery/x.png"]
        rows = {
            "image_id": names,
            "subject": [*map(str, owners), "g"],
            "clothes": [*clothes, "gx"],
            "camera": "A",
            "split": [*["train"] * len(ids), "gallery"],
            "tracklet": "",
            "frame": 0,
            "width": SIZE[1],
            "height": SIZE[0],
        }
        folder, generated = tmp_path / "data/toy", tmp_path / "generated/toyset"
        save_manifest(pd.DataFrame(rows), folder / "manifest.parquet")
        real = [encode_png(_filled(i, 0)) for i in range(len(names))]
        write_shard(
            folder / "images/images-00000.arrow",
            {"image_id": names, "image": real},
            IMAGE_SCHEMA,
            {"of": "toy"},
        )
        generated.mkdir(parents=True)
        for v in range(k):
            gone = [(v, i) in skipped for i in range(len(ids))]
            columns = {
                "image_id": ids,
                "subject": [*map(str, owners)],
                "source_clothes": clothes,
                "target_clothes": ["other"] * len(ids),
                "variant": [v] * len(ids),
                "prompt": ["p"] * len(ids),
                "seed": [0] * len(ids),
                "checksum": [""] * len(ids),
                "image": [None if g else encode_png(_filled(i, 1 + v)) for i, g in enumerate(gone)],
                "skipped": ["empty mask" if g else "" for g in gone],
                **{name: [None if g else (1 + v) / 8 for g in gone] for name in MEASURES},
            }
            path = generated / f"variant-{v:03d}-block-0000.arrow"
            write_shard(path, columns, GENERATED_SCHEMA, {"set": {"kind": "toy", "dataset": dataset}})
        return folder, generated

    return make


def _filled(red: int, green: int) -> np.ndarray:
    return np.full((*SIZE, 3), (red, green, 128), np.uint8)
