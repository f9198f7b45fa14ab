"""A dataset in its own published layout, with variants as more images of the same people in new clothes.

Clothes IDs are numbered: the n-th outfit of a set (`target_clothes` in order) has the same number for all people, above
all numbers that the dataset's own clothes IDs end with. A layout writes that number where the public code looks for
clothes. What that code is, and what it does with the names: docs/exchange.md.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from dlcr.data import check_manifest, open_images
from dlcr.data.readers.folder import NEEDED, OPTIONAL
from dlcr.exchange.sources import Source
from dlcr.runtime.files import write_text
from dlcr.runtime.progress import progress

DIGITS = 9
"""The longest number that this project's readers take in a name."""


class Place(NamedTuple):
    """Where a variant lies below the layout's top, and its labels there."""

    image: str
    clothes: str
    frame: int
    tracklet: str = ""


@dataclass(frozen=True)
class Layout:
    """A published layout.

    top: the folders above the splits. place: from a row of `Source.made`, the number of its outfit, and a number that
    no other variant has (as digits, all equally many) to its place. lists: from the tree's manifest, with paths below
    `top`, to other files that the public code reads, by name.
    """

    top: str
    place: Callable[[NamedTuple, int, str], Place]
    lists: Callable[[pd.DataFrame], Mapping[str, str]] = lambda manifest: {}


def write_tree(source: Source, folder: Path) -> str:
    """Write the dataset of a set with its variants into `folder`. Returns what was written.

    The originals are the packed bytes, the variants those of the set (PNG, whatever the ending of the name: code that
    opens images goes by their content). manifest.csv holds exact labels, as dataset reader `folder` reads them;
    variants.csv says what each variant was made from. Raises ValueError for a dataset without a published layout,
    variants of test images, and labels that its layout cannot write.
    """
    layout = _layout(source)
    tops = _own_top(source.manifest["image_id"], layout.top)
    originals = source.manifest.assign(image_id=source.manifest["image_id"].str[tops:])
    variants = source.made.assign(source=source.made["image_id"])
    places = pd.DataFrame(_places(variants, layout, _outfits(source)), columns=Place._fields)
    variants = variants.assign(image_id=places["image"], **places.drop(columns="image"))
    columns = originals.columns.tolist()
    manifest = check_manifest(pd.concat([originals[columns], variants[columns]]), f"{source.name} as a tree")
    with progress(len(manifest), f"export {source.name}") as bar:
        images = open_images(source.dataset / "images")
        keys = source.manifest["image_id"]
        for path, image_id in zip(originals["image_id"], keys, strict=True):
            _write(folder / layout.top / path, images.encoded(image_id))
            bar.update(1)
        for row in variants.itertuples():
            _write(folder / layout.top / row.image_id, source.generated.encoded(row.source, row.variant))
            bar.update(1)
    for name, text in layout.lists(manifest).items():
        write_text(folder / layout.top / name, text)
    above = f"{layout.top}/" if layout.top else ""
    labels = pd.concat([originals, variants]).rename(columns={"image_id": "image"})
    labels["image"] = above + labels["image"]
    _write_table(folder / "manifest.csv", labels[[*NEEDED, *OPTIONAL]])
    details = ["image", "source", "variant", "target_clothes", "prompt", "seed", "checksum"]
    _write_table(folder / "variants.csv", variants.assign(image=above + variants["image_id"])[details])
    return f"{len(originals)} images of the dataset and {len(variants)} variants, in {layout.top or 'one folder'}"


def _layout(source: Source) -> Layout:
    if source.reader not in LAYOUTS:
        raise ValueError(
            f"{source.name}: dataset reader {source.reader!r} has no published folder layout; those of "
            f"{', '.join(sorted(LAYOUTS))} have; export strips or parquet"
        )
    tested = set(source.made["split"]) - {"train"}
    if tested:
        raise ValueError(
            f"{source.name}: variants of split {min(tested)} would change the test; export strips or parquet"
        )
    return LAYOUTS[source.reader]


def _own_top(image_ids: pd.Series, top: str) -> int:
    """How many characters of the image_ids are the layout's top or its last folders: a dataset can be packed from
    several of them."""
    parts = top.split("/") if top else []
    for start in range(len(parts)):
        prefix = "/".join(parts[start:]) + "/"
        if image_ids.str.startswith(prefix).all():
            return len(prefix)
    return 0


def _outfits(source: Source) -> dict[str, int]:
    """The outfits' numbers, by target clothes."""
    own = source.manifest["clothes"].str.extract(r"(\d{1,9})$", expand=False).dropna().astype(int)
    first = int(own.max()) + 1 if len(own) else 1
    return {clothes: number for number, clothes in enumerate(sorted(set(source.made["target_clothes"])), start=first)}


def _places(variants: pd.DataFrame, layout: Layout, outfits: Mapping[str, int]) -> Iterator[Place]:
    width = max(len(str(len(variants))), 5)
    for number, row in enumerate(variants.itertuples(), start=1):
        yield layout.place(row, outfits[row.target_clothes], f"{number:0{width}d}")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n"))


def _prcc(row: NamedTuple, outfit: int, number: str) -> Place:
    """train/<zeros><pid>/<camera>_cropped_rgb<number>.jpg: the folder is another way to write the same number, so that
    int() gives the person and the name itself the clothes. Its zeros are the outfit's binary digits, 1 as "0_"."""
    code = "".join("0_" if digit == "1" else "0" for digit in f"{outfit:b}")
    image = f"train/{code}{row.subject}/{row.camera}_cropped_rgb{number}.jpg"
    return Place(image, f"{row.subject}-{outfit}", int(number))


def _ltcc(row: NamedTuple, outfit: int, number: str) -> Place:
    """train/<pid>_<clothes>_c<camera>_<number>.png"""
    image = f"train/{row.subject}_{outfit}_c{row.camera}_{number}.png"
    return Place(image, f"{row.subject}-{outfit}", int(number))


def _vc_clothes(row: NamedTuple, outfit: int, number: str) -> Place:
    """train/<pid>-<camera>-<clothes>-<number>.jpg"""
    image = f"train/{row.subject}-{int(row.camera):02d}-{outfit:02d}-{number}.jpg"
    return Place(image, f"{row.subject}-{outfit:02d}", int(number))


def _last(row: NamedTuple, outfit: int, number: str) -> Place:
    """train/<pid>/<pid>_v<number>_<clothes>.jpg"""
    folder, name = PurePosixPath(row.image_id).parts[-2:]
    first = name.split("_")[0]
    return Place(f"train/{folder}/{first}_v{number}_{outfit}.jpg", f"{row.subject}-{first}_{outfit}", 0)


def _ccvid(row: NamedTuple, outfit: int, number: str) -> Place:
    """session<n>/<pid><outfit>_<camera>/<number>.jpg: those frames of a tracklet that wear an outfit are a tracklet of
    their own, which train.txt lists with the person and clothes v<outfit>."""
    found = re.fullmatch(r"(session\d)/(\d+)_(\d+)", row.tracklet)
    if found is None or len(f"{found[2]}{outfit:05d}") > DIGITS:
        raise ValueError(
            f"{row.image_id}: tracklet {row.tracklet!r} has no room for outfit {outfit}; expected "
            f"session<n>/<pid>_<camera>, and at most {DIGITS} digits for person and outfit"
        )
    tracklet = f"{found[1]}/{found[2]}{outfit:05d}_{found[3]}"
    return Place(f"{tracklet}/{number}.jpg", f"{row.subject}-v{outfit}", int(number), tracklet)


def _folder(row: NamedTuple, outfit: int, number: str) -> Place:
    """variants/<number>.png: manifest.csv has the labels."""
    tracklet = f"{row.tracklet}-outfit-{outfit}" if row.tracklet else ""
    return Place(f"variants/{number}.png", f"{row.subject}-outfit-{outfit}", row.frame, tracklet)


def _ltcc_lists(manifest: pd.DataFrame) -> dict[str, str]:
    """info/cloth-change_id_train.txt and so on: the people with several outfits, and with one, a number on each line,
    as they are in this tree."""
    found = {}
    for part, rows in manifest.groupby(manifest["split"].eq("train").map({True: "train", False: "test"})):
        outfits = rows.groupby("subject")["clothes"].nunique()
        for kind, subjects in (("change", outfits.index[outfits > 1]), ("unchange", outfits.index[outfits == 1])):
            numbers = sorted(map(int, subjects))
            found[f"info/cloth-{kind}_id_{part}.txt"] = "".join(f"{number}\n" for number in numbers)
    return found


def _ccvid_lists(manifest: pd.DataFrame) -> dict[str, str]:
    """train.txt, query.txt and gallery.txt: tracklet, person and clothes, with tabs."""
    tracklets = manifest.drop_duplicates("tracklet")
    lines = {split: [] for split in ("train", "query", "gallery")}
    for row in tracklets.itertuples():
        clothes = row.clothes.removeprefix(f"{row.subject}-")
        lines[row.split].append(f"{row.tracklet}\t{row.subject}\t{clothes}\n")
    return {f"{split}.txt": "".join(found) for split, found in lines.items()}


LAYOUTS = {
    "prcc": Layout("prcc/rgb", _prcc),
    "ltcc": Layout("LTCC_ReID", _ltcc, _ltcc_lists),
    "vc-clothes": Layout("VC-Clothes", _vc_clothes),
    "last": Layout("last", _last),
    "ccvid": Layout("CCVID", _ccvid, _ccvid_lists),
    "folder": Layout("", _folder),
}
