"""Augmentation against its own bounds, and split over processes."""

import pytest
import torch

from dlcr.reid.augment import ENLARGE, ERASED_VALUE, augment, draw
from dlcr.reid.colours import MEAN, STD, normalise


def images(count: int = 64, height: int = 24, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def augmented(batch: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return augment(batch, draw(len(batch), tuple(batch.shape[1:3])), torch.arange(len(batch)))


def test_normalise() -> None:
    out = normalise(torch.tensor([[[[255, 0, 128]]]], dtype=torch.uint8))
    expected = [(value / 255 - mean) / std for value, mean, std in zip((255, 0, 128), MEAN, STD, strict=True)]
    assert out.shape == (1, 3, 1, 1)
    assert out.flatten().tolist() == pytest.approx(expected)


def test_each_of_three_things_is_done_to_half_of_the_images() -> None:
    batch = images(400)
    out, plain = augmented(batch), normalise(batch)
    erased = (out == ERASED_VALUE).all(1)
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
    out = augmented(ramp.expand(400, 96, 48, 3))[:, 0]
    out = out[(out != ERASED_VALUE).all(2).all(1)] * STD[0] + MEAN[0]
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
    erased = (out == ERASED_VALUE).all(1)
    areas = erased.sum((1, 2))[erased.any((1, 2))] / (96 * 48)
    assert areas.min() >= 0.015
    assert areas.max() <= 0.4
    assert areas.std() > 0.05
    for mask in erased[erased.any((1, 2))]:
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == rows * columns  # a rectangle


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
