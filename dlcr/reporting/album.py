"""Small copies of pictures, each made and kept once."""

import io
from base64 import b64encode
from collections.abc import Callable

import numpy as np
from PIL import Image

from dlcr.data import Generated

HEIGHT, QUALITY = 128, 88
"""Of the pictures: the most pixels in height, and WebP's quality. Lossless, MiniCC's alone would fill the page."""


class Album:
    """Pictures by key as (name, data URI, person); `add` gives a picture's place. person: "" for variants."""

    def __init__(self) -> None:
        self.pictures: list[tuple[str, str, str]] = []
        self._places: dict[tuple, int] = {}

    def add(self, key: tuple, name: str, image: Callable[[], np.ndarray], person: str = "") -> int:
        """The place of a picture; `image` gives it, uint8 [H, W, 3], if it is new."""
        if key not in self._places:
            self._places[key] = len(self.pictures)
            self.pictures.append((name, thumbnail(image()), person))
        return self._places[key]

    def add_variant(self, variants: Generated, image_id: str, number: int) -> int | None:
        """The place of a variant (`number` from 0), None where it was not made or was dropped."""
        if variants.skipped(image_id, number):
            return None
        key = (variants.folder.name, image_id, number)
        return self.add(key, f"{image_id}, variant {number + 1}", lambda: variants[image_id, number])


def thumbnail(image: np.ndarray) -> str:
    """A picture, uint8 [H, W, 3], as the data URI of a copy at most `HEIGHT` high."""
    picture = Image.fromarray(image)
    if picture.height > HEIGHT:
        width = max(1, round(picture.width * HEIGHT / picture.height))
        picture = picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"
