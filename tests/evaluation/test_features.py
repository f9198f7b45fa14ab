"""Features of images, clips and tracklets: in order, whatever the batches; wrong inputs are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from dlcr.evaluation import extract_features
from dlcr.evaluation.features import extract_tracklet_features
from dlcr.reid import clips
from dlcr.reid.colours import MEAN, STD


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


FRAMES = 3
SIZE = (8, 4)


class ClipSlices(torch.nn.Module):
    """Features that see the order of frames and where things are, of any length; keeps what each batch looked like."""

    frames = FRAMES

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, clips):
        self.shapes.append(tuple(clips.shape))
        half = clips.shape[4] // 2
        halves = torch.cat([clips[..., :half].mean((3, 4)), clips[..., half:].mean((3, 4))], dim=2)
        return (halves**2 * torch.tensor([1.0, 2.0, 5.0])[:, None]).sum(1)


def clip_by_hand(clip):
    total = 0
    for weight, image in zip((1, 2, 5), clip, strict=True):
        resized = np.asarray(Image.fromarray(image).resize(SIZE[::-1], Image.Resampling.BILINEAR)) / 255
        x = (resized - MEAN) / STD
        total = total + weight * np.concatenate([x[:, :2].mean((0, 1)), x[:, 2:].mean((0, 1))]) ** 2
    return total


@pytest.fixture
def frames():
    """40 frames by key, of several brightnesses: the clips' features differ in length."""
    rng = np.random.default_rng(1)
    return {("f", i): rng.integers(0, 40 + 5 * i, (9, 5, 3), dtype=np.uint8) for i in range(40)}


def test_a_models_resizing_is_its_own(frames):
    """Bicubic where the model says so, else bilinear."""
    model = ClipSlices()
    model.bicubic = True
    key = tuple(("f", i) for i in (30, 4, 17))
    found = extract_features(model, frames, SIZE, keys=[key])
    clip = [Image.fromarray(frames[k]).resize(SIZE[::-1], Image.Resampling.BICUBIC) for k in key]
    expected = clip_by_hand([np.asarray(image) for image in clip])  # which leaves images of this size as they are
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), rtol=1e-4)
    bilinear = clip_by_hand([frames[k] for k in key])
    assert np.abs(found[0] - bilinear / np.linalg.norm(bilinear)).max() > 1e-3


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
def test_features_of_clips(frames, batch):
    model = ClipSlices()
    keys = [tuple(("f", i) for i in clip) for clip in [(0, 1, 2), (2, 1, 0), (5, 5, 9), (30, 4, 17), (39, 38, 37)]]
    found = extract_features(model, frames, SIZE, batch, keys=keys)
    assert found.dtype == np.float32
    expected = np.stack([clip_by_hand([frames[key] for key in clip]) for clip in keys])
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5)
    # the batch counts frames, and a clip's mirror is not added
    most = max(batch // FRAMES, 1)
    assert model.shapes == [(min(most, 5 - first), FRAMES, 3, *SIZE) for first in range(0, 5, most)]


@pytest.mark.parametrize("batch", [1, 10, 64])
def test_a_tracklets_feature_is_the_mean_of_its_clips(frames, batch):
    keys = list(frames)
    tracklets = [keys[:1], keys[1:14], keys[14:17], keys[17:]]  # 1, 5, 1 and 8 clips
    found = extract_tracklet_features(ClipSlices(), frames, tracklets, SIZE, batch)
    assert found.dtype == np.float32
    for feature, tracklet in zip(found, tracklets, strict=True):
        places = clips.all_clips(len(tracklet), FRAMES)
        raw = np.stack([clip_by_hand([frames[tracklet[place]] for place in clip]) for clip in places])
        mean = raw.mean(0)
        np.testing.assert_allclose(feature, mean / np.linalg.norm(mean), rtol=1e-5)
        if len(raw) > 1:  # what a mean of rows of length 1 would be
            of_units = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).mean(0)
            assert not np.allclose(feature, of_units / np.linalg.norm(of_units), rtol=1e-3)


def test_only_two_batches_of_frames_are_held(frames):
    class Counting(dict):
        loaded = 0

        def __getitem__(self, key):
            self.loaded += 1
            return super().__getitem__(key)

    class Ahead(ClipSlices):
        seen, held = 0, 0

        def forward(self, clips):
            self.held = max(self.held, images.loaded - self.seen)
            self.seen += clips.shape[0] * clips.shape[1]
            return super().forward(clips)

    images, model = Counting(frames), Ahead()
    extract_tracklet_features(model, images, [list(frames)] * 4, SIZE, batch=6)
    assert model.seen == images.loaded == 4 * 14 * FRAMES
    assert 0 < model.held <= 12


def test_wrong_clips_and_tracklets_are_named(frames):
    keys = list(frames)
    with pytest.raises(ValueError, match="keys is missing: this model takes clips, 3 keys each"):
        extract_features(ClipSlices(), frames.values(), SIZE)
    for clip in (keys[:2], "abc"):
        with pytest.raises(ValueError, match=r"clip .*: expected the keys of 3 frames"):
            extract_features(ClipSlices(), frames, SIZE, keys=[keys[:3], clip])
    with pytest.raises(ValueError, match="images is empty"):
        extract_features(ClipSlices(), frames, SIZE, keys=[])
    with pytest.raises(ValueError, match="the model takes images"):
        extract_tracklet_features(Slices(), frames, [keys], SIZE)
    with pytest.raises(ValueError, match="tracklet 1 has no frames"):
        extract_tracklet_features(ClipSlices(), frames, [keys, []], SIZE)
    with pytest.raises(ValueError, match="tracklets is empty"):
        extract_tracklet_features(ClipSlices(), frames, [], SIZE)
    broken = Broken(torch.tensor([[1.0, 2.0], [torch.inf, 0.0]]))
    broken.frames = FRAMES
    with pytest.raises(ValueError, match=r"features of image \('f', 3\) are not finite"):
        extract_tracklet_features(broken, frames, [keys[:3], keys[3:6]], SIZE)
