"""What dataset readers share: sorted listings, counted strays, named rejects, published counts."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dlcr.data.shards import image_size

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass
class Findings:
    """What a walk through a dataset found besides its images."""

    root: Path
    strays: list[Path] = field(default_factory=list)
    rejects: list[str] = field(default_factory=list)

    def reject(self, path: Path, reason: str) -> None:
        """Note a file or folder that the reader does not understand."""
        self.rejects.append(f"{path.relative_to(self.root).as_posix()}: {reason}")

    def finish(self) -> None:
        """Raise ValueError naming the rejects, if any; warn of the strays, if any."""
        raise_all(self.rejects, f"{self.root}: {len(self.rejects)} unexpected files or folders")
        if self.strays:
            names = sorted({path.name for path in self.strays})
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            warnings.warn(f"{self.root}: ignored {len(self.strays)} stray files ({shown})", stacklevel=2)


def raise_all(bad: list[str], head: str, shown: int = 10) -> None:
    """Raise one ValueError of `head` and the first `shown` complaints; do nothing when there are none."""
    if bad:
        more = f"; and {len(bad) - shown} more" if len(bad) > shown else ""
        raise ValueError(f"{head}: " + "; ".join(bad[:shown]) + more)


def find(
    root: Path, places: Sequence[Path], inside: Sequence[str], name: str, layout: str, files: Sequence[str] = ()
) -> Path:
    """Return the one of `places` that holds the folders `inside` and the `files`; ValueError if none or several do."""
    hits = [
        place
        for place in places
        if all((place / folder).is_dir() for folder in inside) and all((place / file).is_file() for file in files)
    ]
    if len(hits) != 1:
        what = f"{name} not found" if not hits else f"{name} found in several places ({', '.join(map(str, hits))})"
        raise ValueError(f"{root}: {what}; expected {layout}")
    return hits[0]


def folders(parent: Path, found: Findings) -> list[Path]:
    """Return the sub-folders by name; files beside them are strays, image files rejects."""
    paths = sorted(parent.iterdir(), key=lambda path: path.name)
    for path in paths:
        if path.is_dir() and not path.name.startswith("."):
            continue
        if _is_image(path):
            found.reject(path, "an image where only folders are expected")
        else:
            found.strays.append(path)
    return [path for path in paths if path.is_dir() and not path.name.startswith(".")]


def images(parent: Path, found: Findings) -> list[Path]:
    """Return the image files by name; other files are strays; folders and links out of the dataset are rejects."""
    paths = sorted(parent.iterdir(), key=lambda path: path.name)
    for path in paths:
        if path.is_dir() and not path.name.startswith("."):
            found.reject(path, "a folder where only images are expected")
        elif not _is_image(path):
            found.strays.append(path)
        elif path.is_symlink() and not _stays(path, parent, found.root):
            found.reject(path, "a link to a file outside the dataset")
    return [path for path in paths if _is_image(path)]


def named(parent: Path, pattern: re.Pattern, expected: str, found: Findings) -> Iterator[tuple[Path, re.Match]]:
    """Yield the images whose names match `pattern` whole, and the match; others are rejects: a name like `expected`."""
    for path in images(parent, found):
        match = pattern.fullmatch(path.name)
        if match is None:
            found.reject(path, f"expected a name like {expected}")
        else:
            yield path, match


def row(
    path: Path, root: Path, split: str, *, subject: str, clothes: str, camera: str, frame: int, tracklet: str = ""
) -> dict:
    """Return an image's row of the manifest, without its size."""
    return {
        "image_id": path.relative_to(root).as_posix(),
        "subject": subject,
        "clothes": clothes,
        "camera": camera,
        "split": split,
        "tracklet": tracklet,
        "frame": frame,
    }


def read_flat(
    root: Path,
    name: str,
    folder: str,
    splits: dict[str, str],
    others: Sequence[str],
    pattern: re.Pattern,
    example: str,
    labels_of: Callable[[re.Match], dict],
    published: dict[str, int],
    layout: str,
) -> pd.DataFrame:
    """Return the manifest of a dataset whose images lie in one folder a split and say all in their names.

    root holds `folder` or is it. splits: the manifest's split by folder; `others` are folders of the release without
    images. Names match `pattern` whole, as `example` does; `labels_of(match)` gives subject, clothes, camera and frame.
    """
    top = find(root, [root / folder, root], list(splits), name, layout)
    found = Findings(root)
    rows = []
    for part in folders(top, found):
        if part.name in others:
            continue
        if part.name not in splits:
            found.reject(part, f"expected the folders {', '.join(splits)}")
            continue
        for path, match in named(part, pattern, example, found):
            rows.append(row(path, root, splits[part.name], **labels_of(match)))
    return finish(rows, root, found, published, name, layout)


def finish(
    rows: list[dict], root: Path, found: Findings, published: dict[str, int], name: str, layout: str
) -> pd.DataFrame:
    """Return the rows as a manifest with sizes, after complaining of all that `found` holds.

    Raises ValueError for rejects, unreadable images, or no image at all; warns of strays and differing counts.
    """
    found.finish()
    manifest = with_sizes(rows, root)
    if manifest.empty:
        raise ValueError(f"{root}: no images of {name} found, expected {layout}")
    compare_counts(manifest, published, name)
    return manifest


def with_sizes(rows: list[dict], root: Path) -> pd.DataFrame:
    """Return the rows with width and height from the image headers; all unreadable images in one error."""
    bad = []
    for row in rows:
        try:
            row["width"], row["height"] = image_size(root / row["image_id"], row["image_id"])
        except (ValueError, OSError) as error:
            bad.append(str(error))
    raise_all(bad, f"{root}: {len(bad)} unreadable images")
    return pd.DataFrame(rows)


def compare_counts(manifest: pd.DataFrame, published: dict[str, int], name: str, what: str = "images") -> None:
    """Warn of the splits whose number of rows (`what` they are) differs from the published one, showing both."""
    counts = manifest["split"].value_counts()
    differ = [
        f"{split} {counts.get(split, 0):,} (published {number:,})"
        for split, number in published.items()
        if counts.get(split, 0) != number
    ]
    if differ:
        warnings.warn(f"{name}: numbers of {what} differ from the published ones: {', '.join(differ)}", stacklevel=2)


def _stays(link: Path, parent: Path, root: Path) -> bool:
    """Whether a link's target lies in the dataset, or in its own folder where that is a link itself."""
    target = link.resolve()
    return target.is_relative_to(root.resolve()) or target.is_relative_to(parent.resolve())


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".") and not path.is_dir()
