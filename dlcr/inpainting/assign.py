"""Which outfit goes on which image: K other clothes IDs, drawn for each image by itself (Sec. 3.1).

The outfits of an image are the first k of one fixed permutation, so the first 10 of K = 20 are those of K = 10.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dlcr.runtime.seeds import seed_of


def assign_outfits(
    image_ids: Sequence[str],
    source_clothes: Sequence[str],
    outfit_clothes: Sequence[str],
    k: int,
    seed: int,
    dataset: str,
) -> pd.DataFrame:
    """Draw the clothes IDs c_j != c_i, j = 1..k, that each image x_i is to wear; uniform, without repetition.

    image_ids, source_clothes: equal-length, the images and the clothes IDs worn on them; outfit_clothes: the IDs
    with an outfit text, of which an image's own is left out. Neither the order of the arguments nor the other
    images change an image's outfits.

    Returns the columns image_id, variant (int, 0 to k - 1), target_clothes, seed (int in [0, 2**63), the noise of
    this variant), variant-major and by image_id within a variant. Raises ValueError for an image_id that occurs
    twice, for columns of different length and for a k larger than the number of other outfits.
    """
    if len(image_ids) != len(source_clothes):
        raise ValueError(f"{dataset}: {len(image_ids)} image_ids but {len(source_clothes)} source clothes")
    worn = dict(zip(image_ids, source_clothes, strict=True))
    if len(worn) != len(image_ids):
        twice = pd.Series(image_ids)[pd.Series(image_ids).duplicated()].iloc[0]
        raise ValueError(f"{dataset}: image_id {twice!r} occurs twice")
    outfits = sorted(set(outfit_clothes))
    drawn = {image_id: _draw(image_id, worn[image_id], outfits, k, seed, dataset) for image_id in sorted(worn)}
    rows = [
        (image_id, variant, targets[variant], seed_of(seed, dataset, image_id, variant))
        for variant in range(k)
        for image_id, targets in drawn.items()
    ]
    return pd.DataFrame(rows, columns=["image_id", "variant", "target_clothes", "seed"])


def _draw(image_id: str, worn: str, outfits: list[str], k: int, seed: int, dataset: str) -> list[str]:
    others = [clothes for clothes in outfits if clothes != worn]
    if k > len(others):
        raise ValueError(
            f"{dataset}: k is {k}, but image {image_id!r} (clothes {worn!r}) has only {len(others)} other outfits"
        )
    order = np.random.default_rng(seed_of(seed, dataset, image_id)).permutation(len(others))
    return [others[index] for index in order[:k]]
