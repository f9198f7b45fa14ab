"""Features from a trained model: of images and their mirrors, added and L2-normalised, or of tracklets.

    features = extract_features(model, images, keys=image_ids, size=(384, 192))
    features = extract_tracklet_features(model, images, tracklets, size=(256, 128))

PyTorch is imported where it is used, so that metrics run without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from dlcr.runtime.progress import progress

if TYPE_CHECKING:
    import torch


def extract_features(
    model: torch.nn.Module,
    images: Iterable[np.ndarray] | Mapping,
    size: tuple[int, int],
    batch: int = 64,
    device: str | torch.device | None = None,
    keys: Sequence | None = None,
    desc: str | None = "features",
) -> np.ndarray:
    """Features float32 [N, D] of N images: rows of length 1, in the order of the images.

    `model` maps normalised images [B, 3, height, width] to features [B, D]; it is moved to `device`
    (default: where its parameters are) and stays in eval mode. `images` are RGB arrays uint8 [H, W, 3] of
    any size, or, with `keys`, anything that gives one for each key (`dlcr.data.open_images` with image
    IDs). They are resized to `size` (height, width): bilinearly, or bicubically where `model.bicubic` says
    so. Decoding and resizing run in threads, one batch ahead of the model. `desc` names the progress bar;
    None shows none.

    A model of clips (`model.frames` above 1) maps [B, frames, 3, height, width] to [B, D]. Each of `keys` is then a
    clip, a sequence of `frames` keys, and no mirror is added (CAL on CCVID). `batch` counts frames: at least one
    clip's, and otherwise no more than of images.

    ValueError if there is no image, one is not uint8 RGB, a clip has another number of frames, or the features are not
    finite rows; each names the image, of a clip's features its first.
    """
    from torch.nn.functional import normalize

    frames = _frames(model)
    if frames > 1:
        if keys is None:
            raise ValueError(f"keys is missing: this model takes clips, {frames} keys each")
        items, total = _frames_of(keys, images, frames), len(keys) * frames
    elif keys is not None:
        items, total = ((key, images) for key in keys), len(keys)
    else:
        items, total = enumerate(images), len(images) if hasattr(images, "__len__") else None
    outputs = _outputs(model, items, keys is not None, size, batch, device, total, desc)
    parts = [normalize(features, dim=1).cpu().numpy() for features in outputs]
    if not parts:
        raise ValueError("images is empty: expected at least one image")
    return np.concatenate(parts)


def extract_tracklet_features(
    model: torch.nn.Module,
    images: Mapping,
    tracklets: Sequence[Sequence],
    size: tuple[int, int],
    batch: int = 64,
    device: str | torch.device | None = None,
    desc: str = "features",
) -> np.ndarray:
    """Features float32 [T, D] of T tracklets by a model of clips: rows of length 1.

    Each of `tracklets` holds the keys of its frames in their order; they are cut into clips
    (`dlcr.reid.clips.all_clips`). A tracklet's feature is the mean of its clips' as the model gives them, of length 1
    only then (Simple-CCReID, test.py). No more than two batches of frames are held at a time. Arguments and errors
    otherwise as in `extract_features`; ValueError too for a model of images and for a tracklet without frames.
    """
    from dlcr.reid.clips import all_clips

    frames = _frames(model)
    if frames == 1:
        raise ValueError("the model takes images: only a model of clips gives features of tracklets")
    if len(tracklets) == 0:
        raise ValueError("tracklets is empty: expected at least one tracklet")
    counts = np.array([-(-len(keys) // frames) for keys in tracklets])
    if not counts.all():
        raise ValueError(f"tracklet {counts.argmin()} has no frames: expected at least one")
    clips = ([keys[place] for place in clip] for keys in tracklets for clip in all_clips(len(keys), frames))
    items, total = _frames_of(clips, images, frames), int(counts.sum()) * frames
    owners = iter(np.repeat(np.arange(len(tracklets)), counts))
    sums: np.ndarray | None = None
    for features in _outputs(model, items, True, size, batch, device, total, desc):
        found = features.double().cpu().numpy()
        sums = np.zeros((len(tracklets), found.shape[1])) if sums is None else sums
        np.add.at(sums, list(islice(owners, len(found))), found)
    # of length 1, the sum of the clips' features is their mean
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)


def _frames(model: torch.nn.Module) -> int:
    return getattr(model, "frames", 1)


def _frames_of(clips: Iterable[Sequence], images: Mapping, frames: int) -> Iterator[tuple]:
    """The frames of all clips, one after another, with where their pixels are."""
    for clip in clips:
        if isinstance(clip, str) or len(clip) != frames:
            raise ValueError(f"clip {clip!r}: expected the keys of {frames} frames")
        for key in clip:
            yield key, images


def _outputs(
    model: torch.nn.Module,
    items: Iterator[tuple],
    keyed: bool,
    size: tuple[int, int],
    batch: int,
    device: str | torch.device | None,
    total: int | None,
    desc: str | None,
) -> Iterator[torch.Tensor]:
    """What the model gives for all items, float32 [B, D] per batch: image and mirror added, or one row per clip."""
    import torch

    from dlcr.reid.colours import normalise

    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    parameter = next(model.parameters(), None)
    device = device or ("cpu" if parameter is None else parameter.device)
    model = model.to(device).eval()
    frames, bicubic = _frames(model), getattr(model, "bicubic", False)
    batch = max(batch // frames, 1) * frames
    with nullcontext() if desc is None else progress(total, desc) as bar:
        for names, pixels in _batches(items, keyed, size, bicubic, batch, torch.get_num_threads()):
            with torch.inference_mode():
                inputs = normalise(torch.from_numpy(pixels).to(device))
                if frames == 1:
                    features = (model(inputs) + model(inputs.flip(3))).float()
                else:
                    features = model(inputs.unflatten(0, (-1, frames))).float()
            _check_features(features, names[::frames])
            if bar is not None:
                bar.update(len(names))
            yield features


def _batches(
    items: Iterator, keyed: bool, size: tuple[int, int], bicubic: bool, batch: int, workers: int
) -> Iterator[tuple[list, np.ndarray]]:
    """Names and pixels uint8 [B, H, W, 3], a batch at a time; the next one is made meanwhile."""
    from dlcr.reid.pixels import resize

    def load(item: tuple) -> np.ndarray:
        name, source = item
        image = np.asarray(source[name] if keyed else source)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"image {name!r} must be RGB uint8 [H, W, 3], got {image.dtype} {image.shape}")
        return resize(image, size, bicubic)

    with ThreadPoolExecutor(workers) as pool:
        ahead: list[tuple[list, Iterator[np.ndarray]]] = []
        while True:
            chunk = list(islice(items, batch))
            if chunk:
                ahead.append(([name for name, _ in chunk], pool.map(load, chunk)))
            if not ahead:
                return
            if len(ahead) == 2 or not chunk:
                names, loaded = ahead.pop(0)
                yield names, np.stack(list(loaded))


def _check_features(features: torch.Tensor, names: list) -> None:
    if features.ndim != 2 or len(features) != len(names):
        raise ValueError(f"the model must give features [{len(names)}, D], got shape {tuple(features.shape)}")
    broken = (~features.isfinite().all(dim=1)).nonzero()
    if len(broken):
        raise ValueError(f"the model's features of image {names[int(broken[0])]!r} are not finite")
