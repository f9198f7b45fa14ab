"""VC-Clothes (Wan et al., 2020), rendered: four cameras. Cameras 2 and 3 show the same clothes, 3 and 4 different ones.

VC-Clothes/{train,query,gallery}/<subject>-<camera>-<clothes>-<number>.jpg
"""

import re
from pathlib import Path

import pandas as pd

from dlcr.data import walk
from dlcr.data.reader import Compared, Reader

LAYOUT = "VC-Clothes/{train,query,gallery}/<pid>-<camera>-<clothes>-<number>.jpg"
PUBLISHED = {"train": 9_449, "query": 1_020, "gallery": 8_591}
_NAME = re.compile(r"(\d{1,9})-(\d{1,9})-(\d{1,9})-(\d{1,9})\.(?i:jpg|jpeg)", re.ASCII)
_SPLITS = {"train": "train", "query": "query", "gallery": "gallery"}


def read(root: Path) -> pd.DataFrame:
    """Return the manifest of VC-Clothes. `root` holds `VC-Clothes` or is it; image_ids start there.

    Clothes IDs are <subject>-<clothes>, cameras numbers without leading zeros, all from the file's own name. Raises
    and warns as `ltcc.read`.
    """

    def labels_of(match: re.Match) -> dict:
        subject, camera, clothes, number = match.groups()
        return {
            "subject": subject,
            "clothes": f"{subject}-{clothes}",
            "camera": str(int(camera)),
            "frame": int(number),
        }

    return walk.read_flat(
        root, "VC-Clothes", "VC-Clothes", _SPLITS, (), _NAME, "0001-01-02-03.jpg", labels_of, PUBLISHED, LAYOUT
    )


# People change clothes between cameras 3 and 4, and not between 2 and 3. CAL leaves out the images of a query's subject
# on the query's camera alone, whatever they wear (`test` of Simple-CCReID test.py).
READER = Reader(
    "VC-Clothes",
    read,
    PUBLISHED,
    protocol={
        "cc": Compared(("query",), ("3", "4")),
        "sc": Compared(("query",), ("2", "3")),
        "general": Compared(("query",)),
    },
    camera_alone=True,
)
