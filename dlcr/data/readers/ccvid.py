"""CCVID (Gu et al., 2022): tracklets of people walking, in three sessions.

CCVID/{train,query,gallery}.txt: lines of `sessionX/PPP_SS`, subject and clothes, with tabs between them; frames in
CCVID/sessionX/PPP_SS/*.jpg. The camera is SS, 12 higher in session 3.
"""

import re
from pathlib import Path

import pandas as pd

from dlcr.data import walk
from dlcr.data.reader import Reader

LAYOUT = "CCVID/{train,query,gallery}.txt and CCVID/session<n>/<pid>_<camera>/<frame>.jpg"
PUBLISHED = {"train": 118_613}
PUBLISHED_TRACKLETS = {"train": 948, "query": 834, "gallery": 1_074}
_TRACKLET = re.compile(r"session(\d)/(\d{1,9})_(\d{1,4})", re.ASCII)
_FRAME = re.compile(r"(\d{1,9})\.(?i:jpg|jpeg)", re.ASCII)
_LISTS = ("train", "query", "gallery")


def read(root: Path) -> pd.DataFrame:
    """Return CCVID's manifest, one row per frame. `root` holds `CCVID` or is it; image_ids start there.

    Tracklets are named as in the lists; clothes IDs are <subject>-<clothes>. Raises ValueError for a missing list, for
    all lines and files together that don't fit the layout (with their numbers and names), and for a tracklet that is
    listed twice or has no frames; warns of strays and of counts that differ from the published ones.
    """
    top = walk.find(root, [root / "CCVID", root], (), "CCVID", LAYOUT, files=[f"{name}.txt" for name in _LISTS])
    found = walk.Findings(root)
    rows, listed = [], {}
    for split in _LISTS:
        path = top / f"{split}.txt"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                rows += _tracklet(line, f"line {number}", split, path, root, found, listed)
    manifest = walk.finish(rows, root, found, PUBLISHED, "CCVID", LAYOUT)
    walk.compare_counts(manifest.drop_duplicates("tracklet"), PUBLISHED_TRACKLETS, "CCVID", "tracklets")
    return manifest


def _tracklet(
    line: str, place: str, split: str, path: Path, root: Path, found: walk.Findings, listed: dict[str, str]
) -> list[dict]:
    fields = line.split("\t")
    match = _TRACKLET.fullmatch(fields[0])
    if len(fields) != 3 or match is None or not fields[1] or not fields[2].strip():
        found.reject(path, f"{place} is {line!r}, expected session<n>/<pid>_<camera>, subject and clothes with tabs")
        return []
    name, subject, clothes = fields[0], fields[1], fields[2].strip()
    if name in listed:
        found.reject(path, f"{place}: {name} is listed in {listed[name]} already")
        return []
    listed[name] = f"{path.name}, {place}"
    folder = path.parent / name
    if not folder.is_dir():
        found.reject(path, f"{place}: no folder {name}")
        return []
    camera = int(match[3]) + (12 if match[1] == "3" else 0)
    rows = []
    for image, frame in walk.named(folder, _FRAME, "00001.jpg", found):
        values = {"subject": subject, "clothes": f"{subject}-{clothes}", "camera": str(camera), "frame": int(frame[1])}
        rows.append(walk.row(image, root, split, tracklet=name, **values))
    if not rows:
        found.reject(folder, "a tracklet without frames")
    return rows


READER = Reader("CCVID", read, PUBLISHED)
