"""Augmentation against its own bounds and CAL's code, and split over processes."""

import math
import random

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from dlcr.reid.augment import ENLARGE, ERASED_COLOUR, augment, draw, draw_boxes
from dlcr.reid.colours import MEAN, STD, normalise
from dlcr.reid.models import build_model
from dlcr.reid.models.c2d import C2D


def images(count: int = 64, height: int = 24, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def augmented(batch: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return augment(batch, draw(len(batch), tuple(batch.shape[1:3])), torch.arange(len(batch)))


def where_erased(out: torch.Tensor) -> torch.Tensor:
    """bool [N, H, W]: what has the colour of what is erased."""
    return (out == torch.tensor(ERASED_COLOUR)[:, None, None]).all(1)


def literal_box(height: int, width: int) -> tuple[int, int, int, int] | None:
    """RandomErasing of Simple-CCReID data/img_transforms.py: top, left, height and width, None where nothing is."""
    sl, sh, r1 = 0.02, 0.4, 0.3
    if random.uniform(0, 1) >= 0.5:
        return None
    for _ in range(100):
        area = height * width
        target_area = random.uniform(sl, sh) * area
        aspect_ratio = random.uniform(r1, 1 / r1)
        h = round(math.sqrt(target_area * aspect_ratio))
        w = round(math.sqrt(target_area / aspect_ratio))
        if w < width and h < height:
            x1 = random.randint(0, height - h)
            y1 = random.randint(0, width - w)
            return x1, y1, h, w
    return None


def test_normalise() -> None:
    out = normalise(torch.tensor([[[[255, 0, 128]]]], dtype=torch.uint8))
    expected = [(value / 255 - mean) / std for value, mean, std in zip((255, 0, 128), MEAN, STD, strict=True)]
    assert out.shape == (1, 3, 1, 1)
    assert out.flatten().tolist() == pytest.approx(expected)


def test_each_of_three_things_is_done_to_half_of_the_images() -> None:
    batch = images(400)
    out, plain = augmented(batch), normalise(batch)
    erased = where_erased(out)
    outside = ~erased[:, None].expand_as(out)

    def share(pictures: torch.Tensor) -> float:
        pairs = zip(out, pictures, outside, strict=True)
        return sum(torch.allclose(o[m], p[m], atol=1e-5) for o, p, m in pairs) / len(batch)

    assert erased.any((1, 2)).float().mean() == pytest.approx(0.5, abs=0.08)
    assert share(plain) == pytest.approx(0.25, abs=0.08)  # neither cropped nor mirrored
    assert share(plain.flip(3)) == pytest.approx(0.25, abs=0.08)  # mirrored only
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_a_crop_shows_a_part_of_the_image_enlarged() -> None:
    ramp = torch.linspace(0, 255, 96).round().to(torch.uint8)[:, None, None].expand(96, 48, 3)
    out = augmented(ramp.expand(400, 96, 48, 3))
    out = out[~where_erased(out).any((1, 2))][:, 0] * STD[0] + MEAN[0]
    top, bottom = out[:, 0, 24], out[:, -1, 24]
    assert len(out) > 150
    cropped = bottom - top < 0.95
    assert cropped.float().mean() == pytest.approx(0.5, abs=0.1)
    assert (bottom - top)[~cropped].tolist() == pytest.approx([1.0] * int((~cropped).sum()), abs=0.01)
    assert (bottom - top)[cropped].tolist() == pytest.approx([1 / ENLARGE] * int(cropped.sum()), abs=0.01)
    # the part lies anywhere between the two ends
    assert top[cropped].min() < 0.015
    assert top[cropped].max() > 1 - 1 / ENLARGE - 0.015


def test_erased_boxes_keep_their_bounds() -> None:
    out = augmented(images(300, 96, 48))
    erased = where_erased(out)
    areas = erased.sum((1, 2))[erased.any((1, 2))] / (96 * 48)
    assert areas.min() >= 0.015
    assert areas.max() <= 0.4
    assert areas.std() > 0.05
    for mask in erased[erased.any((1, 2))]:
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == rows * columns  # a rectangle


@pytest.mark.parametrize("size", [(96, 48), (384, 192), (384, 128)])
def test_boxes_are_distributed_as_those_of_cal(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    random.seed(0)
    boxes = draw_boxes(20_000, size).numpy()
    literal = [literal_box(*size) for _ in range(20_000)]
    theirs = np.array([box for box in literal if box is not None])
    ours = boxes[boxes.any(1)]
    ours = np.stack([ours[:, 0], ours[:, 2], ours[:, 1] - ours[:, 0], ours[:, 3] - ours[:, 2]], axis=1)
    assert len(ours) / len(boxes) == pytest.approx(len(theirs) / len(literal), abs=0.015)

    def facts(drawn: np.ndarray) -> dict[str, np.ndarray]:
        top, left, tall, wide = drawn.T
        room = (size[0] - tall + 1, size[1] - wide + 1)
        return {
            "top": top, "left": left, "height": tall, "width": wide, "area": tall * wide, "aspect": tall / wide,
            "place": (top + 0.5) / room[0] - (left + 0.5) / room[1],
        }  # fmt: skip

    for (name, found), expected in zip(facts(ours).items(), facts(theirs).values(), strict=True):
        assert ks_2samp(found, expected).pvalue > 0.001, name


def test_no_box_is_cut_to_the_image() -> None:
    """A rectangle that is too wide or too tall is drawn again: none has the image's width or height."""
    torch.manual_seed(1)
    top, bottom, left, right = draw_boxes(20_000, (96, 48)).T
    erased = bottom > 0
    assert (right - left)[erased].max() == 47
    assert (bottom - top)[erased].max() < 96
    assert (right <= 48).all() & (bottom <= 96).all() & (left >= 0).all() & (top >= 0).all()
    area = ((bottom - top) * (right - left))[erased] / (96 * 48)
    assert area.max() < 0.41  # both sides are rounded
    assert area.min() > 0.015
    assert ((right == 48) & erased).any()  # though it may touch every side
    assert ((bottom == 96) & erased).any()


def test_an_image_without_room_is_not_erased() -> None:
    torch.manual_seed(0)
    top, bottom, left, right = draw_boxes(200, (1, 1)).T
    assert not ((bottom - top) * (right - left)).any()


def test_tracklets_are_mirrored_alone() -> None:
    assert C2D.augmented_by == ("mirror",)
    assert build_model("cal", 2, [0, 1]).augmented_by == ("crop", "mirror", "erase")
    batch = images(200)
    torch.manual_seed(0)
    out = augment(batch, draw(200, (24, 16), C2D.augmented_by), torch.arange(200), C2D.augmented_by)
    plain = normalise(batch)
    same, mirrored = ((out == picture).all((1, 2, 3)) for picture in (plain, plain.flip(3)))
    assert (same | mirrored).all()
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.1)


def test_no_step_at_all() -> None:
    batch = images(3)
    assert torch.equal(augment(batch, draw(3, (24, 16), ()), torch.arange(3), ()), normalise(batch))


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(ValueError, match="no augmentation named 'blur'; there are crop, mirror, erase"):
        draw(1, (24, 16), ("mirror", "blur"))


def test_augment_is_a_function_of_the_seed() -> None:
    first, second, other = (augmented(images(), seed) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_share_of_a_batch_is_augmented_as_in_the_whole() -> None:
    batch = images(10)
    whole = augmented(batch)
    torch.manual_seed(0)
    drawn = draw(10, (24, 16))
    parts = [augment(batch[part], drawn, torch.arange(10)[part]) for part in (slice(0, 3), slice(3, 10))]
    assert torch.equal(torch.cat(parts), whole)


def test_the_frames_of_a_clip_are_augmented_alike() -> None:
    frames = images(1).repeat(6, 1, 1, 1)
    torch.manual_seed(0)
    out = augment(frames, draw(2, (24, 16)), torch.arange(2).repeat_interleave(3))
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[3], out[5])
    assert not torch.equal(out[0], out[3])
