"""Labels and pixels of a run, and which sets it refuses."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcr.reid.samples import load_samples, resize, write_pixels


def test_labels_and_owners(make_toy) -> None:
    dataset, generated = make_toy((4, 2, 1), skipped=((1, 0), (2, 6)))
    samples = load_samples(dataset, generated, "paired")
    assert samples.subjects.tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert samples.clothes.tolist() == [0, 1, 0, 1, 2, 3, 4]
    assert samples.owners == [0, 0, 1, 1, 2]
    assert samples.present.shape == (3, 7)
    assert np.argwhere(~samples.present).tolist() == [[1, 0], [2, 6]]
    assert samples.name(0, 1) == "0/001.png"
    assert samples.name(3, 1) == "0/001.png variant 2"


def test_pixels_are_each_images_own(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy((3, 2), skipped=((1, 0),))
    samples = load_samples(dataset, generated, "paired", k=2)
    write_pixels(tmp_path / "pixels.npy", samples, dataset, generated, (8, 4), threads=2)
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert pixels.shape == (3, 5, 8, 4, 3)
    for layer in range(3):
        for row in range(5):
            expected = (0, 0, 0) if (layer, row) == (2, 0) else (row, layer, 128)
            assert (pixels[layer, row] == expected).all()


def test_resize_is_pillows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 31, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((16, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(resize(image, (32, 16)), expected)


def test_mode_none_opens_no_generated_set(make_toy) -> None:
    dataset, _ = make_toy()
    assert load_samples(dataset, Path("missing"), "none").present.shape == (0, 12)


def test_refused_sets(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy(k=2, dataset="elsewhere")
    with pytest.raises(ValueError, match=r"toyset: 2 variants, the run needs 3"):
        load_samples(dataset, generated, "paired", k=3)
    with pytest.raises(ValueError, match=r"made from dataset 'elsewhere', the run trains on 'toy'"):
        load_samples(dataset, generated, "paired")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"none: the set is empty, mode 'concat' needs variants"):
        load_samples(dataset, tmp_path / "none", "concat")


def test_a_set_of_other_images_is_refused(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy((4, 4))
    generated = generated.rename(tmp_path / "old")
    (tmp_path / "data/toy/manifest.parquet").unlink()
    dataset, _ = make_toy((4, 4, 1))
    with pytest.raises(
        ValueError, match=r"not made from the training images of .*: '2/008.png' is in one of them only"
    ):
        load_samples(dataset, generated, "paired")
