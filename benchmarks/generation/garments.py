"""Clothes from a picture beside clothes from a text; the small model and its IP-Adapter, on the CPU.

    python -m benchmarks.generation --case garments

Every variant is shown the clothes of another image; each picture is looked at once for all variants that are shown it.

Last: a picture takes 0.95 of a text's time, both 0.91 (within the noise of one run: no difference); looking at
one takes 5.5 ms.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.common import ROOT, best_of
from benchmarks.generation.mini import IMAGES
from benchmarks.generation.work import Work, shipped
from dlcr.data import encode_png
from dlcr.inpainting import Expander
from dlcr.inpainting.garments import garment_picture


def garments(scale: float) -> dict:
    """Variants from texts, from pictures, and from both: images/s, and what looking at one picture takes."""
    params, work = shipped(scale, IMAGES)
    adapter = params.generated["garment"].garment.adapter
    settings = params.inpaint.model_dump(exclude={"block"}) | {"adapter": str(ROOT / adapter)}
    expander = Expander(str(ROOT / params.models.inpainter), **settings)
    pictures = [garment_picture(image, mask) for image, mask in zip(work.images, work.masks, strict=True)]
    shown = [pictures[(row + 1 + number) % len(pictures)] for number, row in enumerate(work.rows)]
    untold = work._replace(prompts=[""] * len(work.rows))
    ways = {"text": (work, None), "picture": (untold, shown), "text and picture": (work, shown)}
    *seconds, looking = best_of(
        *(partial(dress, expander, *way) for way in ways.values()),
        lambda: [expander.loaded.look(picture) for picture in pictures],
    )
    text, *_ = seconds
    found = {"variants": len(work.rows), "looking at a picture (ms)": 1000 * looking / len(pictures)}
    for name, taken in zip(ways, seconds, strict=True):
        found |= {f"{name} (images/s)": len(work.rows) / taken, f"{name}, time beside text": taken / text}
    return found


def dress(expander: Expander, work: Work, shown: Sequence[np.ndarray] | None) -> list[bytes]:
    """The variants as PNGs; nothing is remembered of pictures that were shown before."""
    expander._shown.clear()
    canvas = expander.prepare(work.images, work.masks)
    images, masks = ([column[row] for row in work.rows] for column in (work.images, work.masks))
    finish = lambda _, image: encode_png(image)  # noqa: E731
    return expander.paint(canvas, work.rows, images, masks, work.prompts, work.seeds, finish, shown)
