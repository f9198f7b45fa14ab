"""A generated set G = {(x̂_ij, s_i, c_ij)}: K re-clothed variants of every image, written file by file (Sec. 3.1).

A file holds one variant of one block of images. It is taken from the store, or from what DVC kept of the set before,
where everything that makes it is as it was. So a stopped run continues with the same bytes, and a larger K adds files
and changes none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import diffusers
import pandas as pd
import pyarrow.compute as pc
import torch

import dlcr.minicc
from dlcr.data import GENERATED_SCHEMA, fingerprint, read_table, write_shard
from dlcr.data.shards import MEASURES, checksum
from dlcr.inpainting import diffusion, discriminator, expander, painters, quality, recolour
from dlcr.inpainting.assign import assign_outfits
from dlcr.inpainting.painters import Chunk, Painter, Sample
from dlcr.runtime.checkpoint import code_hash
from dlcr.runtime.earlier import adopt, earlier_files
from dlcr.runtime.executor import run_chunks
from dlcr.runtime.files import remove_leftovers
from dlcr.runtime.progress import progress
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

    build: makes what paints, once in each process that works (`runtime.executor`) and only if something is to be made;
    picklable where there are several. identity: plain JSON data that says what paints (model weights, settings), the
    same for every K; kept in each file under "set". block: images in one file.
    """
    store = store or Store()
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    files = _files(plan, block)
    for stale in folder.glob("*.arrow"):
        if stale.name not in files:
            stale.unlink()
    with progress(len(plan), f"inpainting {folder.name}") as bar, ThreadPoolExecutor(1) as writer:
        missing = {name: rows for name, rows in files.items() if not store.take(_key(rows, identity), folder / name)}
        if missing:
            missing = _without_earlier(folder, missing, identity, store)
        bar.update(len(plan) - sum(len(rows) for rows in missing.values()))
        written: Future | None = None
        with closing(run_chunks(build, _chunks(missing, read), folder.name)) as results:
            for name, samples in results:
                if written is not None:
                    written.result()  # so that one file waits at most, and no failure is lost
                written = writer.submit(_write, folder / name, files[name], samples, identity, store)
                bar.update(len(files[name]))
        if written is not None:
            written.result()
    made = sum(len(rows) for rows in missing.values())
    skipped = sum(pc.sum(pc.not_equal(read_table(folder / name)["skipped"], "")).as_py() for name in files)
    return Counts(made, len(plan) - made, skipped)


def file_name(variant: int, block: int) -> str:
    """Names that sort variant-major."""
    return f"variant-{variant:03d}-block-{block:04d}.arrow"


def versions() -> dict[str, str]:
    """The code and libraries that decide about pixels; part of the store's keys, not of the files."""
    code = hashlib.sha256()
    for module in (diffusion, discriminator, expander, painters, quality, recolour):
        code.update(Path(module.__file__).read_bytes())
    minicc = code_hash(dlcr.minicc)  # draws the kind `oracle`
    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "code": code.hexdigest(), "minicc": minicc}


def _files(plan: pd.DataFrame, block: int) -> dict[str, pd.DataFrame]:
    """The rows of each file by its name, block by block: all variants of a block follow each other."""
    image_ids = plan["image_id"].drop_duplicates()
    variants = dict(list(plan.groupby("variant", sort=True)))
    return {
        file_name(variant, number): rows.iloc[number * block : (number + 1) * block]
        for number in range(-(-len(image_ids) // block))
        for variant, rows in variants.items()
    }


def _without_earlier(
    folder: Path, files: dict[str, pd.DataFrame], identity: dict, store: Store
) -> dict[str, pd.DataFrame]:
    """The files still missing after DVC's cache was asked for what the set held before; the store gets what it had."""
    earlier = earlier_files(folder)
    missing = {}
    for name, rows in files.items():
        # Adopting verifies the file: only then its fingerprint is worth reading.
        if name in earlier and adopt(earlier[name], folder / name) and _same(folder / name, rows, identity):
            store.put(_key(rows, identity), folder / name)
        else:
            missing[name] = rows
    return missing


def _same(path: Path, rows: pd.DataFrame, identity: dict) -> bool:
    """Whether a file says that it was made from the same by the same."""
    try:
        return fingerprint(path) == _made_by(rows, identity)
    except ValueError:  # not a file of ours
        return False


def _key(rows: pd.DataFrame, identity: dict) -> str:
    return key_of([identity, versions(), rows.to_numpy().tolist()])


def _made_by(rows: pd.DataFrame, identity: dict) -> dict:
    """A file's fingerprint: what paints the set, and one hash of all that this file is made from."""
    return {"set": identity, "inputs": key_of(rows.to_numpy().tolist())}


def _chunks(files: Mapping[str, pd.DataFrame], read: Read) -> Iterator[tuple[str, Callable[[], Chunk]]]:
    """What there is to paint for each file; pixels are read only when a chunk is about to be worked on."""
    for name, rows in files.items():
        yield name, partial(_chunk, rows[rows["skipped"] == ""], read)


def _chunk(rows: pd.DataFrame, read: Read) -> Chunk:
    pixels = [read(image_id) for image_id in rows["image_id"]]
    return Chunk(
        image_ids=rows["image_id"].tolist(),
        clothes=rows["target_clothes"].tolist(),
        prompts=rows["prompt"].tolist(),
        seeds=rows["seed"].tolist(),
        images=[image for image, _ in pixels],
        masks=[mask for _, mask in pixels],
    )


def _write(path: Path, rows: pd.DataFrame, samples: list[Sample], identity: dict, store: Store) -> None:
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
    write_shard(path, columns, GENERATED_SCHEMA, _made_by(rows, identity))
    store.put(_key(rows, identity), path)
