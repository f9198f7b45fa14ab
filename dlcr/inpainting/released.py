"""The variants that the authors of DLCR published, as a generated set: `dlcr import-released DIR --dataset prcc`.

The release has the folders of the original dataset. For each original image it holds a .png, its variants side by side,
and a .txt, the outfit text of each variant on a line of its own (`Gray shirt| Blue jeans| Black shoes`).
"""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image, UnidentifiedImageError

from dlcr.data import GENERATED_SCHEMA, decode_rgb, encode_png, fingerprint, load_manifest, write_shard
from dlcr.data.shards import MEASURES, checksum, image_size, shard_paths
from dlcr.data.walk import IMAGE_ENDINGS, raise_all
from dlcr.inpainting.generate import file_name
from dlcr.runtime.determinism import core_count
from dlcr.runtime.files import remove_leftovers
from dlcr.runtime.progress import progress
from dlcr.runtime.store import key_of

MISSING = "not in the release"
BLOCK = 256
"""Images in one file."""
WINDOW = 16
"""Strips in work at a time: Ctrl-C waits for no more."""
SAMPLE = 64
"""Images (about) that are looked for in each folder that may be the release's."""
MAX_TEXT = 1 << 16
HUB_REPOSITORY = re.compile(r"(models|datasets|spaces)--")
"""Names of the folders of huggingface_hub's cache: blobs/ has the files, snapshots/COMMIT/ links to them."""


@dataclass(frozen=True)
class Strip:
    """One image's variants: the file, its checksum, how many they are, and their texts."""

    path: Path
    checksum: str
    variants: int
    texts: list[str]


@dataclass(frozen=True)
class ImportCounts:
    """What an import did: K, training images, those of them that the release lacks; files written, and found done."""

    variants: int
    images: int
    missing: int
    made: int
    kept: int


def import_released(release: Path, dataset: Path, folder: Path, allow_missing: bool = False) -> ImportCounts:
    """Turn the strips under `release` into the generated set `folder` of the packed `dataset` (data/<name>).

    The release may lie one or two folders deeper than `release`, and without the leading folders of the image_ids. K is
    the number of variants in a strip. allow_missing: training images without a strip are skipped, not complained of.
    Everything is checked before anything is written; only what decoding alone can tell, in a file whose checksums are
    right, comes later. An import that was stopped is completed: files made from the same strips and texts stay.

    Links are followed within the release only: what they lead to elsewhere is no part of it, and nobody's prompt.

    Raises FileNotFoundError for a missing folder; ValueError when the release isn't found, or in several places; when
    `folder` holds anything but an imported set; and, with their number and the first ten by name, for all images that
    are missing, unreadable, of another size or without a text for each variant, reached by a link that leads out of
    the release, or that the dataset does not know.
    """
    manifest = _load_dataset(dataset)
    _refuse_other_content(folder)
    train = manifest[manifest["split"] == "train"]
    place, top = find_release(release, train["image_id"].tolist())
    strips = check_strips(place, top, manifest, allow_missing, own_folders(release))
    variants = next(iter(strips.values())).variants
    identity = {"kind": "released", "dataset": dataset.name, "variants": variants}
    files = _plan(train, strips, variants)
    folder.mkdir(parents=True, exist_ok=True)
    kept = _remove_others(folder, identity, files)
    with progress(variants * len(train), f"import {folder.name}", "variant") as bar:
        for number, start in enumerate(range(0, len(train), BLOCK)):
            rows = train.iloc[start : start + BLOCK]
            wanted = [variant for variant in range(variants) if file_name(variant, number) not in kept]
            cut = _cut(rows, strips, wanted, bar.update)
            bar.update(variants * len(rows) - len(wanted) * len(cut))  # finished before, or not in the release
            for variant in wanted:
                name = file_name(variant, number)
                columns = _columns(rows, strips, variant, cut)
                write_shard(folder / name, columns, GENERATED_SCHEMA, {"set": identity, "inputs": files[name]})
    return ImportCounts(variants, len(train), len(train) - len(strips), len(files) - len(kept), len(kept))


def find_release(release: Path, image_ids: Sequence[str]) -> tuple[Path, str]:
    """The folder that holds what the image_ids have in common, e.g. <release>/prcc/rgb/train, and that part of them.

    Looked for in `release` and two levels below, first under the whole common path, then without its leading folders,
    since a dataset can be packed from its parent folder too. Raises as `import_released`.
    """
    if not release.is_dir():
        raise FileNotFoundError(f"{release}: no such folder for the released strips")
    top = posixpath.commonpath([posixpath.dirname(image_id) for image_id in image_ids])
    names = [below(image_id, top) for image_id in image_ids[:: max(1, len(image_ids) // SAMPLE)]]
    children = _folders(release)
    roots = [release, *children, *(folder for child in children for folder in _folders(child))]
    parts = PurePosixPath(top).parts
    for start in range(max(len(parts), 1)):
        folders = [root.joinpath(*parts[start:]) for root in roots]
        places = {folder.resolve(): folder for folder in folders if any((folder / name).is_file() for name in names)}
        if len(places) > 1:
            raise ValueError(f"{release}: found in several places: {', '.join(sorted(map(str, places.values())))}")
        if places:
            return next(iter(places.values())), top
    more = f" and {len(roots) - 10} more" if len(roots) > 10 else ""
    raise ValueError(
        f"{release}: no strips of the training images, {strip_name(image_ids[0])} and so on, with or without the "
        f"leading folders, in {', '.join(map(str, roots[:10]))}{more}"
    )


def strip_name(image_id: str) -> str:
    """An image's strip, where the release has the dataset's folders."""
    return PurePosixPath(image_id).with_suffix(".png").as_posix()


def below(image_id: str, top: str) -> str:
    """An image's strip, from the folder `top` on."""
    return strip_name(image_id)[len(top) :].lstrip("/")


def own_folders(release: Path) -> list[Path]:
    """The folders, without links, in which a release's files lie: `release` itself and, of a snapshot in the hub's
    cache, whose files are all links, its repository's blobs."""
    own = release.resolve()
    snapshots = (folder for folder in own.parents if folder.name == "snapshots")
    repositories = (folder.parent for folder in snapshots if HUB_REPOSITORY.match(folder.parent.name))
    return [own, *(repository / "blobs" for repository in repositories)]


def check_strips(
    place: Path, top: str, manifest: pd.DataFrame, allow_missing: bool, own: Sequence[Path]
) -> dict[str, Strip]:
    """The strips of the training images by image_id; nothing is decoded. Raises as `import_released`.

    place: the folder in the release of what the image_ids hold under `top`; own: `own_folders` of the release.
    """
    _refuse_link(place, own)
    train = manifest[manifest["split"] == "train"]
    strips: dict[str, Strip] = {}
    missing: list[str] = []
    problems = _unknown_images(place, top, manifest["image_id"]) + _shared_strips(train["image_id"])
    with progress(len(train), "check", "strip") as bar:
        for image_id, width, height in train[["image_id", "width", "height"]].itertuples(index=False, name=None):
            path = place / below(image_id, top)
            if path.is_file():
                strip, found = _check_strip(path, width, height, own)
                problems += [f"{image_id}: {problem}" for problem in found]
                strips |= {image_id: strip} if strip else {}
            elif not allow_missing:
                missing.append(f"{image_id}: {MISSING}")
            bar.update(1)
    common = Counter(strip.variants for strip in strips.values()).most_common(1)
    for image_id, strip in strips.items():
        problems += [f"{image_id}: {problem}" for problem in _disagreements(strip, common[0][0])]
    hint = f", {len(missing)} of them images that --allow-missing would skip" if missing else ""
    problems = sorted(problems + missing)
    raise_all(problems, f"{place}: {len(problems)} problems{hint}")
    return strips


def _load_dataset(dataset: Path) -> pd.DataFrame:
    if not (dataset / "manifest.parquet").is_file():
        raise FileNotFoundError(f"{dataset}: not packed yet; run `dvc repro prepare@{dataset.name}` first")
    manifest = load_manifest(dataset)
    if not (manifest["split"] == "train").any():
        raise ValueError(f"{dataset}: no images of split train")
    return manifest


def _refuse_other_content(folder: Path) -> None:
    """Raise ValueError where an import would replace, or mix with, what no import has made."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: not a folder; choose another --name")
    shards = shard_paths(folder) if folder.is_dir() else []
    for path in shards:
        kind = fingerprint(path).get("set", {}).get("kind")
        if kind != "released":
            raise ValueError(f"{path}: belongs to a set of kind {kind!r}, not an imported one; choose another --name")
    others = sorted({path for path in folder.glob("*") if not path.name.startswith(".")} - {*shards})
    if others:
        raise ValueError(f"{others[0]}: no file of an imported set, which {folder} would become; choose another --name")


def _refuse_link(path: Path, own: Sequence[Path]) -> None:
    """Raise ValueError for a file or folder of the release that lies elsewhere: a text would come from any file."""
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(folder) for folder in own):
        raise ValueError(
            f"{path.name} is reached by a link that leads out of the release, to {target}; if that is a part of the "
            "release, import a copy without links: cp -rL DIR COPY"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _unknown_images(place: Path, top: str, image_ids: pd.Series) -> list[str]:
    """Images in the release's folder that are neither images of the dataset nor their strips."""
    known = {*image_ids, *map(strip_name, image_ids)}
    unknown = []
    for folder, folders, files in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            image_id = posixpath.join(top, (Path(folder) / file).relative_to(place).as_posix())
            if Path(file).suffix.lower() in IMAGE_ENDINGS and not file.startswith(".") and image_id not in known:
                unknown.append(f"{image_id}: no image of the dataset")
    return unknown


def _shared_strips(image_ids: pd.Series) -> list[str]:
    """Images that differ in their ending only: the release can't say whose the strip is."""
    twice = image_ids[image_ids.map(strip_name).duplicated(keep=False)]
    return [f"{image_id}: shares the strip {strip_name(image_id)} with another image" for image_id in twice]


def _check_strip(path: Path, width: int, height: int, own: Sequence[Path]) -> tuple[Strip | None, list[str]]:
    """The strip of an image of this size, None if it or its texts can't be read; and what is wrong with both."""
    found, problems = [], []
    text = path.with_suffix(".txt")
    for file, read in ((path, lambda: _read_strip(path, width, height)), (text, lambda: _read_texts(text))):
        try:
            _refuse_link(file, own)
            found.append(read())
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        return None, problems
    (digest, variants), texts = found
    return Strip(path, digest, variants, texts), []


def _read_strip(path: Path, width: int, height: int) -> tuple[str, int]:
    """The strip's checksum and its number of variants of this size."""
    data = path.read_bytes()
    size = image_size(data, path.name)
    _require_whole(data, path.name)
    if size[1] != height:
        raise ValueError(
            f"{path.name} is {size[0]}x{size[1]}, {size[1] / height:.3g} times as high as the original "
            f"({width}x{height}); expected variants of the original's size"
        )
    if size[0] % width:
        raise ValueError(f"{path.name} is {size[0]} wide, expected a multiple of the original's width {width}")
    return checksum(data), size[0] // width


def _require_whole(data: bytes, name: str) -> None:
    """Raise ValueError for a file that is no PNG, is cut off, or has a wrong checksum in one of its parts."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()
    except Exception as error:  # on damaged data the decoders raise nearly anything, SyntaxError included
        reason = "another format" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{name} is not a whole PNG: {reason}") from error


def _read_texts(path: Path) -> list[str]:
    """The texts, one per line; blank lines at the end don't count."""
    if not path.is_file():
        raise ValueError(f"its text {path.name} is {MISSING}")
    if path.stat().st_size > MAX_TEXT:
        raise ValueError(f"{path.name} is larger than {MAX_TEXT} bytes, expected one line per variant")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8: {error}") from error
    return [line.strip() for line in text.rstrip().split("\n")]


def _disagreements(strip: Strip, variants: int) -> list[str]:
    """What is wrong with a strip in a release of strips of so many variants."""
    problems = []
    text = strip.path.with_suffix(".txt").name
    if strip.variants != variants:
        problems.append(f"{strip.path.name} holds {strip.variants} variants, expected {variants} as in most strips")
    if len(strip.texts) != variants:
        problems.append(f"{text} has {len(strip.texts)} lines, expected {variants}")
    elif not all(strip.texts):
        problems.append(f"line {strip.texts.index('') + 1} of {text} is empty")
    return problems


def _plan(train: pd.DataFrame, strips: Mapping[str, Strip], variants: int) -> dict[str, str]:
    """Each file's name and the hash of all that it is made from."""
    rows = [
        [row.image_id, row.subject, row.clothes, row.width, *_source(strips.get(row.image_id))]
        for row in train.itertuples(index=False)
    ]
    return {
        file_name(variant, start // BLOCK): key_of([variant, rows[start : start + BLOCK]])
        for start in range(0, len(rows), BLOCK)
        for variant in range(variants)
    }


def _source(strip: Strip | None) -> list:
    return ["", []] if strip is None else [strip.checksum, strip.texts]


def _remove_others(folder: Path, identity: dict, files: Mapping[str, str]) -> set[str]:
    """Remove the files that are not of this import and return the names of those that are.

    Before any is written: an import that is stopped leaves an incomplete set, which is refused, never a mixed one.
    """
    remove_leftovers(folder)
    kept = set()
    for path in shard_paths(folder):
        if fingerprint(path) == {"set": identity, "inputs": files.get(path.name)}:
            kept.add(path.name)
        else:
            path.unlink()
    return kept


def _cut(
    rows: pd.DataFrame, strips: Mapping[str, Strip], wanted: list[int], count: Callable[[int], object]
) -> dict[str, dict[int, bytes]]:
    """The wanted variants of a block's images, each encoded by itself; a strip is decoded once.

    count: called with the number of variants that are ready.
    """

    def cut(image_id: str, width: int) -> dict[int, bytes]:
        strip = strips[image_id]
        data = strip.path.read_bytes()
        if checksum(data) != strip.checksum:
            raise ValueError(f"{strip.path}: changed while it was imported")
        pixels = decode_rgb(data, str(strip.path))
        return {variant: encode_png(pixels[:, variant * width : (variant + 1) * width]) for variant in wanted}

    present = rows[rows["image_id"].isin(strips.keys())] if wanted else rows.iloc[:0]
    images = {}
    with ThreadPoolExecutor(core_count()) as pool:
        for start in range(0, len(present), WINDOW):
            part = present.iloc[start : start + WINDOW]
            for image_id, variants in zip(
                part["image_id"], pool.map(cut, part["image_id"], part["width"]), strict=True
            ):
                images[image_id] = variants
                count(len(variants))
    return images


def _columns(
    rows: pd.DataFrame, strips: Mapping[str, Strip], variant: int, cut: Mapping[str, Mapping[int, bytes]]
) -> dict[str, list]:
    """One file: a variant of a block's images. Equal texts have the same target clothes, which are no subject's own."""
    image_ids = rows["image_id"].tolist()
    texts = [strips[image_id].texts[variant] if image_id in strips else "" for image_id in image_ids]
    images = [cut[image_id][variant] if image_id in strips else None for image_id in image_ids]
    return {
        "image_id": image_ids,
        "subject": rows["subject"].tolist(),
        "source_clothes": rows["clothes"].tolist(),
        "target_clothes": [f"released-{checksum(text.encode())[:16]}" if text else "" for text in texts],
        "variant": [variant] * len(rows),
        "prompt": texts,
        "seed": [0] * len(rows),
        "image": images,
        "checksum": ["" if data is None else checksum(data) for data in images],
        "skipped": [MISSING if data is None else "" for data in images],
        **{name: [None] * len(rows) for name in MEASURES},
    }
