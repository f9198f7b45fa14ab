"""The picture of an outfit: whole, square, and with nothing beside the clothes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dlcr.inpainting.garments import garment_picture

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(data=st.data(), shape=SHAPES)
def test_picture_holds_every_pixel_of_the_clothes_and_no_other(data, shape):
    mask = data.draw(arrays(bool, shape).filter(np.any))
    image = data.draw(arrays(np.uint8, (*shape, 3), elements=st.integers(0, 254)))
    picture = garment_picture(image, mask)
    rows, columns = np.nonzero(mask)
    assert picture.shape == (max(np.ptp(rows), np.ptp(columns)) + 1,) * 2 + (3,)
    shown = (picture != 255).all(axis=2)  # no pixel of the image is white
    assert (picture[~shown] == 255).all()
    np.testing.assert_array_equal(picture[shown], image[mask])  # both in reading order
    shown_rows, shown_columns = np.nonzero(shown)
    np.testing.assert_array_equal(shown_rows - shown_rows[0], rows - rows[0])
    np.testing.assert_array_equal(shown_columns - shown_columns[0], columns - columns[0])


def test_shorter_side_is_filled_on_both_sides():
    image = np.zeros((6, 4, 3), np.uint8)
    mask = np.zeros((6, 4), bool)
    mask[:, 1:3] = True
    picture = garment_picture(image, mask)
    np.testing.assert_array_equal(picture[..., 0], np.repeat([[255, 255, 0, 0, 255, 255]], 6, axis=0))


def test_empty_mask_is_refused():
    with pytest.raises(ValueError, match="no garment"):
        garment_picture(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool))
