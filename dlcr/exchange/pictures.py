"""Pictures of your own: all that lie below a folder, the one of a file, or those of a packed dataset.

pictures = find_pictures(Path("photos"))       # or data/minicc, whose pictures are packed
data = pictures.read(pictures.names[0])        # as they are encoded
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

from dlcr.data import open_images
from dlcr.data.walk import IMAGE_ENDINGS


@dataclass(frozen=True)
class Pictures:
    """Names, sorted, and what gives the encoded bytes of one: ValueError or OSError where they may not or can't be
    read.

    A name is the path below the folder, with `/`; of a packed dataset it is the image ID.
    """

    names: list[str]
    read: Callable[[str], bytes]


def find_pictures(place: Path) -> Pictures:
    """The pictures of a place: a folder (JPEG, PNG, BMP, WebP and TIFF by their endings, in it and in all folders below
    it, but for hidden ones), one picture's file, or a folder that stage prepare packed.

    Links to folders are not followed, and a link to a file outside is not read. Raises FileNotFoundError for a place
    that is not there, ValueError where it holds no picture.
    """
    if place.is_file():
        return Pictures([place.name], lambda name: place.read_bytes())
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such folder or picture")
    if (place / "manifest.parquet").is_file() and (place / "images").is_dir():
        images = open_images(place / "images")
        return Pictures(images.ids, images.encoded)
    names = sorted(name for name in _files_below(place) if name.lower().endswith(IMAGE_ENDINGS))
    if not names:
        raise ValueError(f"{place}: no pictures in it or below it; expected files {', '.join(IMAGE_ENDINGS)}")
    root = place.resolve()

    def read(name: str) -> bytes:
        path = place / name
        if not path.resolve().is_relative_to(root):
            raise ValueError(f"{name}: a link to a file outside the folder")
        return path.read_bytes()

    return Pictures(names, read)


def is_turned(file: Path | BinaryIO) -> bool:
    """Whether the EXIF data of a picture that can be decoded asks for a rotation, which decoding here does not do."""
    try:
        with Image.open(file) as image:
            return image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except Exception:  # of damaged tags Pillow raises whatever it stumbles over
        return False


def _files_below(place: Path) -> list[str]:
    """The paths of all files below a folder, relative to it, but for hidden ones."""
    found = []
    for parent, folders, files in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(place)
        found += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return found
