"""Contact sheets, for looking at many pictures at once."""

import numpy as np
from PIL import Image

_LABEL_COLOURS = np.array(
    [
        (20, 20, 24),
        (240, 190, 150),
        (250, 240, 90),
        (150, 90, 40),
        (220, 60, 60),
        (60, 100, 220),
        (80, 200, 120),
    ],
    np.uint8,
)


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """A label map uint8[H, W] as a picture uint8[H, W, 3]."""
    return _LABEL_COLOURS[labels]


def contact_sheet(images: list[np.ndarray], columns: int, scale: int = 2) -> Image.Image:
    """Pictures uint8[H, W, 3] of one size in rows of `columns`, enlarged `scale` times.

    Raises ValueError when there is no picture, or when columns or scale is not positive.
    """
    if not images or columns < 1 or scale < 1:
        raise ValueError(
            f"a sheet needs pictures and positive columns and scale, got {len(images)}, {columns}, {scale}"
        )
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 2), index % columns * (width + 2)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet)
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
