"""A user's own images: a folder of image files and a `manifest.csv` that labels them.

manifest.csv (UTF-8, a header line): image, subject, clothes, camera, split; optional: tracklet, frame.
`image` is a path relative to the folder; a clothes ID belongs to one subject (say 12-red-coat, not red-coat).
"""

import csv
from pathlib import Path

import pandas as pd

from dlcr.data import walk
from dlcr.data.manifest import SPLITS, is_relative_path
from dlcr.data.reader import Reader

NEEDED = ("image", "subject", "clothes", "camera", "split")
OPTIONAL = ("tracklet", "frame")


def read(root: Path) -> pd.DataFrame:
    """Return the manifest of `root/manifest.csv`; image_ids are the column `image`.

    Raises FileNotFoundError without the file; ValueError naming all bad rows at once (the first 100 problems)
    (its line in the file, the column and what was expected), images that leave the folder included.
    """
    path = root / "manifest.csv"
    rows, bad = [], []
    seen: dict[str, int] = {}
    for line, row in _lines(path):
        complaints = _complaints(row, root)
        first = seen.setdefault(row["image"], line)
        if first != line:
            complaints.append(f"column image: {row['image']!r} is already in row {first}, expected every image once")
        bad += [f"row {line}, {complaint}" for complaint in complaints]
        rows.append(_row(row))
    walk.raise_all(bad, f"{path}: {len(bad)} problems", shown=100)
    if not rows:
        raise ValueError(f"{path}: no rows, expected an image each")
    return walk.with_sizes(rows, root)


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line in the file, column -> text) of all rows; raise ValueError for a wrong header."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a CSV with the columns {', '.join(NEEDED)}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="beyond", restval="", strict=True)
            names = [name.strip() for name in reader.fieldnames or []]
            _check_header(path, names)
            reader.fieldnames = names
            return [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable UTF-8 CSV file: {error}") from error


def _check_header(path: Path, names: list[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in NEEDED + OPTIONAL]
    if missing or unknown or len(set(names)) != len(names):
        raise ValueError(
            f"{path}: columns are {names}, expected {', '.join(NEEDED)} once each (and perhaps {', '.join(OPTIONAL)})"
        )


def _complaints(row: dict, root: Path) -> list[str]:
    """Return what is wrong with a row, one line per column."""
    complaints = []
    if "beyond" in row:
        complaints.append(f"columns beyond the last: {row['beyond']!r}, expected as many as the header has")
    problem = _image_problem(row["image"], root)
    if problem:
        complaints.append(f"column image: {row['image']!r} {problem}")
    if not row["subject"]:
        complaints.append("column subject: empty, expected a subject")
    if row["split"] not in SPLITS:
        complaints.append(f"column split: {row['split']!r}, expected one of {', '.join(SPLITS)}")
    if row["split"] == "train" and not row["clothes"]:
        complaints.append("column clothes: empty, expected clothes for every training image")
    frame = row.get("frame") or "0"
    if not (frame.isascii() and frame.isdigit() and int(frame) < 2**31):
        complaints.append(f"column frame: {frame!r}, expected a whole number from 0")
    return complaints


def _image_problem(image: str, root: Path) -> str:
    if not is_relative_path(image):
        return "leaves the folder or is no posix path, expected a path relative to the folder"
    path = root / image
    if not path.resolve().is_relative_to(root.resolve()):
        return "leaves the folder through a link, expected a file in the folder"
    return "" if path.is_file() else "does not exist, expected an image file"


def _row(row: dict) -> dict:
    frame = row.get("frame") or "0"
    return {
        "image_id": row["image"],
        "subject": row["subject"],
        "clothes": row["clothes"],
        "camera": row["camera"],
        "split": row["split"],
        "tracklet": row.get("tracklet", ""),
        "frame": int(frame) if frame.isdigit() else 0,
    }


READER = Reader("folder", read)
