"""Prompt alignment of a generated set: how much of each variant's prompt a describer reads back from the picture.

One small file for each of the set's own, in `generated/<set>/alignment/`, kept in the store alike: a larger K measures
only the new variants. It costs one description per variant, and is made only where `quality.alignment` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from dlcr.data import ALIGNMENT_SCHEMA, read_table, shard_paths, write_shard
from dlcr.data.generated import ALIGNMENT
from dlcr.inpainting.quality import word_alignment
from dlcr.prompts.answers import answerer
from dlcr.runtime.resume import make_files
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import Store

Shown = Sequence[tuple[bytes | None, str, int]]
"""Variants of one file: the encoded image, None where there is none, the prompt that it was made with, and a seed."""


def align_set(
    folder: Path, build: Callable[[], Callable[[Shown], list[float | None]]], identity: dict, store: Store | None = None
) -> int:
    """Write `folder`/alignment for all files of the set; return how many variants were described now.

    build: as `alignment_judge`, with its arguments. identity: plain JSON data that says who judges.
    """
    return make_files(
        folder / ALIGNMENT,
        {path.name: read_table(path) for path in shard_paths(folder)},
        build,
        payload=_shown,
        key=lambda table: [identity, table["checksum"].to_pylist()],
        write=partial(_write, identity),
        desc=f"alignment of {folder.name}",
        store=store,
    )


def alignment_judge(model: str, settings: Mapping) -> Callable[[Shown], list[float | None]]:
    """A describer as judge. settings: the section `describe` of params.yaml."""
    answer = answerer(model, settings)

    def judge(shown: Shown) -> list[float | None]:
        answers = answer([("variant", image or b"", seed) for image, _, seed in shown])
        return [
            None if said is None else word_alignment(prompt, said)
            for (_, prompt, _), said in zip(shown, answers, strict=True)
        ]

    return judge


def _shown(table: pa.Table) -> Shown:
    ids, variants = table["image_id"].to_pylist(), table["variant"].to_pylist()
    seeds = [seed_of("alignment", *row) for row in zip(ids, variants, strict=True)]
    return list(zip(table["image"].to_pylist(), table["prompt"].to_pylist(), seeds, strict=True))


def _write(identity: dict, path: Path, table: pa.Table, values: list[float | None]) -> None:
    columns = {key: table[key].to_pylist() for key in ("image_id", "variant")} | {"alignment": values}
    write_shard(path, columns, ALIGNMENT_SCHEMA, {"judge": identity})
