"""The tiny pipeline and a small dataset for it, made once; and a packed PRCC for each test of the released strips."""

from pathlib import Path

import pandas as pd
import pytest
from strips import pack_prcc
from tiny_diffusion import draw_pictures, save_random_pipeline

from dlcr.data import IMAGE_SCHEMA, MASK_SCHEMA, encode_png, write_shard


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_random_pipeline(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """Folders images/ and masks/ of six images, the third with an empty mask, and manifest.parquet."""
    folder = tmp_path_factory.mktemp("dataset")
    images, masks = draw_pictures(6)
    masks[2][:] = False
    ids = [f"train/{number:03d}.png" for number in range(6)]
    areas = [float(mask.mean()) for mask in masks]
    rows = {"image_id": ids, "image": [encode_png(image) for image in images]}
    write_shard(folder / "images" / "images-00000.arrow", rows, IMAGE_SCHEMA, {})
    rows = {
        "image_id": ids,
        "mask": [encode_png(mask) for mask in masks],
        "area": areas,
        "status": ["ok" if area else "empty" for area in areas],
    }
    write_shard(folder / "masks" / "masks-00000.arrow", rows, MASK_SCHEMA, {})
    table = {"image_id": ids, "subject": ["1", "1", "1", "2", "2", "2"], "clothes": ["1-1"] * 3 + ["2-1"] * 3}
    pd.DataFrame(table).to_parquet(folder / "manifest.parquet")
    return folder


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return pack_prcc(tmp_path)
