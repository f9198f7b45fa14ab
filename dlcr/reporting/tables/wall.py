"""What every stage took on this machine, sorted; the columns that DVC's stages record, NaN where one does not."""

import pandas as pd

from dlcr.reporting.cells import NONE, counted, timed
from dlcr.reporting.formats import duration
from dlcr.reporting.parts import Mark
from dlcr.reporting.tables.specs import Sources, Spec

TITLES = {
    "epoch_seconds": ("Seconds an epoch", 1),
    "images": ("Images", 0),
    "images_per_second": ("Images/s", 1),
    "peak_memory_mb": ("Peak memory, MB", 0),
}
"""By column its heading and digits."""


def numbers(sources: Sources) -> pd.DataFrame:
    table = sources.timings.reindex(columns=["stage", "name", "seconds", *TITLES])
    return table.sort_values(["stage", "name"], ignore_index=True)


def view(row: dict, mark: Mark) -> dict:
    shown = {"Stage": row["stage"], "Name": row["name"], "Wall time": timed(row["seconds"], mark, duration)}
    return shown | {title: counted(row[name], mark, NONE, digits) for name, (title, digits) in TITLES.items()}


SPEC = Spec(
    name="wall",
    place=180,
    title="What every stage took on this machine",
    folder="timings",
    numbers=numbers,
    view=view,
    shown=("Stage", "Name", "Wall time", *(title for title, _ in TITLES.values())),
)
