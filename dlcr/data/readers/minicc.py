"""MiniCC: rendered by `python -m stages.prepare`, so its own packed folder (data/minicc) is its layout."""

from pathlib import Path

import pandas as pd

from dlcr.data.manifest import load_manifest
from dlcr.data.reader import Reader


def read(root: Path) -> pd.DataFrame:
    """Return the manifest of the packed folder `root`; its image_ids are keys of `root/images`."""
    return load_manifest(root)


READER = Reader("MiniCC", read, single_shot=True, pixels=96 * 48)
