"""Pictures of the page: small copies."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dlcr.reporting.album import Album, thumbnail


def test_a_picture_is_made_once() -> None:
    album, image = Album(), np.zeros((8, 4, 3), np.uint8)
    assert [album.add((name,), name, lambda: image, "7") for name in ("a", "b", "a")] == [0, 1, 0]
    assert [(name, person) for name, _, person in album.pictures] == [("a", "7"), ("b", "7")]


@pytest.mark.parametrize(("height", "width", "size"), [(96, 48, (48, 96)), (768, 256, (43, 128)), (300, 1, (1, 128))])
def test_thumbnails_are_small(height: int, width: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    uri = thumbnail(image)
    assert Image.open(BytesIO(b64decode(uri.partition(",")[2]))).size == size
