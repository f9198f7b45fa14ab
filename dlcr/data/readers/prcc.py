"""PRCC (Yang et al., 2021): three cameras; A and B in the same clothes, C in others.

prcc/rgb/{train,val}/<subject>/{A,B,C}_cropped_rgbNNN.jpg, prcc/rgb/test/{A,B,C}/<subject>/cropped_rgbNNN.jpg
Queries are camera C (clothes-changing) and B (same clothes, split query_sc), the gallery is camera A.
"""

import re
from pathlib import Path

import pandas as pd

from dlcr.data import walk
from dlcr.data.reader import Reader

LAYOUT = "prcc/rgb/{train,val}/<pid>/{A,B,C}_cropped_rgbNNN.jpg and prcc/rgb/test/{A,B,C}/<pid>/cropped_rgbNNN.jpg"
PUBLISHED = {"train": 17_896, "val": 5_002, "gallery": 3_384, "query": 3_543, "query_sc": 3_873}
_TRAIN_NAME = re.compile(r"([ABC])_cropped_rgb(\d{1,9})\.(?i:jpg|jpeg)", re.ASCII)
_TEST_NAME = re.compile(r"cropped_rgb(\d{1,9})\.(?i:jpg|jpeg)", re.ASCII)
_TEST_SPLITS = {"A": "gallery", "B": "query_sc", "C": "query"}


def read(root: Path) -> pd.DataFrame:
    """Return PRCC's manifest. `root` holds `prcc`, or is it, or is its `rgb`; image_ids start there.

    Subjects are folder names, clothes IDs <subject>-AB and <subject>-C, frames the number in the file's own
    name. Raises ValueError for another layout and, all at once, for files that don't fit it; warns of strays
    and of counts that differ from the published ones.
    """
    rgb = walk.find(root, [root / "prcc" / "rgb", root / "rgb", root], ("train", "test"), "PRCC", LAYOUT)
    found = walk.Findings(root)
    rows = []
    for folder in walk.folders(rgb, found):
        if folder.name in ("train", "val"):
            rows += _read_train(folder, root, found)
        elif folder.name == "test":
            rows += _read_test(folder, root, found)
        else:
            found.reject(folder, "expected the folders train, val and test")
    return walk.finish(rows, root, found, PUBLISHED, "PRCC", LAYOUT)


def _read_train(split: Path, root: Path, found: walk.Findings) -> list[dict]:
    rows = []
    for folder in _subjects(split, found):
        for path, match in walk.named(folder, _TRAIN_NAME, "A_cropped_rgb001.jpg, with A, B or C", found):
            rows.append(_row(path, root, folder.name, match[1], split.name, int(match[2])))
    return rows


def _read_test(test: Path, root: Path, found: walk.Findings) -> list[dict]:
    rows = []
    for camera in walk.folders(test, found):
        if camera.name not in _TEST_SPLITS:
            found.reject(camera, "expected the folders A, B and C")
            continue
        for folder in _subjects(camera, found):
            for path, match in walk.named(folder, _TEST_NAME, "cropped_rgb001.jpg", found):
                rows.append(_row(path, root, folder.name, camera.name, _TEST_SPLITS[camera.name], int(match[1])))
    return rows


def _subjects(parent: Path, found: walk.Findings) -> list[Path]:
    subjects = []
    for folder in walk.folders(parent, found):
        if re.fullmatch(r"\d+", folder.name, re.ASCII):
            subjects.append(folder)
        else:
            found.reject(folder, "expected a subject's number as the folder's name")
    return subjects


def _row(path: Path, root: Path, subject: str, camera: str, split: str, frame: int) -> dict:
    clothes = f"{subject}-{'C' if camera == 'C' else 'AB'}"
    return walk.row(path, root, split, subject=subject, clothes=clothes, camera=camera, frame=frame)


# The gallery is camera A; camera C (query) shows other clothes, camera B (query_sc) the same ones.
READER = Reader("PRCC", read, PUBLISHED, single_shot=True)
