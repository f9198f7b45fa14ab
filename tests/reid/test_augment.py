"""Augmentation against Pillow and against its own bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlcr.reid.augment import ERASED_COLOUR, MEAN, STD, augment, enlarge_and_crop, erase_boxes, normalise


def images(count: int = 64, height: int = 24, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def test_normalise() -> None:
    out = normalise(torch.tensor([[[[255, 0, 128]]]], dtype=torch.uint8))
    expected = [(value / 255 - mean) / std for value, mean, std in zip((255, 0, 128), MEAN, STD, strict=True)]
    assert out.shape == (1, 3, 1, 1)
    assert out.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("offsets", [(0.0, 0.0), (1.0, 1.0), (0.4, 0.7)])
def test_enlarge_and_crop_is_pillows(offsets: tuple[float, float]) -> None:
    image = np.random.default_rng(0).random((24, 16)).astype(np.float32)
    large = np.asarray(Image.fromarray(image).resize((18, 27), Image.Resampling.BILINEAR))
    top, left = round(offsets[0] * 3), round(offsets[1] * 2)
    batch = torch.from_numpy(image)[None, None].expand(1, 3, -1, -1)
    out = enlarge_and_crop(batch, torch.tensor(offsets)[:, None])
    np.testing.assert_allclose(out[0, 2].numpy(), large[top : top + 24, left : left + 16], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(96, 48), (384, 192), (32, 16)]))
def test_erase_boxes_lie_inside_and_keep_their_bounds(seed: int, size: tuple[int, int]) -> None:
    height, width = size
    boxes = erase_boxes(50, height, width, torch.Generator().manual_seed(seed)).double()
    top, left, h, w = boxes[boxes[:, 2] > 0].T
    assert len(top) > 40
    assert ((top >= 0) & (left >= 0) & (top + h <= height) & (left + w <= width)).all()
    # rounding moves each side by at most half a pixel
    assert ((h + 0.5) * (w + 0.5) >= 0.02 * height * width).all()
    assert ((h - 0.5) * (w - 0.5) <= 0.4 * height * width).all()
    assert ((h + 0.5) / (w - 0.5) >= 0.3).all()
    assert ((h - 0.5) / (w + 0.5) <= 1 / 0.3).all()


def test_augment_does_each_of_three_things_to_half_of_the_images() -> None:
    batch = images(400)
    out = augment(batch, torch.Generator().manual_seed(0))
    plain = normalise(batch)
    erased = (out == torch.tensor(ERASED_COLOUR)[:, None, None]).all(1)
    outside = ~erased[:, None].expand_as(out)
    same = torch.tensor([torch.equal(o[m], p[m]) for o, p, m in zip(out, plain, outside, strict=True)])
    mirrored = torch.tensor([torch.equal(o[m], p.flip(2)[m]) for o, p, m in zip(out, plain, outside, strict=True)])
    assert erased.any((1, 2)).float().mean() == pytest.approx(0.5, abs=0.08)
    assert same.float().mean() == pytest.approx(0.25, abs=0.08)  # neither cropped nor mirrored
    assert mirrored.float().mean() == pytest.approx(0.25, abs=0.08)  # mirrored only
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_augment_is_a_function_of_the_generator() -> None:
    first, second, other = (augment(images(), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
