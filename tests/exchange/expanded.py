"""Packed datasets in the published layouts, each with a generated set of noise, and the params.yaml that lists them."""

import shutil
import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from exchange.people import make_people
from layouts import LISTS, image, tree

from dlcr.data import GENERATED_SCHEMA, encode_png, load_manifest, read_dataset, write_shard
from dlcr.data.pack import pack
from dlcr.data.shards import MEASURES, checksum

# More training images, of several people, outfits and cameras.
MORE = {
    "prcc": [f"train/{p}/{c}_cropped_rgb00{n}.jpg" for p in ("001", "002") for c in "ABC" for n in (5, 6)],
    "ltcc": [f"train/{p}_{o}_c{c}_000005.png" for p in ("008", "009") for o in (1, 2) for c in (1, 3)],
    "vc-clothes": [f"train/{p}-{c}-{o}-05.jpg" for p in ("0001", "0002") for c, o in (("02", "01"), ("04", "02"))],
    "last": [f"train/{p}/{p}_film_v2_{o}.jpg" for p in ("000001", "000002") for o in (1, 2)],
    "ccvid": [f"session{s}/{p}_0{s}/0000{f}.jpg" for s in (1, 3) for p in ("001", "002") for f in (2, 3, 4)],
}
PRIVATE = ("ltcc",)


def make_dataset(reader: str, folder: Path) -> pd.DataFrame:
    """data/<reader> below `folder`, packed from the published layout; `people` are of reader `folder`. Returns the
    manifest."""
    if reader in ("minicc", "people"):
        return make_people(folder / "data" / reader)
    top = tree(reader, folder / "original")
    for file in MORE[reader]:
        image(top / file)
    if reader == "ccvid":
        listed = dict.fromkeys(path.rsplit("/", 1)[0] for path in MORE["ccvid"])
        lines = [f"{name}\t{name.split('/')[1].split('_')[0]}\tu{name[7]}_l0\n" for name in listed]
        old = LISTS["train.txt"]
        (top / "train.txt").write_text(old + "".join(line for line in lines if line.split("\t")[0] not in old))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the counts differ from the published ones
        manifest = read_dataset(reader, folder / "original")
    source = folder / "original"
    pack(manifest, lambda image_id: (source / image_id).read_bytes(), folder / "data" / reader, {"dataset": reader})
    return load_manifest(folder / "data" / reader)


def make_set(
    folder: Path, manifest: pd.DataFrame, dataset: str, k: int = 2, skipped: Collection[tuple[str, int]] = (), **extra
) -> dict[tuple[str, int], bytes]:
    """Write noise as a generated set of the training images. Returns the encoded variants that there are.

    extra: columns that replace the usual ones, by name a function of a row of the manifest and its variant.
    """
    rng = np.random.default_rng(0)
    rows = manifest[manifest["split"] == extra.pop("split", "train")]
    outfits = sorted(set(manifest["clothes"]) - {""})
    encoded = {}
    for variant in range(k):
        columns = {name: [] for name in GENERATED_SCHEMA.names}
        for number, row in enumerate(rows.itertuples()):
            others = [clothes for clothes in outfits if clothes != row.clothes]
            data = encode_png(rng.integers(0, 256, (row.height, row.width, 3), np.uint8))
            gone = (row.image_id, variant) in skipped
            if not gone:
                encoded[row.image_id, variant] = data
            values = {
                "image_id": row.image_id,
                "subject": row.subject,
                "source_clothes": row.clothes,
                "target_clothes": others[(number + variant) % len(others)],
                "variant": variant,
                "prompt": f'Gray shirt| shade {number % 3}, "{variant}" jeans',
                "seed": number,
                "image": None if gone else data,
                "checksum": "" if gone else checksum(data),
                "skipped": "empty mask" if gone else "",
                **dict.fromkeys(MEASURES, None if gone else 0.25 * (number % 4)),
            } | {name: value(row, variant) for name, value in extra.items()}
            for name, value in values.items():
                columns[name].append(value)
        made_by = {"set": {"kind": "released", "dataset": dataset, "model": "noise@abc"}}
        folder.mkdir(parents=True, exist_ok=True)
        write_shard(folder / f"variant-{variant:03d}-block-0000.arrow", columns, GENERATED_SCHEMA, made_by)
    return encoded


def write_params(repository: Path, folder: Path, *readers: str) -> None:
    """params.yaml of profile smoke, with datasets named as their readers, and imported sets <reader>-set of them."""
    params = yaml.safe_load((repository / "profiles" / "smoke.yaml").read_text())
    for reader in readers:
        section = params["private"] if reader in PRIVATE else params
        section["datasets"][reader] = {
            "reader": "folder" if reader == "people" else reader,
            "source": f"datasets/{reader}",
        }
        section["imported"][f"{reader}-set"] = {"dataset": reader}
    params["quality"] |= {"min_change": 0.3, "min_seam": 0.0, "min_spread": 0.0, "min_smoothness": 0.0}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def make_workplace(repository: Path, folder: Path, reader: str, **settings) -> dict[tuple[str, int], bytes]:
    """data/, generated/ and params.yaml below `folder`, as of a run; the encoded variants."""
    manifest = make_dataset(reader, folder)
    write_params(repository, folder, *([] if reader == "minicc" else [reader]))
    name = "inpainting" if reader == "minicc" else f"{reader}-set"
    shutil.rmtree(folder / "original", ignore_errors=True)  # an export needs what is packed alone
    return make_set(folder / "generated" / name, manifest, reader, **settings)
