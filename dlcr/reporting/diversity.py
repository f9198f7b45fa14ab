"""How many different clothes a set shows: by its prompts' words, and by the colours in its pictures.

effective_number(["red", "red", "blue"])       # 1.9: as various as so many that occur equally often

The effective number is the exponential of Shannon's entropy (the Hill number of order 1: Jost, Oikos 2006): rare things
count little, and two sets of unlike size can be compared.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from dlcr.data import Images, Masks
from dlcr.data.generated import Generated
from dlcr.inpainting.recolour import to_lab

STEP = 20.0
"""Width of a bin of L, a and b, in which two colours count as one: about a colour's name."""


def effective_number(values: Sequence[Hashable]) -> float:
    """Of values by how often each occurs: 1 if all are the same, their number if all differ; 0 without any."""
    if not len(values):
        return 0.0
    shares = pd.Series(list(values)).value_counts(normalize=True, sort=False).to_numpy()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def of_prompts(prompts: pd.Series) -> dict:
    """prompts: how many different ones; items: the effective number of each item's texts, in the prompts' order (upper,
    lower, footwear), as far as most prompts have one."""
    texts = prompts[prompts != ""]
    items = texts.str.split("|").map(lambda parts: [part.strip().lower() for part in parts])
    count = int(items.map(len).median()) if len(items) else 0
    return {
        "prompts": texts.nunique(),
        "items": [effective_number([parts[place] for parts in items if place < len(parts)]) for place in range(count)],
    }


def of_pictures(shown: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The effective number of mean colours of what lies within the masks.

    shown: pictures, uint8 [H, W, 3], each with its mask, bool [H, W]; those of another size than their mask (imported
    sets may have such), or with an empty one, are left out.
    """
    means = [to_lab(picture[mask]).mean(0) for picture, mask in shown if picture.shape[:2] == mask.shape and mask.any()]
    return effective_number([tuple(np.floor(mean / STEP).astype(int).tolist()) for mean in means])


def colours_of_images(images: Images, masks: Masks, image_ids: Iterable[str]) -> float:
    """`of_pictures` of images that have a mask."""
    return of_pictures((images[image_id], masks[image_id]) for image_id in image_ids if image_id in masks)


def colours_of_variants(made: Generated, masks: Masks) -> float:
    """`of_pictures` of all variants that were made."""
    return of_pictures(
        (made[image_id, variant], masks[image_id])
        for image_id in made.image_ids
        if image_id in masks
        for variant in range(made.variants)
        if not made.skipped(image_id, variant)
    )
