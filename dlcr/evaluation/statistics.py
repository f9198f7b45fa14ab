"""How sure a result is: bootstrap intervals over queries and the paired test of two runs on the same queries.

Scores of a query, from several seeds or one: float [Q] or [seeds, Q]. Several seeds are averaged for each
query first, so the intervals and tests speak about which queries were drawn, not about which seeds.
"""

from dataclasses import dataclass

import numpy as np

BATCH_VALUES = 4_000_000  # resampled values held at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of a - b over queries, its confidence interval, and the two-sided p value of no difference."""

    mean: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(values: np.ndarray, n: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Percentile interval of the mean of `values` from `n` resamples of the queries.

    `values` is [Q] or [seeds, Q], seeds averaged first; `level` is the share of resampled means inside.
    ValueError if a value is not finite or there is no query.
    """
    values = _per_query(values, "values")
    _check_settings(n, level)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, mean, mean)  # one query can only be drawn again
    from scipy import stats  # half a second, which stages that ask for no statistics need not pay

    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=n,
        batch=max(1, BATCH_VALUES // len(values)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


def paired_difference(a: np.ndarray, b: np.ndarray, n: int = 2000, seed: int = 0, level: float = 0.95) -> Difference:
    """Mean of a - b over the same queries, its percentile bootstrap interval and a paired permutation test.

    `a` and `b` are [Q] or [seeds, Q] over the same queries in the same order (their numbers of seeds may
    differ). The test flips the signs of the differences at random, `n` times; where there are at most `n`
    ways to flip, it takes each once. ValueError if the numbers of queries differ, a value is not finite or
    there is no query.
    """
    a, b = _per_query(a, "a"), _per_query(b, "b")
    if len(a) != len(b):
        raise ValueError(f"a and b must hold the same queries, got {len(a)} and {len(b)}")
    difference = a - b
    interval = bootstrap_interval(difference, n, seed, level)
    if len(difference) == 1 or not difference.any():
        return Difference(interval.mean, interval.low, interval.high, 1.0)  # flips don't change |mean|
    from scipy import stats

    test = stats.permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",  # of a single sample: signs are flipped
        vectorized=True,
        n_resamples=n,
        batch=max(1, BATCH_VALUES // len(difference)),
        rng=np.random.default_rng(seed),
    )
    return Difference(interval.mean, interval.low, interval.high, float(test.pvalue))


def _per_query(values: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must be [Q] or [seeds, Q] and not empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array if array.ndim == 1 else array.mean(axis=0)


def _check_settings(n: int, level: float) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
