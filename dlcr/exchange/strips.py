"""The form in which the authors of DLCR published their variants; `dlcr.inpainting.released` reads it.

For each image, in the dataset's own folders, a .png with its variants side by side and a .txt with a prompt on each
line.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import encode_png
from dlcr.exchange.sources import Source
from dlcr.inpainting.released import WINDOW, strip_name
from dlcr.runtime.determinism import core_count
from dlcr.runtime.progress import progress


def write_strips(source: Source, folder: Path) -> str:
    """Write the strips of a set into `folder`. Returns what was written.

    A strip has no place for a gap: an image that lacks a variant gets no strip. Raises ValueError for a variant of
    another size than its image, two images whose strips would have the same name, a prompt that is no line of text,
    and a set in which every image lacks a variant.
    """
    k = source.generated.variants
    places = source.made.groupby("image_id", sort=True).indices
    whole = {image_id: rows for image_id, rows in places.items() if len(rows) == k}
    if not whole:
        raise ValueError(f"{source.name}: each image lacks a variant, and strips need all; export a tree or parquet")
    _check_names(list(whole))
    parts = [list(whole.values())[start : start + WINDOW] for start in range(0, len(whole), WINDOW)]
    with progress(len(whole), f"export {source.name}", "strip") as bar, ThreadPoolExecutor(core_count()) as pool:
        for part in parts:
            for _ in pool.map(lambda rows: _write_strip(source, source.made.iloc[rows], folder), part):
                bar.update(1)
    lacking = len(source.generated.image_ids) - len(whole)
    return f"{len(whole)} strips of {k} variants" + (
        f"; {lacking} images lack a variant and have no strip" if lacking else ""
    )


def _check_names(image_ids: list[str]) -> None:
    names = pd.Series(map(strip_name, image_ids), index=image_ids)
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(f"{twice.index[0]}: shares the strip {twice.iloc[0]} with another image")


def _write_strip(source: Source, rows: pd.DataFrame, folder: Path) -> None:
    """One image's strip and its text. rows: of `Source.made`, one for each variant, in their order."""
    image_id, width, height = rows[["image_id", "width", "height"]].iloc[0]
    pictures = []
    for row in rows.itertuples():
        picture = source.generated[image_id, row.variant]
        if picture.shape[:2] != (height, width):
            found = f"{picture.shape[1]}x{picture.shape[0]}"
            raise ValueError(f"{image_id} variant {row.variant}: {found}, its image is {width}x{height}")
        if not row.prompt.strip() or "\n" in row.prompt or "\r" in row.prompt:
            raise ValueError(f"{image_id} variant {row.variant}: its prompt {row.prompt!r} is no line of text")
        pictures.append(picture)
    path = folder / strip_name(image_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.concatenate(pictures, axis=1)))
    path.with_suffix(".txt").write_bytes("".join(f"{prompt}\n" for prompt in rows["prompt"]).encode())
