"""LTCC (Qian et al., 2020): 12 cameras, several outfits per person. It may not be redistributed.

LTCC_ReID/{train,query,test}/<subject>_<clothes>_c<camera>_<frame>.png; the gallery is `test`.
"""

import re
from pathlib import Path

import pandas as pd

from dlcr.data import walk
from dlcr.data.reader import Reader

LAYOUT = "LTCC_ReID/{train,query,test}/<pid>_<clothes>_c<camera>_<frame>.png"
PUBLISHED = {"train": 9_576, "query": 493, "gallery": 7_050}
_NAME = re.compile(r"(\d{1,9})_(\d{1,9})_c(\d{1,9})_(\d{1,9})\.(?i:png)", re.ASCII)
_SPLITS = {"train": "train", "query": "query", "test": "gallery"}
_OTHERS = ("info",)  # lists of subjects, part of the release


def read(root: Path) -> pd.DataFrame:
    """Return LTCC's manifest. `root` holds `LTCC_ReID` or is it; image_ids start there.

    Clothes IDs are <subject>-<clothes>, all from the file's own name. Raises ValueError for another layout and, all
    at once, for files that don't fit it; warns of strays and of counts that differ from the published ones.
    """

    def labels_of(match: re.Match) -> dict:
        subject, clothes, camera, frame = match.groups()
        return {"subject": subject, "clothes": f"{subject}-{clothes}", "camera": camera, "frame": int(frame)}

    return walk.read_flat(
        root, "LTCC", "LTCC_ReID", _SPLITS, _OTHERS, _NAME, "0001_1_c2_000003.png", labels_of, PUBLISHED, LAYOUT
    )


READER = Reader("LTCC", read, PUBLISHED, redistributable=False)
