"""Features: resized, normalised, mirrored, in order, whatever the batches; wrong inputs are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from dlcr.evaluation import extract_features
from dlcr.reid.augment import MEAN, STD


class Slices(torch.nn.Module):
    """Features that see where things are: the squared mean of each channel in the left and right half."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, images):
        half = images.shape[3] // 2
        halves = torch.cat([images[..., :half].mean((2, 3)), images[..., half:].mean((2, 3))], dim=1)
        return self.dropout(halves**2 * self.scale)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    sizes = [(8, 4), (9, 7), (20, 10), (8, 4), (5, 5)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def by_hand(image, size):
    resized = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)) / 255
    x = (resized - MEAN) / STD
    half = size[1] // 2
    both = []
    for y in (x, x[:, ::-1]):
        both.append(np.concatenate([y[:, :half].mean((0, 1)), y[:, half:].mean((0, 1))]) ** 2)
    total = both[0] + both[1]
    return total / np.linalg.norm(total)


def test_features_are_of_the_image_and_its_mirror(images):
    features = extract_features(Slices(), images, (8, 4))
    assert features.dtype == np.float32
    assert features.shape == (5, 6)
    np.testing.assert_allclose(features, [by_hand(image, (8, 4)) for image in images], rtol=1e-5)
    mirrored = extract_features(Slices(), [image[:, ::-1] for image in images], (8, 4))
    np.testing.assert_allclose(features, mirrored, rtol=1e-3)


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_order_and_values_do_not_depend_on_the_batch(images, batch):
    expected = extract_features(Slices(), images, (8, 4))
    np.testing.assert_allclose(extract_features(Slices(), iter(images), (8, 4), batch), expected, rtol=1e-6)
    keyed = dict(zip("abcde", images, strict=True))
    found = extract_features(Slices(), keyed, (8, 4), batch, keys=list("edcba"))
    np.testing.assert_allclose(found, expected[::-1], rtol=1e-6)


def test_the_model_is_in_eval_mode(images):
    model = Slices().train()
    first = extract_features(model, images, (8, 4))
    assert not model.training
    assert (extract_features(model, images, (8, 4)) == first).all()


class Broken(torch.nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, images):
        return self.result


def test_wrong_inputs_are_named(images):
    with pytest.raises(ValueError, match="images is empty"):
        extract_features(Slices(), [], (8, 4))
    with pytest.raises(ValueError, match=r"image 1 must be RGB uint8 \[H, W, 3\], got uint8 \(8, 4\)"):
        extract_features(Slices(), [images[0], images[1][:8, :4, 0]], (8, 4))
    with pytest.raises(ValueError, match="image 'a' must be RGB uint8"):
        extract_features(Slices(), {"a": images[0] / 255}, (8, 4), keys=["a"])
    with pytest.raises(ValueError, match="batch must be at least 1"):
        extract_features(Slices(), images, (8, 4), batch=0)
    with pytest.raises(ValueError, match="features of image 0 are not finite"):
        extract_features(Broken(torch.full((1, 2), torch.nan)), images[:1], (8, 4))
    with pytest.raises(ValueError, match=r"must give features \[1, D\], got shape \(1, 2, 3\)"):
        extract_features(Broken(torch.ones(1, 2, 3)), images[:1], (8, 4))
