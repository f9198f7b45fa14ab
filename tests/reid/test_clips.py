"""Chunks and clips against literal transcriptions of their rules, and what must hold for every length."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dlcr.reid import clips

SEEDS = st.integers(0, 2**32)


def training_rows(lengths: list[int], rng: np.random.Generator) -> pd.DataFrame:
    """Tracklets t0, t1, ... of these lengths, their frames numbered with gaps, in a random order of rows."""
    rows = [
        {"image_id": f"t{number}/{frame}", "tracklet": f"t{number}", "frame": 3 * frame}
        for number, length in enumerate(lengths)
        for frame in range(length)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=np.random.RandomState(rng.integers(2**31)))


def literal_chunk_lengths(length: int, size: int) -> list[int]:
    if length // size == 0:
        return [length]
    return [size] * (length // size - 1) + [length - (length // size - 1) * size]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.sampled_from([1, 5, 64]), SEEDS)
def test_chunks_are_runs_of_a_tracklets_frames(lengths: list[int], size: int, seed: int) -> None:
    train = training_rows(lengths, np.random.default_rng(seed))
    found = clips.chunks(train, size)
    assert all(chunk.dtype == np.int64 for chunk in found)
    names, frames = train["tracklet"].to_numpy(), train["frame"].to_numpy()
    wanted = [(f"t{i}", n) for i, length in enumerate(lengths) for n in literal_chunk_lengths(length, size)]
    assert [({*names[chunk]}, len(chunk)) for chunk in found] == [({name}, n) for name, n in wanted]
    # one after another they are the tracklets, each frame once and in order
    joined = np.concatenate(found)
    assert frames[joined].tolist() == [3 * frame for length in lengths for frame in range(length)]


def test_chunks_of_the_release() -> None:
    train = training_rows([63, 64, 127, 128, 200], np.random.default_rng(0))
    assert [len(chunk) for chunk in clips.chunks(train)] == [63, 64, 127, 64, 64, 64, 64, 72]


def test_an_image_without_a_tracklet_is_named() -> None:
    train = pd.DataFrame({"image_id": ["a", "b"], "tracklet": ["t", ""], "frame": [0, 1]})
    with pytest.raises(ValueError, match="training image 'b' belongs to no tracklet"):
        clips.chunks(train)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), st.sampled_from([(8, 4), (8, 1), (3, 5), (1, 2)]), SEEDS)
@example(32, (8, 4), 0)
@example(8, (8, 4), 0)
def test_a_picked_clip_follows_the_rule_of_its_length(length: int, shape: tuple[int, int], seed: int) -> None:
    frames, stride = shape
    chunk = np.arange(length) * 7 + 100
    clip = clips.pick_clip(chunk, np.random.default_rng(seed), frames, stride)
    assert clip.dtype == np.int64
    assert clip.shape == (frames,)
    places = ((clip - 100) / 7).tolist()
    assert set(places) <= set(range(length))
    if length >= frames * stride:
        assert np.diff(places).tolist() == [stride] * (frames - 1)
    elif length >= frames:
        part = length // frames
        assert all(i * part <= place < (i + 1) * part for i, place in enumerate(places))
    else:
        assert places == sorted(places)
    again = clips.pick_clip(chunk, np.random.default_rng(seed), frames, stride)
    assert np.array_equal(clip, again)


def picked(length: int, count: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([clips.pick_clip(np.arange(length), rng) for _ in range(count)])


def test_picked_clips_are_uniform() -> None:
    # 35 frames: a clip spans 29, so it begins at 0 to 6
    starts = np.bincount(picked(35)[:, 0])
    assert starts == pytest.approx([3000 / 7] * 7, rel=0.2)
    assert set(picked(32)[:, 0].tolist()) == {0, 1, 2, 3}
    # 31 frames are 8 parts of 3, independent of each other; the last 7 frames are never seen
    parts = picked(31) - np.arange(8) * 3
    assert np.bincount(parts.ravel()) == pytest.approx([8000] * 3, rel=0.1)
    assert len(np.unique(parts, axis=0)) > 2000
    # 3 frames: each place is one of them, whatever the others are
    few = picked(3)
    assert np.bincount(few.ravel()) == pytest.approx([8000] * 3, rel=0.1)
    assert set(picked(1).ravel().tolist()) == {0}
    # all eight the same frame: 3 of 3^8 draws
    assert 0 < (few.min(1) == few.max(1)).sum() < 10


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="the chunk is empty"):
        clips.pick_clip(np.arange(0), np.random.default_rng(0))


def literal_test_clips(length: int, frames: int, stride: int) -> list[list[int]]:
    places, found = list(range(length)), []
    blocks = length // (frames * stride)
    for i in range(blocks):
        for j in range(stride):
            found.append(places[i * frames * stride + j : (i + 1) * frames * stride : stride])
    rest = places[blocks * frames * stride :]
    smaller = len(rest) // frames
    for j in range(smaller):
        found.append(rest[j : smaller * frames : smaller])
    last = places[length - length % frames :]
    if last:
        found.append([last[i % len(last)] for i in range(frames)])
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 400), st.sampled_from([(8, 4), (8, 1), (3, 5), (1, 4)]))
def test_test_clips_cover_a_tracklet(length: int, shape: tuple[int, int]) -> None:
    frames, stride = shape
    found = clips.all_clips(length, frames, stride)
    assert found.dtype == np.int64
    assert found.shape == (-(-length // frames), frames)
    assert found.tolist() == literal_test_clips(length, frames, stride)
    # every frame takes part, once, but for the loop's
    counts = Counter(found.ravel().tolist())
    left = length % frames
    assert set(counts) == set(range(length))
    assert all(counts[place] == 1 for place in range(length - left))
    assert sum(counts[place] for place in range(length - left, length)) == (frames if left else 0)


def test_test_clips_of_the_release() -> None:
    assert clips.all_clips(3).tolist() == [[0, 1, 2, 0, 1, 2, 0, 1]]
    assert clips.all_clips(32)[1].tolist() == [1, 5, 9, 13, 17, 21, 25, 29]
    # 32 + 19: four clips, then two of stride 2, then the last three frames in a loop
    assert clips.all_clips(51)[4:].tolist() == [
        [32, 34, 36, 38, 40, 42, 44, 46],
        [33, 35, 37, 39, 41, 43, 45, 47],
        [48, 49, 50, 48, 49, 50, 48, 49],
    ]
    with pytest.raises(ValueError, match="a tracklet of 0 frames"):
        clips.all_clips(0)
