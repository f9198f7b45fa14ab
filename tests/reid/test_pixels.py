"""Pixels from the cache and from the shards, read ahead."""

import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcr.reid import pixels as module
from dlcr.reid.pixels import Pixels, fits, resize, write_pixels
from dlcr.reid.samples import load_samples

SIZE = (8, 4)


def _pixels(make_toy, tmp_path: Path, cached: bool) -> Pixels:
    dataset, generated = make_toy((3, 2), skipped=((1, 0),))
    pixels = Pixels(load_samples(dataset, generated, "paired", k=2), dataset, generated, SIZE)
    if cached:
        write_pixels(tmp_path / "pixels.npy", pixels, threads=2)
        pixels = Pixels(pixels.samples, dataset, generated, SIZE, tmp_path / "pixels.npy")
    return pixels


def _every(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    layers, images = np.nonzero(np.concatenate([np.ones((1, 5), bool), pixels.samples.present]))
    return layers, images


@pytest.mark.parametrize("cached", [False, True])
def test_pixels_are_each_images_own(make_toy, tmp_path: Path, cached: bool) -> None:
    pixels = _pixels(make_toy, tmp_path, cached)
    layers, images = _every(pixels)
    assert len(layers) == 14
    for layer, image, found in zip(layers, images, pixels.read((layers, images)), strict=True):
        assert found.shape == (*SIZE, 3)
        assert (found == (image, layer, 128)).all()
    assert pixels.read((layers.reshape(7, 2), images.reshape(7, 2))).shape == (7, 2, *SIZE, 3)
    again = pickle.loads(pickle.dumps(pixels))
    assert np.array_equal(again.read((layers, images)), pixels.read((layers, images)))


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_and_ahead(make_toy, tmp_path: Path, threads: int, monkeypatch) -> None:
    pixels = _pixels(make_toy, tmp_path, cached=False)
    batches = [(np.array([[0]]), np.array([[image % 5]])) for image in range(12)]
    begun = []
    monkeypatch.setattr(pixels, "read", lambda cells: begun.append(cells) or Pixels.read(pixels, cells))
    for i, found in enumerate(pixels.batches(batches, threads)):
        assert found[0, 0, 0, 0, 0] == i % 5
        for _ in range(200):
            if len(begun) >= min(12, i + 1 + module.AHEAD):
                break
            time.sleep(0.01)
        assert min(12, i + 1 + module.AHEAD) <= len(begun) <= i + 1 + module.AHEAD + threads
    assert len(begun) == 12
    assert pixels.seconds_waited > 0


def test_an_error_in_a_batch_reaches_the_caller(make_toy, tmp_path: Path) -> None:
    pixels = _pixels(make_toy, tmp_path, cached=True)
    with pytest.raises(IndexError):
        list(pixels.batches([(np.array([[9]]), np.array([[0]]))], 1))


def test_what_does_not_fit_is_not_cached(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = _pixels(make_toy, tmp_path, cached=False).samples
    assert fits(samples, SIZE, tmp_path / "new/folder")
    assert not fits(samples, (10**6, 10**6), tmp_path)
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=2 * 3 * 5 * 8 * 4 * 3 - 1))
    assert not fits(samples, SIZE, tmp_path)


def test_resize_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 31, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((16, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(resize(image, (32, 16)), expected)
    bicubic = np.asarray(Image.fromarray(image).resize((16, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(resize(image, (32, 16), bicubic=True), bicubic)


def test_a_models_resizing_reaches_its_pixels(make_toy, tmp_path: Path) -> None:
    plain = replace(_pixels(make_toy, tmp_path, cached=False), size=(5, 3))
    bicubic = pickle.loads(pickle.dumps(replace(plain, bicubic=True)))
    cells = np.array([0]), np.array([1])
    image = plain.real[plain.samples.image_ids[1]]
    assert np.array_equal(plain.read(cells)[0], resize(image, (5, 3)))
    assert np.array_equal(bicubic.read(cells)[0], resize(image, (5, 3), bicubic=True))
