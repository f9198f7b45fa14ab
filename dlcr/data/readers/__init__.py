"""Dataset readers: a module of this folder is one, named as it is in params.yaml ("vc-clothes": vc_clothes.py)."""

from pathlib import Path

import pandas as pd

from dlcr.data.manifest import check_manifest
from dlcr.data.reader import Reader
from dlcr.runtime.registry import find_entry


def find_reader(name: str) -> Reader:
    """The reader `name`. Raises ValueError that lists the readers there are."""
    return find_entry(__name__, name, "dataset reader").READER


def read_dataset(name: str, root: str | Path) -> pd.DataFrame:
    """Return the manifest of the dataset under `root`, read by the reader `name`.

    Its image_ids are posix paths relative to `root`. Columns and types as `load_manifest`. Raises ValueError
    for an unknown name and for whatever the reader doesn't understand, naming file and reason;
    FileNotFoundError for `root`.
    """
    reader, root = find_reader(name), Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder for the dataset reader {name!r}")
    return check_manifest(reader.read(root), root)
