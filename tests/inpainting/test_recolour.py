"""Colour change: what may change, what it becomes, and what must stay."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from kornia.color import lab_to_rgb

from dlcr.inpainting.recolour import CHROMA, LIGHTNESS, draw_colour, recolour, to_lab, to_rgb

SIZE = (24, 12)
MASK = np.zeros(SIZE, bool)
MASK[6:18, 3:9] = True


@st.composite
def masked_images(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    mask = draw(arrays.arrays(bool, shape))
    mask[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return draw(arrays.arrays(np.uint8, (*shape, 3))), mask


def draw_texture() -> np.ndarray:
    """Folds of a brown cloth: mean lightness about 45, deviation about 5."""
    folds = 1 + 0.12 * np.sin(np.arange(SIZE[0] * SIZE[1])).reshape(*SIZE, 1)
    return np.rint(np.array([140, 100, 70]) * folds).astype(np.uint8)


def seeds_in_gamut(count: int) -> list[int]:
    """Seeds whose colours leave room for the texture on both sides of every channel."""
    found = []
    for seed in range(1000):
        colour = torch.from_numpy(draw_colour(seed))[:, None, None]
        pixel = lab_to_rgb(colour, clip=False)
        if pixel.min() > 0.2 and pixel.max() < 0.8:
            found.append(seed)
    assert len(found) >= count
    return found[:count]


@settings(max_examples=100, deadline=None)
@given(masked_images(), st.integers(0, 2**63 - 1), st.integers(1, 255))
def test_only_masked_pixels_change_and_only_they_count(picture, seed, other):
    image, mask = picture
    before = image.copy()
    result = recolour(image, mask, seed)
    assert (image == before).all()
    assert result.dtype == np.uint8
    assert (result[~mask] == image[~mask]).all()
    assert (result == recolour(image, mask, seed)).all()
    elsewhere = np.where(mask[..., None], image, image + np.uint8(other))
    assert (recolour(elsewhere, mask, seed)[mask] == result[mask]).all()


@pytest.mark.parametrize("seed", seeds_in_gamut(20))
def test_the_mean_becomes_the_drawn_colour_and_the_texture_stays(seed):
    image = draw_texture()
    result = recolour(image, MASK, seed)
    before, after = to_lab(image[MASK]), to_lab(result[MASK])
    assert after.mean(axis=0) == pytest.approx(draw_colour(seed), abs=0.3)
    assert after[:, 0].std() == pytest.approx(before[:, 0].std(), rel=0.05)
    assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] > 0.99


def test_a_colour_outside_of_srgb_is_clipped_to_it():
    vivid = to_rgb(np.array([[20, 59, 59], [85, -59, -9], [140, 0, 0], [-30, 0, 0]], np.float32))
    assert ((vivid == 0) | (vivid == 255)).any(axis=1).all()
    assert vivid[2:].tolist() == [[255] * 3, [0] * 3]


def test_lab_is_the_usual_one():
    # sRGB's red, green and blue in CIE Lab under D65
    pixels = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]], np.uint8)
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0], [0, 0, 0]]
    assert np.allclose(to_lab(pixels), expected, atol=0.05)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.just(3))))
def test_pixels_survive_the_way_to_lab_and_back(pixels):
    assert (to_rgb(to_lab(pixels)) == pixels).all()


def test_colours_are_drawn_uniformly_within_those_of_clothes():
    lightness, a, b = np.array([draw_colour(seed) for seed in range(4000)]).T
    low, high = LIGHTNESS
    assert low <= lightness.min() < low + 1
    assert high - 1 < lightness.max() <= high
    assert lightness.mean() == pytest.approx((low + high) / 2, abs=1)
    # in a uniform disc a quarter of the points lies within half of the radius
    assert (np.hypot(a, b) < CHROMA / 2).mean() == pytest.approx(0.25, abs=0.03)
    assert np.hypot(a, b).max() <= CHROMA
    assert [(sign_a * a > 0).mean() for sign_a in (1, -1)] == pytest.approx([0.5, 0.5], abs=0.03)
    assert (b > 0).mean() == pytest.approx(0.5, abs=0.03)


def test_seeds_give_different_colours():
    image = draw_texture()
    means = {tuple(recolour(image, MASK, seed)[MASK].mean(axis=0)) for seed in range(20)}
    assert len(means) == 20


def test_one_pixel_becomes_the_colour_itself():
    seed = seeds_in_gamut(1)[0]
    image, mask = np.full((1, 1, 3), 77, np.uint8), np.ones((1, 1), bool)
    assert (recolour(image, mask, seed)[0] == to_rgb(draw_colour(seed).astype(np.float32)[None])).all()


def test_bad_arguments_are_refused():
    image = draw_texture()
    with pytest.raises(ValueError, match=r"image uint8 \[H, W, 3\], got float64"):
        recolour(image.astype(float), MASK, 0)
    with pytest.raises(ValueError, match=r"mask bool \[24, 12\], got bool \[23, 12\]"):
        recolour(image, MASK[1:], 0)
    with pytest.raises(ValueError, match=r"mask bool \[24, 12\], got uint8"):
        recolour(image, MASK.astype(np.uint8), 0)
    with pytest.raises(ValueError, match="mask is empty"):
        recolour(image, np.zeros_like(MASK), 0)
