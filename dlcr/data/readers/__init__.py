"""Dataset readers, a module with `read(root) -> manifest` each; a further one joins by a line in READERS."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dlcr.data.manifest import check_manifest
from dlcr.data.readers import ccvid, folder, last, ltcc, minicc, prcc, vc_clothes

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "ccvid": ccvid.read,
    "folder": folder.read,
    "last": last.read,
    "ltcc": ltcc.read,
    "minicc": minicc.read,
    "prcc": prcc.read,
    "vc-clothes": vc_clothes.read,
}


def read_dataset(name: str, root: str | Path) -> pd.DataFrame:
    """Return the manifest of the dataset under `root`, read by the reader `name` (a key of READERS).

    Its image_ids are posix paths relative to `root`. Columns and types as `load_manifest`. Raises ValueError
    for an unknown name and for whatever the reader doesn't understand, naming file and reason;
    FileNotFoundError for `root`.
    """
    if name not in READERS:
        raise ValueError(f"no dataset reader {name!r}, expected one of {', '.join(sorted(READERS))}")
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder for the dataset reader {name!r}")
    return check_manifest(READERS[name](root), root)
