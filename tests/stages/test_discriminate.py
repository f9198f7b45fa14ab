"""What a discriminator learns from: the variants that it takes, and their latents. The stage itself runs in
test_inpaint.py."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.discriminate import encode, find_variants


def a_set(variants: int, skipped: tuple = ()) -> SimpleNamespace:
    return SimpleNamespace(
        variants=variants, folder=Path("generated/some"), skipped=lambda *pair: "empty mask" if pair in skipped else ""
    )


def test_no_more_than_the_first_variants() -> None:
    """Of K = 20 the paper's ten, of fewer all: a larger K changes nothing, and a smaller one is no error."""
    for made, expected in ((20, 10), (10, 10), (3, 3)):
        found = find_variants(a_set(made), ["a", "b"], 10)
        assert sorted(found) == [(image, variant) for image in "ab" for variant in range(expected)]


def test_skipped_variants_are_left_out() -> None:
    assert find_variants(a_set(2, (("a", 0),)), ["a", "b"], 10) == [("b", 0), ("a", 1), ("b", 1)]
    with pytest.raises(ValueError, match="generated/some: all variants were skipped"):
        find_variants(a_set(1, (("a", 0),)), ["a"], 10)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_held_out_latents_are_apart(batch: int) -> None:
    expander = SimpleNamespace(
        batch=batch,
        prepare=lambda images, masks: SimpleNamespace(start=torch.tensor(np.stack(images), dtype=torch.float32)),
    )
    held_out = [False, True, False, False, True]
    keys = [f"image {number}" for number in range(5)]
    train, out = encode(expander, lambda key: np.full((4, 2, 1), int(key[-1])), keys, held_out)
    assert train.shape == (3, 4, 2, 1)
    assert (train[:, 0, 0, 0].tolist(), out[:, 0, 0, 0].tolist()) == ([0, 2, 3], [1, 4])
