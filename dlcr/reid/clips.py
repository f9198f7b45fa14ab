"""Clips of tracklets: which frames of a video a model of clips sees.

Pure functions of lengths and random numbers. The rules are those of CAL's release (guxinqian/Simple-CCReID:
data/datasets/ccvid.py for `chunks` and `all_clips`, TemporalRandomCrop of data/temporal_transforms.py for
`pick_clip`).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CHUNK = 64
FRAMES = 8
STRIDE = 4


def chunks(train: pd.DataFrame, size: int = CHUNK) -> list[NDArray[np.int64]]:
    """Cut the training tracklets into chunks; an epoch takes one clip of each (`pick_clip`).

    train: the manifest's rows of split train. A chunk is int64 row numbers (from 0) of `train`, in the order of
    `frame`; chunks come by tracklet. A tracklet gives a chunk for every whole `size` frames, at least one, and its last
    chunk takes what is left over: it is at most 2 * size - 1 long. ValueError for an image that belongs to no tracklet.
    """
    names = train["tracklet"].to_numpy(dtype=object).astype(str)
    alone = np.flatnonzero(names == "")
    if len(alone):
        image_id = train["image_id"].iloc[alone[0]]
        raise ValueError(f"training image {image_id!r} belongs to no tracklet; a model of clips needs tracklets")
    order = np.lexsort((train["frame"], names))
    starts = np.flatnonzero(names[order][1:] != names[order][:-1]) + 1
    found = []
    for tracklet in np.split(order, starts):
        found += np.split(tracklet, np.arange(1, len(tracklet) // size) * size)
    return found


def pick_clip(
    chunk: NDArray[np.int64], rng: np.random.Generator, frames: int = FRAMES, stride: int = STRIDE
) -> NDArray[np.int64]:
    """A random training clip of a chunk: `frames` of its entries, int64 [frames], in their order.

    From `frames * stride` entries on every `stride`-th from a random first one. From `frames` entries on one of each of
    `frames` equal parts; what is left over at the end takes no part. Of fewer, draws with replacement.
    """
    length = len(chunk)
    if length == 0:
        raise ValueError("the chunk is empty: expected at least one frame")
    if length >= frames * stride:
        places = rng.integers(length - (frames - 1) * stride) + np.arange(frames) * stride
    elif length >= frames:
        part = length // frames
        places = np.arange(frames) * part + rng.integers(part, size=frames)
    else:
        places = np.sort(rng.integers(length, size=frames))
    return chunk[places]


def all_clips(length: int, frames: int = FRAMES, stride: int = STRIDE) -> NDArray[np.int64]:
    """The test clips of a tracklet of `length` frames: their places, int64 [ceil(length / frames), frames].

    Every whole `frames * stride` frames are `stride` interleaved clips; of the remainder as many whole clips as there
    are, interleaved likewise; the frames that are left then are repeated in a loop to a last clip.
    """
    if length < 1:
        raise ValueError(f"a tracklet of {length} frames: expected at least one")
    places = np.arange(length)
    whole = length // (frames * stride) * (frames * stride)
    fewer = (length - whole) // frames
    left = whole + fewer * frames
    found = [
        places[:whole].reshape(-1, frames, stride).transpose(0, 2, 1).reshape(-1, frames),
        places[whole:left].reshape(frames, fewer).T,
    ]
    if left < length:
        found.append(np.resize(places[left:], (1, frames)))
    return np.concatenate(found)
