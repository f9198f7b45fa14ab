"""Figure A3: training images with their masks and variants, and the prompts."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from dlcr.reporting.figures.style import WIDTH, panel, ratio, short_lines, style, to_bytes
from dlcr.reporting.parts import Picture
from dlcr.reporting.sheets import SAMPLE_RULE, Sample

GAP, TEXT = 0.2, 0.88


def samples(lines: Sequence[Sample], generated: str) -> Picture | None:
    """Original, mask, and variants with their prompts underneath, one line per image; None without lines."""
    if not lines:
        return None
    columns = 2 + max(len(line.variants) for line in lines)
    height = WIDTH * ratio(lines[0].original)
    with style():
        figure = Figure(figsize=(GAP + columns * (WIDTH + GAP), 0.1 + len(lines) * (height + TEXT)))
        for number, line in enumerate(lines):
            pictures = [line.original, overlay(line.original, line.mask), *line.variants]
            texts = ["original", "mask", *map(short_lines, line.prompts)]
            for column, (image, text) in enumerate(zip(pictures, texts, strict=True)):
                left, top = GAP + column * (WIDTH + GAP), 0.1 + number * (height + TEXT)
                panel(figure, left, top, WIDTH, height, "skipped" if image is None else image, text)
        content = to_bytes(figure)
    said = ". ".join(f"{line.image_id}: {'; '.join(line.prompts)}" for line in lines)
    return Picture(
        "fig-a3",
        "Figure A3: generated samples and their prompts",
        content,
        f"{len(lines)} training images, each with its clothes mask and its first variants. Their prompts: {said}.",
        f"Set “{generated}”. {SAMPLE_RULE} Orange: the mask, the only part that is repainted. Below each variant: its "
        "prompt.",
    )


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with what the mask marks tinted orange; uint8 [H, W, 3]."""
    tint = np.array([230, 159, 0])
    return np.where(mask[..., None], (0.35 * image + 0.65 * tint).round(), image).astype(np.uint8)
