"""LaST (Shu et al., 2021): people in films, no cameras; clothes are known for the training images only.

last/train/<subject>/*.jpg, last/{val,test}/query/<subject>_*.jpg, last/{val,test}/gallery/<subject>/*.jpg
"""

import re
from pathlib import Path

import pandas as pd

from dlcr.data import walk
from dlcr.data.reader import Reader

LAYOUT = "last/train/<pid>/*.jpg, last/{val,test}/query/<pid>_*.jpg and last/{val,test}/gallery/<pid>/*.jpg"
PUBLISHED = {"train": 71_248, "query": 10_176, "gallery": 125_353}
_NAME = re.compile(r"(\d{1,9})_.*\.(?i:jpg|jpeg)", re.ASCII)
_SUBJECT = re.compile(r"\d{1,9}", re.ASCII)


def read(root: Path) -> pd.DataFrame:
    """Return LaST's manifest. `root` holds `last` or is it; image_ids start there.

    The subject is the folder's name or, for queries, the number that the file's name begins with; clothes IDs of
    training images are the subject with the first and last field (between underscores) of the file's name. Raises and
    warns as `ltcc.read`.
    """
    top = walk.find(root, [root / "last", root], ("train", "test"), "LaST", LAYOUT)
    found = walk.Findings(root)
    rows = []
    for split in walk.folders(top, found):
        if split.name == "train":
            rows += _subjects(split, root, "train", found)
        elif split.name in ("val", "test"):
            prefix = "val_" if split.name == "val" else ""
            for part in walk.folders(split, found):
                if part.name == "gallery":
                    rows += _subjects(part, root, f"{prefix}gallery", found)
                elif part.name == "query":
                    rows += _images(part, root, f"{prefix}query", None, found)
                else:
                    found.reject(part, "expected the folders query and gallery")
        else:
            found.reject(split, "expected the folders train, val and test")
    return walk.finish(rows, root, found, PUBLISHED, "LaST", LAYOUT)


def _subjects(parent: Path, root: Path, split: str, found: walk.Findings) -> list[dict]:
    rows = []
    for folder in walk.folders(parent, found):
        if _SUBJECT.fullmatch(folder.name):
            rows += _images(folder, root, split, folder.name, found)
        else:
            found.reject(folder, "expected a subject's number as the folder's name")
    return rows


def _images(folder: Path, root: Path, split: str, subject: str | None, found: walk.Findings) -> list[dict]:
    """Rows of a folder's images; without `subject` it is what a name begins with, written as folders are (no zeros)."""
    rows = []
    for path, match in walk.named(folder, _NAME, "000001_scene_2.jpg, a subject's number first", found):
        fields = path.stem.split("_")
        owner = str(int(match[1] if subject is None else subject))
        clothes = f"{owner}-{fields[0]}_{fields[-1]}" if split == "train" else ""
        rows.append(walk.row(path, root, split, subject=owner, clothes=clothes, camera="", frame=0))
    return rows


READER = Reader("LaST", read, PUBLISHED)
