"""The quality gate: known failures are told from what is well made, and values are what their definitions say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dlcr.data.shards import MEASURES
from dlcr.inpainting.quality import measure, word_alignment, word_hits

SIZE = (40, 24)
PROMPT = "Gray shirt| Blue striped skirt| Black shoes"


@st.composite
def cases(draw, count=2):
    """`count` images of one size, up to 6x6, and a mask with at least one pixel."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    mask = draw(arrays.arrays(bool, shape))
    mask[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return *(draw(arrays.arrays(np.uint8, (*shape, 3))) for _ in range(count)), mask


def blob(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((rows - 20) / radius) ** 2 + ((columns - 12) / (radius / 2)) ** 2 < 1


def draw_scene(clothes: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Folded clothes in the shape of blob(14) before a noisy gray wall."""
    rng = np.random.default_rng(seed)
    image = np.where(blob(14)[..., None], clothes, (120, 124, 128)) + rng.normal(0, 3, (*SIZE, 1))
    return image.clip(0, 255).astype(np.uint8)


RED, BLUE = draw_scene((170, 40, 50)), draw_scene((50, 70, 170))


def paste(new: np.ndarray, old: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], new, old)


@settings(max_examples=100, deadline=None)
@given(cases(), st.booleans())
def test_values_keep_to_their_ranges(case, whole):
    image, variant, mask = case
    found = measure(image, variant, None if whole else mask)
    assert tuple(found) == MEASURES[:4]
    assert all(type(value) is float for value in found.values())
    assert 0 <= found["change"] < 2.6
    assert 0 < found["seam"] <= 1
    assert 0 <= found["spread"] <= 0.5
    assert 0 <= found["smoothness"] <= 1
    if whole:
        assert found["seam"] == 1


@settings(max_examples=50, deadline=None)
@given(cases(count=1))
def test_the_original_has_neither_change_nor_seam(case):
    image, mask = case
    found = measure(image, image.copy(), mask)
    assert found["change"] == 0
    assert found["seam"] == 1


@settings(max_examples=50, deadline=None)
@given(cases())
def test_mirrored_images_have_the_same_measures(case):
    found = measure(*case)
    for axis in (0, 1):
        assert measure(*(np.flip(array, axis) for array in case)) == pytest.approx(found, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(cases(count=1), st.tuples(*[st.integers(0, 255)] * 3))
def test_one_colour_has_no_spread_and_is_smooth(case, colour):
    image, mask = case
    blank = paste(np.broadcast_to(np.array(colour, np.uint8), image.shape), image, mask)
    found = measure(image, blank, mask)
    assert (found["spread"], found["smoothness"]) == (0, 1)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_only_the_seam_looks_outside_of_the_mask(case):
    image, variant, mask = case
    whole, inside = measure(image, variant, mask), measure(image, paste(variant, image, mask), mask)
    assert whole | {"seam": 0} == inside | {"seam": 0}


@settings(max_examples=100, deadline=None)
@given(cases(count=1), st.tuples(*[st.integers(0, 255)] * 3))
def test_more_of_another_colour_is_more_change(case, colour):
    image, mask = case
    image[mask & (np.abs(image - np.array(colour)).max(axis=2) < 16)] ^= 128  # rounding must not hide a step
    changes = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        mixed = np.rint((1 - share) * image + share * np.array(colour)).astype(np.uint8)
        changes.append(measure(image, mixed, mask)["change"])
    assert changes == sorted(set(changes))


def test_values_are_those_of_their_definitions():
    black, white = np.zeros((3, 3, 3), np.uint8), np.full((3, 3, 3), 255, np.uint8)
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    dot = paste(white, black, mask)
    expected = {"change": 1, "seam": 1 / 256, "spread": 0, "smoothness": 1}
    assert measure(black, dot, mask) == pytest.approx(expected, abs=1e-4)
    assert measure(dot, black, mask)["seam"] == 1
    purple = paste(np.full_like(black, (90, 0, 30)), black, mask)
    assert measure(black, purple, mask)["seam"] == pytest.approx(1 / 41)
    # two pixels, of which one becomes white: three of the five pairs across the border get an edge
    mask[1, 0] = True
    expected = {"change": 0.5, "seam": (2 + 3 / 256) / 5, "spread": 0.5, "smoothness": 0}
    assert measure(black, dot, mask) == pytest.approx(expected, abs=1e-4)
    # a third one: two pairs inside, one of them without a step
    mask[0, 0] = True
    assert measure(black, dot, mask)["smoothness"] == 0.5


def test_a_true_silhouette_costs_little_and_an_outline_much():
    silhouette = measure(RED, paste(BLUE, RED, blob(14)), blob(14))["seam"]
    leftover = measure(RED, paste(BLUE, RED, blob(10)), blob(10))["seam"]
    patch = measure(RED, paste(np.full_like(RED, 60), RED, blob(18)), blob(18))["seam"]
    assert silhouette > 0.8
    assert leftover < 0.2
    assert patch < 0.2


def test_a_box_pasted_around_the_clothes_is_seen():
    box = np.zeros(SIZE, bool)
    box[6:35, 5:20] = True
    painted = paste(BLUE, np.full_like(RED, 200), blob(14))
    assert measure(RED, paste(painted, RED, box), box)["seam"] < 0.25


@pytest.mark.parametrize("broken", ["", "change", "seam", "spread", "smoothness"])
def test_failures_are_dropped_and_a_good_variant_is_kept(broken):
    striped = BLUE.copy()
    striped[::4] += 30
    noise = np.random.default_rng(0).integers(0, 256, RED.shape, dtype=np.uint8)
    fills = {"change": RED, "spread": np.full_like(RED, 50), "smoothness": noise}
    mask = blob(10 if broken == "seam" else 14)
    variant = paste(fills.get(broken, striped), RED, mask)
    minimum = {"change": 0.1, "seam": 0.2, "spread": 0.03, "smoothness": 0.75}
    found = measure(RED, variant, mask)
    assert next((name for name in MEASURES if found[name] < minimum[name]), "") == broken


def test_masks_and_images_of_any_extent():
    pixel = np.full((1, 1, 3), 9, np.uint8)
    assert measure(pixel, pixel, None) == {"change": 0, "seam": 1, "spread": 0, "smoothness": 1}
    whole = np.ones(SIZE, bool)
    assert measure(RED, BLUE, whole) == measure(RED, BLUE, None)
    corners = np.zeros(SIZE, bool)
    corners[0, 0] = corners[-1, -1] = True
    assert measure(RED, paste(np.zeros_like(RED), RED, corners), corners)["seam"] < 0.2


def test_bad_arguments_are_refused():
    mask = blob(14)
    with pytest.raises(ValueError, match=r"variant as uint8 \[H, W, 3\], got float64"):
        measure(RED, BLUE.astype(float), mask)
    with pytest.raises(ValueError, match=r"the variant is \[39, 24\], its image \[40, 24\]"):
        measure(RED, BLUE[1:], mask)
    with pytest.raises(ValueError, match=r"mask bool \[40, 24\], got uint8"):
        measure(RED, BLUE, mask.astype(np.uint8))
    with pytest.raises(ValueError, match="mask is empty"):
        measure(RED, BLUE, np.zeros(SIZE, bool))


@pytest.mark.parametrize(
    ("answer", "hits"),
    [
        (PROMPT, ["111", "111", "111"]),
        ("grey SHIRT|blue striped skirt|black shoes", ["111", "111", "111"]),
        ("A gray shirt, a blue skirt and black boots.", ["111", "101", "110"]),
        ("Red checked shirt| Blue striped jeans| White shoes", ["001", "110", "011"]),
        ("a black jacket over a gray shirt", ["111", "000", "000"]),
        ("a gray striped coat and a red shirt", ["011", "000", "000"]),
        ("Nobody is there.", ["000", "000", "000"]),
        ("", ["000", "000", "000"]),
    ],
)
def test_words_that_an_answer_names(answer, hits):
    expected = np.array([[letter == "1" for letter in row] for row in hits])
    assert (word_hits(PROMPT, answer) == expected).all()
    assert word_alignment(PROMPT, answer) == pytest.approx(expected.mean())


def test_parts_that_a_prompt_lacks_do_not_count():
    assert word_alignment("Gray shirt", "gray shirt| blue jeans| black shoes") == 1
    assert word_alignment("Gray shirt||Red boots", "gray coat| blue jeans| red boots") == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match=r"prompt '\| ' names no clothes"):
        word_alignment("| ", "gray shirt")


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_texts_are_compared(prompt, answer):
    hits = word_hits(prompt, answer)
    assert hits.shape == (3, 3)
    if hits.any():
        assert 0 < word_alignment(prompt, answer) <= 1
