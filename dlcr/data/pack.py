"""Packing: a dataset's encoded images into shards beside its manifest, so that no loose file is needed."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from dlcr.data.manifest import check_manifest, save_manifest
from dlcr.data.shards import IMAGE_SCHEMA, decode_rgb, write_shard
from dlcr.data.walk import raise_all
from dlcr.runtime.progress import progress

SHARD_ROWS = 4096
SHARD_BYTES = 256 * 2**20
_READERS = 2  # threads; decoding releases the interpreter's lock


def pack(
    manifest: pd.DataFrame,
    read_bytes: Callable[[str], bytes],
    folder: str | Path,
    fingerprint: Mapping,
    rows: int = SHARD_ROWS,
    max_bytes: int = SHARD_BYTES,
) -> pd.DataFrame:
    """Write `folder/images/images-00000.arrow`, ... and `folder/manifest.parquet`; return the manifest.

    `read_bytes(image_id)` gives an image as encoded in the source; every one is decoded as a check, and kept
    as it is. A shard ends before it exceeds `rows` images or `max_bytes` bytes. An earlier packing in
    `folder` is removed first and the manifest written last: a folder with a manifest is complete. Raises
    ValueError that counts all images that can't be read, or differ in size from the manifest, and names ten;
    nothing is left in `folder/images` then.
    """
    manifest = check_manifest(manifest, folder)
    folder = Path(folder)
    (folder / "manifest.parquet").unlink(missing_ok=True)
    _clear(folder / "images")
    bad: list[str] = []
    encoded = _checked_images(manifest, read_bytes, bad)
    for number, columns in enumerate(_cut(encoded, rows, max_bytes)):
        if not bad:
            write_shard(folder / "images" / f"images-{number:05d}.arrow", columns, IMAGE_SCHEMA, fingerprint)
    if bad:
        _clear(folder / "images")
    raise_all(bad, f"{folder}: {len(bad)} of {len(manifest)} images can't be packed")
    save_manifest(manifest, folder / "manifest.parquet")
    return manifest


def pack_labels(labels: Mapping[str, bytes], path: str | Path, fingerprint: Mapping) -> None:
    """Write PNG label maps by image_id as one shard, by image_id (`data/minicc/truth/labels.arrow`)."""
    image_ids = sorted(labels)
    columns = {"image_id": image_ids, "image": [labels[image_id] for image_id in image_ids]}
    write_shard(path, columns, IMAGE_SCHEMA, fingerprint)


def _checked_images(
    manifest: pd.DataFrame, read_bytes: Callable[[str], bytes], bad: list[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield (image_id, bytes) of the images that decode to their size; name the others."""

    def check(image_id: str, width: int, height: int) -> tuple[str, bytes, str]:
        try:
            data = read_bytes(image_id)
            found = decode_rgb(data, image_id).shape
        except (ValueError, OSError) as error:
            return image_id, b"", str(error)
        if found[:2] != (height, width):
            return image_id, b"", f"{image_id}: {found[1]}x{found[0]}, its manifest says {width}x{height}"
        return image_id, data, ""

    items = list(manifest[["image_id", "width", "height"]].itertuples(index=False, name=None))
    with progress(len(items), "pack") as bar, ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(items), 256):  # a window, so that a slow disk is not outrun by waiting results
            part = items[start : start + 256]
            for image_id, data, problem in pool.map(lambda item: check(*item), part):
                if problem:
                    bad.append(problem)
                else:
                    yield image_id, data
            bar.update(len(part))


def _cut(encoded: Iterator[tuple[str, bytes]], rows: int, max_bytes: int) -> Iterator[dict[str, list]]:
    """Yield the columns of one shard after the other."""
    columns: dict[str, list] = {"image_id": [], "image": []}
    size = 0
    for image_id, data in encoded:
        if columns["image"] and (len(columns["image"]) == rows or size + len(data) > max_bytes):
            yield columns
            columns, size = {"image_id": [], "image": []}, 0
        columns["image_id"].append(image_id)
        columns["image"].append(data)
        size += len(data)
    if columns["image"]:
        yield columns


def _clear(folder: Path) -> None:
    for path in folder.glob("images-*.arrow"):
        path.unlink()
