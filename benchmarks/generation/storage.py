"""DVC's add, status and checkout of a generated set of PRCC's size, as shards and as loose files.

    python -m benchmarks.generation --case storage

Last: of 178,960 images of 2 to 4 KB, shards are 12 times faster to add, 18 to check, 23 to check out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import VARIANTS, best_of, timed
from dlcr.data import GENERATED_SCHEMA, write_shard
from dlcr.data.shards import checksum

PRCC = 17_896  # training images
BLOCK = 256  # images in one shard of the generated set


def storage(scale: float) -> dict:
    """DVC's add, status and checkout of the same made-up variants as shards and as loose files."""
    count = max(2, round(scale * PRCC))
    with tempfile.TemporaryDirectory() as name:
        dvc = Dvc(Path(name))
        loose, shards = dvc.repository("loose"), dvc.repository("shards")
        empty, _ = timed(lambda: dvc.run(shards, "status"))
        size, files = write_variants(loose / "set", shards / "set", count)
        adding = [timed(lambda where=where: dvc.run(where, "add", "set"))[0] for where in (loose, shards)]
        status = best_of(*(lambda where=where: dvc.run(where, "status") for where in (loose, shards)))
        checkout = np.min([[dvc.checkout(where) for where in (loose, shards)] for _ in range(2)], axis=0).tolist()
    found = {
        "images": count * VARIANTS,
        "GB": size / 1e9,
        "shards": files,
        "dvc status of an empty repository (s)": empty,
    }
    for verb, (one, other) in {"add": adding, "status": status, "checkout": checkout}.items():
        found[f"dvc {verb}, loose files (s)"] = one
        found[f"dvc {verb}, shards (s)"] = other
        found[f"dvc {verb}, times faster"] = one / other
    return found


class Dvc(NamedTuple):
    """DVC in repositories below `folder`, with nothing of it elsewhere."""

    folder: Path

    def repository(self, name: str) -> Path:
        """A new repository."""
        where = self.folder / name
        subprocess.run(["git", "init", "--quiet", str(where)], check=True)
        self.run(where, "init", "--quiet")
        return where

    def run(self, where: Path, *arguments: str) -> None:
        """One command of DVC's."""
        own = {f"DVC_{kind}": str(self.folder / kind) for kind in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR")}
        environment = os.environ | own | {"DVC_NO_ANALYTICS": "1"}
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=where, env=environment, check=True, capture_output=True)

    def checkout(self, where: Path) -> float:
        """Seconds of a checkout after the set is gone."""
        shutil.rmtree(where / "set")
        return timed(lambda: self.run(where, "checkout"))[0]


def write_variants(loose: Path, shards: Path, count: int) -> tuple[int, int]:
    """VARIANTS variants of `count` images of 2 to 4 KB of noise, as loose files and as shards: bytes and shards."""
    rng = np.random.default_rng(0)
    size = files = 0
    for variant in range(VARIANTS):
        for first in range(0, count, BLOCK):
            ids = [f"train/{number:06d}.png" for number in range(first, min(first + BLOCK, count))]
            images = [b"\x89PNG\r\n\x1a\n" + rng.bytes(length) for length in rng.integers(2048, 4096, len(ids))]
            for image_id, data in zip(ids, images, strict=True):
                file = loose / f"{variant:03d}" / image_id
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            columns = {field.name: ["x" if field.type == "string" else 0] * len(ids) for field in GENERATED_SCHEMA}
            columns |= {"image_id": ids, "variant": [variant] * len(ids)}
            columns |= {"image": images, "checksum": [checksum(data) for data in images]}
            path = shards / f"variant-{variant:03d}-block-{first // BLOCK:04d}.arrow"
            write_shard(path, columns, GENERATED_SCHEMA, {"set": "made up"})
            size += sum(map(len, images))
            files += 1
    return size, files
