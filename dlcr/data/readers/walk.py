"""What dataset readers share: sorted listings, counted strays, named rejects, published counts."""

import warnings
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
    """Return the image files by name; other files are strays, folders rejects."""
    paths = sorted(parent.iterdir(), key=lambda path: path.name)
    for path in paths:
        if path.is_dir() and not path.name.startswith("."):
            found.reject(path, "a folder where only images are expected")
        elif not _is_image(path):
            found.strays.append(path)
    return [path for path in paths if _is_image(path)]


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


def compare_counts(manifest: pd.DataFrame, published: dict[str, int], name: str) -> None:
    """Warn of the splits whose number of images differs from the published one, showing both."""
    counts = manifest["split"].value_counts()
    differ = [
        f"{split} {counts.get(split, 0):,} (published {number:,})"
        for split, number in published.items()
        if counts.get(split, 0) != number
    ]
    if differ:
        warnings.warn(f"{name}: numbers of images differ from the published ones: {', '.join(differ)}", stacklevel=2)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".") and not path.is_dir()
