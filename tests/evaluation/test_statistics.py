"""Intervals and the paired test against closed forms, exact enumeration and their own meaning."""

from itertools import product

import numpy as np
import pytest

from dlcr.evaluation import bootstrap_interval, paired_difference


def test_interval_of_a_share_is_close_to_the_normal_approximation():
    values = np.repeat([0.0, 1.0], [300, 700])
    interval = bootstrap_interval(values, n=4000, seed=1)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert interval.mean == pytest.approx(0.7)
    assert (interval.low, interval.high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.003)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        sample, seed = rng.normal(5, 2, 60), int(rng.integers(1 << 30))
        interval = bootstrap_interval(sample, n=300, seed=seed, level=0.9)
        covered += interval.low <= 5 <= interval.high
    assert 165 <= covered <= 195


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_seeds_are_averaged_for_each_query_first():
    values = np.random.default_rng(0).normal(size=(3, 40))
    assert bootstrap_interval(values) == bootstrap_interval(values.mean(axis=0))
    assert paired_difference(values, np.zeros(40)) == paired_difference(values.mean(axis=0), np.zeros((2, 40)))


def test_constant_values_and_single_queries_have_no_width():
    assert bootstrap_interval([0.25] * 9) == bootstrap_interval([0.25])
    same = paired_difference([1, 0, 1], [1, 0, 1])
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert paired_difference([1], [0]).p_value == 1


def test_p_value_of_few_queries_is_that_of_all_ways_to_flip_signs():
    difference = np.random.default_rng(5).normal(0.6, 1, 9)
    means = [np.mean(difference * signs) for signs in product([-1, 1], repeat=9)]
    expected = np.mean(np.abs(means) >= abs(difference.mean()) - 1e-12)
    found = paired_difference(difference, np.zeros(9))
    assert found.p_value == pytest.approx(expected)
    assert paired_difference(np.zeros(9), difference).p_value == pytest.approx(expected)


def test_p_values_are_uniform_without_and_small_with_a_difference():
    rng = np.random.default_rng(6)
    a = rng.random(200)
    values = [paired_difference(a, a + rng.normal(0, 0.1, 200), n=200, seed=i).p_value for i in range(60)]
    assert 0.3 < np.mean(values) < 0.7
    better = paired_difference(a + 0.05 + rng.normal(0, 0.1, 200), a, n=500)
    assert better.p_value < 0.01
    assert 0 < better.low < better.mean < better.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), r"values must be \[Q\] or \[seeds, Q\] and not empty"),
        (lambda: bootstrap_interval([1, np.nan]), "values must be finite"),
        (lambda: bootstrap_interval([1, 2], n=0), "n must be at least 1"),
        (lambda: bootstrap_interval([1, 2], level=1.0), "level must lie between 0 and 1"),
        (lambda: paired_difference([1, 2], [1]), "the same queries, got 2 and 1"),
        (lambda: paired_difference([1, 2], np.ones((1, 1, 2))), r"b must be \[Q\]"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
