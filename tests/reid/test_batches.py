"""Which images meet in a batch: invariants over random label sets, and the schedule by its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.reid.batches import identity_batches, pick_variants, plan_epoch, variants_in_use

LABELS = st.lists(st.integers(1, 9), min_size=3, max_size=8).map(
    lambda counts: np.repeat(np.arange(len(counts)), counts)
)
SEEDS = st.integers(0, 2**32)


@settings(max_examples=30, deadline=None)
@given(LABELS, st.integers(1, 3), st.integers(1, 5), SEEDS)
def test_identity_batches(subjects: np.ndarray, identities: int, images: int, seed: int) -> None:
    batches = identity_batches(subjects, identities, images, np.random.default_rng(seed))
    counts = np.bincount(subjects)
    groups = np.maximum(counts // images, 1)
    assert batches.shape == (groups.sum() // identities, identities * images)
    seen = batches.reshape(-1, images)
    assert (subjects[seen] == subjects[seen[:, :1]]).all()  # a group is one subject
    used = np.bincount(seen.ravel(), minlength=len(subjects))
    assert (used[counts[subjects] >= images] <= 1).all()  # nobody with enough images repeats one
    again = identity_batches(subjects, identities, images, np.random.default_rng(seed))
    assert np.array_equal(batches, again)


def test_too_few_identities_is_one_error() -> None:
    with pytest.raises(ValueError, match="batches of 4 identities need as many subjects, the training set has 3"):
        identity_batches(np.array([0, 0, 1, 1, 2, 2]), 4, 2, np.random.default_rng(0))


def test_schedule_of_the_release() -> None:
    assert [variants_in_use(epoch, 10, 5) for epoch in (0, 4, 5, 9, 10, 14, 15, 59)] == [
        2,
        2,
        5,
        5,
        7,
        7,
        10,
        10,
    ]
    # exact for any K: whole parts wherever K is a multiple of four, never none, all in the end
    expected = {
        1: [1, 1, 1, 1],
        2: [1, 1, 1, 2],
        3: [1, 1, 2, 3],
        4: [1, 2, 3, 4],
        5: [1, 2, 3, 5],
        20: [5, 10, 15, 20],
    }
    for k, parts in expected.items():
        assert [variants_in_use(epoch, k, 1) for epoch in range(4)] == parts


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 60))
def test_schedule_grows_and_parts_are_equal(k: int, every: int, epoch: int) -> None:
    limits = [variants_in_use(q * every, k, every) for q in range(4)]
    parts = np.diff([0, *limits])
    assert limits[3] == k
    assert variants_in_use(epoch, k, every) == limits[min(epoch // every, 3)]
    if k >= 4:
        assert parts.max() - parts.min() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), SEEDS)
def test_pick_variants_takes_present_ones_of_the_same_image(k: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    present = rng.random((k, count)) < 0.6
    rows = rng.integers(0, count, (3, 5))
    picked = pick_variants(present, rows, rng)
    for row, variant in zip(rows.ravel(), picked.ravel(), strict=True):
        assert (present[variant, row]) if variant >= 0 else not present[:, row].any()


def test_pick_variants_is_uniform() -> None:
    present = np.array([[True], [False], [True], [True]])
    picked = pick_variants(present, np.zeros(6000, int), np.random.default_rng(0))
    assert np.bincount(picked, minlength=4) == pytest.approx([2000, 0, 2000, 2000], abs=150)


def _plan(mode: str, present: np.ndarray, epoch: int = 0, seed: int = 0):
    subjects = np.repeat(np.arange(4), 4)
    return plan_epoch(mode, subjects, present, epoch, 1, 2, 4, np.random.default_rng(seed))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["paired", "progressive"]), st.integers(1, 10), st.integers(0, 5), SEEDS)
def test_pairs_are_an_image_and_its_own_variant(mode: str, k: int, epoch: int, seed: int) -> None:
    present = np.random.default_rng(seed).random((k, 16)) < 0.7
    plan = _plan(mode, present, epoch, seed)
    assert plan.rows.shape == plan.layers.shape == plan.real.shape == (2, 16)
    real, generated = plan.real[0].nonzero()[0], (~plan.real[0]).nonzero()[0]
    assert len(real) == len(generated) == 8
    assert np.array_equal(plan.rows[:, real], plan.rows[:, generated])
    assert np.array_equal(plan.position, [[0, 1, 2, 3] * 4] * 2)
    assert (plan.layers[:, real] == 0).all()
    limit = variants_in_use(epoch, k, 1) if mode == "progressive" else k
    assert plan.limit == limit
    pairs = zip(plan.layers[:, generated].ravel(), plan.rows[:, generated].ravel(), strict=True)
    stand_ins = 0
    for layer, row in pairs:
        if layer:
            assert layer <= limit
            assert present[layer - 1, row]
        else:
            stand_ins += 1
            assert not present[:limit, row].any()
    assert plan.replaced == stand_ins


def test_concat_samples_every_image_that_exists_once() -> None:
    present = np.ones((3, 16), bool)
    present[1, :4] = False  # subject 0 lacks variant 1 of all its images
    plan = _plan("concat", present)
    cells = list(zip(plan.layers.ravel(), plan.rows.ravel(), strict=True))
    expected = {(0, row) for row in range(16)} | {(1 + v, row) for v, row in np.argwhere(present)}
    # 12 + 3 x 16 = 60 images are 15 groups of 4: the last, single group waits for the next epoch
    assert len(cells) == len(set(cells)) == 56
    assert set(cells) <= expected
    assert np.array_equal(plan.real, plan.layers == 0)


def test_none_uses_real_images_only() -> None:
    plan = _plan("none", np.zeros((0, 16), bool))
    assert plan.rows.shape == (2, 8)
    assert (plan.layers == 0).all()
    assert plan.real.all()
    assert plan.limit == plan.replaced == 0
