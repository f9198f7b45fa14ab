"""A generated set for other people's code: `dlcr export SET --as strips|tree|parquet OUT` (docs/exchange.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlcr.exchange.cards import card
from dlcr.exchange.folders import new_folder
from dlcr.exchange.parquet import write_parquet
from dlcr.exchange.sources import Source, open_source
from dlcr.exchange.trees import write_tree
from dlcr.params import Params
from dlcr.runtime.files import write_text


@dataclass(frozen=True)
class Exported:
    """What an export wrote: variants, of how many images; how many were skipped; and what there is of the form."""

    variants: int
    images: int
    skipped: int
    says: str


def export_set(name: str, form: str, out: Path, params: Params, private: bool = False, gate: bool = False) -> Exported:
    """Write generated/<name> into the new folder `out`: as strips, tree or parquet.

    `out` appears when all is written, or not at all. private, gate and what is raised: as `open_source`; also
    ValueError for another form and an `out` that exists, and what the form's writer raises; OSError, which names `out`,
    where it cannot be written.
    """
    write = _writer(form)
    if os.path.lexists(out):
        raise ValueError(f"{out}: exists already; name a new folder")
    source = open_source(name, params, private, gate)
    with appearing(out) as folder:
        says = write(source, folder)
        if not (folder / "README.md").exists():
            write_text(folder / "README.md", card(source, says))
    return Exported(len(source.made), source.made["image_id"].nunique(), source.skipped, says)


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """As `new_folder`, with an OSError that names `out` when something cannot be written."""
    try:
        with new_folder(out) as part:
            yield part
    except OSError as error:
        raise OSError(f"{out}: cannot be written, and nothing was left there: {error}") from error


def _writer(form: str) -> Callable[[Source, Path], str]:
    """What writes a set in a form into a folder, and says what it wrote."""
    if form == "strips":
        from dlcr.exchange.strips import write_strips  # loads the diffusion library for seconds

        return write_strips
    if form not in ("tree", "parquet"):
        raise ValueError(f"--as {form}: expected strips, tree or parquet")
    return {"tree": write_tree, "parquet": write_parquet}[form]
