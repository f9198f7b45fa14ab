"""A generated set G = {(x̂_ij, s_i, c_ij)}: K re-clothed variants of every image, written file by file (Sec. 3.1).

A file holds one variant of one block of images. It is taken from the store, or from what DVC kept of the set before,
where everything that makes it is as it was. So a stopped run continues with the same bytes, and a larger K adds files
and changes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from dlcr.data import GENERATED_SCHEMA, fingerprint, read_table, write_shard
from dlcr.data.shards import MEASURES, checksum
from dlcr.inpainting.assign import assign_outfits
from dlcr.inpainting.garments import GARMENT, GARMENTS
from dlcr.inpainting.painters import Chunk, Painter, Sample
from dlcr.runtime.resume import make_files
from dlcr.runtime.store import Store, key_of

PLAN = ["image_id", "subject", "source_clothes", "target_clothes", "variant", "prompt", "seed", "skipped", "source"]

Read = Callable[[str], tuple[bytes, bytes]]
"""image_id to the encoded image and its encoded mask."""


@dataclass(frozen=True)
class Counts:
    """What a run did, in variants of images."""

    made: int
    taken: int
    skipped: int


def plan_set(
    images: pd.DataFrame,
    prompts: Mapping[str, str],
    k: int,
    seed: int,
    dataset: str,
    sources: Mapping[str, str],
    skipped: Mapping[str, str],
) -> pd.DataFrame:
    """What is to be made: one row a variant with the columns PLAN, variant-major and by image_id.

    images: columns image_id, subject, clothes. prompts: outfit text by clothes ID. sources: per image_id a checksum of
    all that is read for it (image, mask). skipped: reasons by image_id. Raises as `assign_outfits`.
    """
    clothes = images["clothes"].tolist()
    plan = assign_outfits(images["image_id"].tolist(), clothes, list(prompts), k, seed, dataset)
    worn = images.set_index("image_id")
    plan["subject"] = worn["subject"].loc[plan["image_id"]].to_numpy()
    plan["source_clothes"] = worn["clothes"].loc[plan["image_id"]].to_numpy()
    plan["prompt"] = [prompts[target] for target in plan["target_clothes"]]
    plan["skipped"] = [skipped.get(image_id, "") for image_id in plan["image_id"]]
    plan["source"] = [sources[image_id] for image_id in plan["image_id"]]
    return plan[PLAN]


def generate_set(
    folder: Path,
    plan: pd.DataFrame,
    build: Callable[[], Painter],
    read: Read,
    identity: dict,
    block: int,
    store: Store | None = None,
) -> Counts:
    """Write the files of a plan into `folder`, and remove its other *.arrow files.

    plan: as from `plan_set`, for sets of shown clothes as from `garments.choose_garments`.
    build: makes what paints, once in each process that works (`runtime.executor`) and only if something is to be made;
    picklable where there are several. identity: plain JSON data that says what paints (model weights, settings), the
    same for every K; kept in each file under "set". block: images in one file.
    """
    files = _files(plan, block)
    made = make_files(
        folder,
        files,
        build,
        payload=partial(_chunk, read),
        key=lambda rows: [identity, rows.to_numpy().tolist()],
        write=partial(_write, identity),
        desc=f"inpainting {folder.name}",
        store=store,
        same=partial(_same, identity),
    )
    skipped = sum(pc.sum(pc.not_equal(read_table(folder / name)["skipped"], "")).as_py() for name in files)
    return Counts(made, len(plan) - made, skipped)


def file_name(variant: int, block: int) -> str:
    """Names that sort variant-major."""
    return f"variant-{variant:03d}-block-{block:04d}.arrow"


def _files(plan: pd.DataFrame, block: int) -> dict[str, pd.DataFrame]:
    """The rows of each file by its name, block by block: all variants of a block follow each other."""
    image_ids = plan["image_id"].drop_duplicates()
    variants = dict(list(plan.groupby("variant", sort=True)))
    return {
        file_name(variant, number): rows.iloc[number * block : (number + 1) * block]
        for number in range(-(-len(image_ids) // block))
        for variant, rows in variants.items()
    }


def _same(identity: dict, path: Path, rows: pd.DataFrame) -> bool:
    """Whether a file says that it was made from the same by the same."""
    try:
        return fingerprint(path) == _made_by(identity, rows)
    except ValueError:  # not a file of ours
        return False


def _made_by(identity: dict, rows: pd.DataFrame) -> dict:
    """A file's fingerprint: what paints the set, one hash of all that this file is made from, and what was shown."""
    shown = {GARMENTS: rows[GARMENT].tolist()} if GARMENT in rows else {}
    return {"set": identity, "inputs": key_of(rows.to_numpy().tolist())} | shown


def _chunk(read: Read, rows: pd.DataFrame) -> Chunk:
    """What there is to paint for a file."""
    rows = rows[rows["skipped"] == ""]
    pixels = [read(image_id) for image_id in rows["image_id"]]
    shown = [(image_id, *read(image_id)) for image_id in rows[GARMENT]] if GARMENT in rows else None
    return Chunk(
        image_ids=rows["image_id"].tolist(),
        clothes=rows["target_clothes"].tolist(),
        prompts=rows["prompt"].tolist(),
        seeds=rows["seed"].tolist(),
        images=[image for image, _ in pixels],
        masks=[mask for _, mask in pixels],
        garments=shown,
    )


def _write(identity: dict, path: Path, rows: pd.DataFrame, samples: list[Sample]) -> None:
    """One file: the samples of the rows that are not skipped, and the others without an image."""
    wanted = rows.loc[rows["skipped"] == "", "image_id"]
    made = dict(zip(wanted, samples, strict=True))
    all_samples = [
        made.get(image_id) or Sample(None, reason, {})
        for image_id, reason in zip(rows["image_id"], rows["skipped"], strict=True)
    ]
    columns = {name: rows[name].tolist() for name in PLAN if name not in ("skipped", "source")}
    columns["skipped"] = [sample.skipped for sample in all_samples]
    columns["image"] = [sample.image for sample in all_samples]
    columns["checksum"] = ["" if data is None else checksum(data) for data in columns["image"]]
    columns |= {name: [sample.measures.get(name) for sample in all_samples] for name in MEASURES}
    write_shard(path, columns, GENERATED_SCHEMA, _made_by(identity, rows))
