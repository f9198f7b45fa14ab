"""Prompt alignment of a generated set: how much of each variant's prompt a describer reads back from the picture.

One small file for each of the set's own, in `generated/<set>/alignment/`, kept in the store alike: a larger K measures
only the new variants. It costs a description a variant, and is made only where `quality.alignment` asks for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dlcr.prompts
from dlcr.data import ALIGNMENT_SCHEMA, decode_rgb, read_table, shard_paths, write_shard
from dlcr.data.generated import ALIGNMENT
from dlcr.inpainting.quality import word_alignment
from dlcr.prompts import describe, load_describer
from dlcr.runtime.checkpoint import code_hash
from dlcr.runtime.executor import run_chunks
from dlcr.runtime.memory import Batch
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import Store, key_of


@dataclass(frozen=True)
class Shown:
    """Variants of one file: encoded images, None where there is none, the prompts they were made with, and seeds."""

    images: list[bytes | None]
    prompts: list[str]
    seeds: list[int]


def align_set(
    folder: Path, build: Callable[[], Callable[[Shown], list[float | None]]], identity: dict, store: Store | None = None
) -> int:
    """Write `folder`/alignment for all files of the set; return how many variants were described now.

    build: as `alignment_judge`, with its arguments. identity: plain JSON data that says who judges.
    """
    store = store or Store()
    target = folder / ALIGNMENT
    shutil.rmtree(target, ignore_errors=True)
    tables = {path.name: read_table(path) for path in shard_paths(folder)}
    code = code_hash(dlcr.prompts)
    keys = {name: key_of([identity, code, table["checksum"].to_pylist()]) for name, table in tables.items()}
    missing = {name: table for name, table in tables.items() if not store.take(keys[name], target / name)}
    rows = sum(table.num_rows for table in missing.values())
    results = run_chunks(build, _chunks(missing), "alignment")
    with progress(rows, f"alignment of {folder.name}") as bar, closing(results):
        for name, values in results:
            columns = {key: missing[name][key].to_pylist() for key in ("image_id", "variant")} | {"alignment": values}
            write_shard(target / name, columns, ALIGNMENT_SCHEMA, {"judge": identity})
            store.put(keys[name], target / name)
            bar.update(len(values))
    return rows


def alignment_judge(model: str, settings: Mapping) -> Callable[[Shown], list[float | None]]:
    """A describer as judge.

    settings: `question`, `temperature`, `max_new_tokens` and `batch` of the section describe.
    """
    describer, batch = load_describer(model), Batch(settings["batch"])

    def ask(rows: Sequence[tuple[bytes, int]]) -> list[str]:
        images = [decode_rgb(image, "variant") for image, _ in rows]
        seeds = [seed for _, seed in rows]
        return describe(
            describer, images, settings["question"], settings["temperature"], settings["max_new_tokens"], seeds
        )

    def judge(shown: Shown) -> list[float | None]:
        there = [place for place, image in enumerate(shown.images) if image is not None]
        answers = batch.run(ask, [(shown.images[place], shown.seeds[place]) for place in there])
        values: list[float | None] = [None] * len(shown.images)
        for place, answer in zip(there, answers, strict=True):
            values[place] = word_alignment(shown.prompts[place], answer)
        return values

    return judge


def _chunks(tables: Mapping) -> Iterator[tuple[str, Callable[[], Shown]]]:
    for name, table in tables.items():
        yield name, partial(_shown, table)


def _shown(table: object) -> Shown:
    ids, variants = table["image_id"].to_pylist(), table["variant"].to_pylist()
    seeds = [seed_of("alignment", *row) for row in zip(ids, variants, strict=True)]
    return Shown(table["image"].to_pylist(), table["prompt"].to_pylist(), seeds)
