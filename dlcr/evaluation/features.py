"""Features of images from a trained model: of the image and its mirror, added and L2-normalised.

    features = extract_features(model, images, keys=image_ids, size=(384, 192))

PyTorch is imported where it is used, so that metrics run without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    desc: str = "features",
) -> np.ndarray:
    """Features float32 [N, D] of N images: rows of length 1, in the order of the images.

    `model` maps normalised images [B, 3, height, width] to features [B, D]; it is moved to `device`
    (default: where its parameters are) and stays in eval mode. `images` are RGB arrays uint8 [H, W, 3] of
    any size, or, with `keys`, anything that gives one for each key (`dlcr.data.open_images` with image
    IDs). They are resized to `size` (height, width) bilinearly. Decoding and resizing run in threads, one
    batch ahead of the model.

    ValueError if there is no image, one is not uint8 RGB, or the features are not finite rows; each names
    the image.
    """
    import torch

    from dlcr.reid.augment import normalise

    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    parameter = next(model.parameters(), None)
    device = device or ("cpu" if parameter is None else parameter.device)
    model = model.to(device).eval()
    items = enumerate(images) if keys is None else ((key, images) for key in keys)
    total = len(keys) if keys is not None else len(images) if hasattr(images, "__len__") else None
    parts = []
    with torch.inference_mode(), progress(total, desc) as bar:
        for names, pixels in _batches(items, keys is not None, size, batch, torch.get_num_threads()):
            inputs = normalise(torch.from_numpy(pixels).to(device))
            features = (model(inputs) + model(inputs.flip(3))).float()
            _check_features(features, names)
            parts.append(torch.nn.functional.normalize(features, dim=1).cpu().numpy())
            bar.update(len(names))
    if not parts:
        raise ValueError("images is empty: expected at least one image")
    return np.concatenate(parts)


def _batches(
    items: Iterator, keyed: bool, size: tuple[int, int], batch: int, workers: int
) -> Iterator[tuple[list, np.ndarray]]:
    """Names and pixels uint8 [B, H, W, 3], a batch at a time; the next one is made meanwhile."""
    from dlcr.reid.samples import resize

    def load(item: tuple) -> np.ndarray:
        name, source = item
        image = np.asarray(source[name] if keyed else source)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"image {name!r} must be RGB uint8 [H, W, 3], got {image.dtype} {image.shape}")
        return resize(image, size)

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
