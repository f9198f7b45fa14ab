"""How sure a mean or a difference is, where subjects and trainings both vary (docs/claims.md, "Intervals").

    found = paired_difference(a, b, subjects)          # a, b: [seeds, Q], the same queries and seeds
    print(found.mean, found.low, found.high, found.p_value, found.smallest())

Queries of one subject are alike, and two trainings of one model differ: a result is about other people and other seeds
only if both are counted. The score of training seed s on subject g is taken as

    mean + effect of s + effect of g + rest,

three crossed random effects, whose variances come from the mean squares of a two-way table (Searle, Casella and
McCulloch, Variance Components, 1992, ch. 4). The mean is that over queries, so a subject counts as often as it was
asked for; its standard error is

    sqrt((seeds' mean square + subjects' mean square - rest's mean square) / number of cells),

and the interval is Student's with Satterthwaite's degrees of freedom. Resampling seeds and subjects instead gives
intervals that are too narrow with two to eight seeds, and needs random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean over queries and seeds, in the unit of the scores, and what it would be worth with others.

    error       standard error, over other subjects and, with several seeds, other seeds too; NaN for one subject
    freedom     degrees of freedom of the error
    seeds       how many there were; subjects likewise
    variances   of the seeds' effects, of the subjects' and of the rest (scores squared), where the error comes from.
                With one seed that of the seeds is NaN, and the rest counts as the subjects'. A negative one, as
                moments may give, is 0.
    """

    mean: float
    error: float
    freedom: float
    seeds: int
    subjects: int
    variances: tuple[float, float, float]

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.mean - self._quantile((1 + LEVEL) / 2)

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.mean + self._quantile((1 + LEVEL) / 2)

    @property
    def p_value(self) -> float:
        """Two-sided p value of a mean of 0."""
        return self.p_against(0.0)

    def p_against(self, value: float) -> float:
        """Two-sided p value of a mean of `value`; 1 where nothing is known of the error."""
        if np.isnan(self.error):
            return 1.0
        distance = abs(self.mean - value)
        if self.error == 0:
            return 0.0 if distance else 1.0
        from scipy.special import stdtr  # half a second, which stages that ask for no statistics need not pay

        return float(2 * stdtr(self.freedom, -distance / self.error))

    def smallest(self, alpha: float = 1 - LEVEL, power: float = POWER) -> float:
        """The smallest true difference that a two-sided test at `alpha` finds in this share of all cases."""
        return self._quantile(1 - alpha / 2, power)

    def smallest_margin(self, alpha: float = 1 - LEVEL, power: float = POWER) -> float:
        """The smallest margin within which two equals are shown to lie in this share of all cases, by two one-sided
        tests, each at half of `alpha`."""
        return self._quantile(1 - alpha / 2, (1 + power) / 2)

    def foreseen(self, seeds: int, subjects: int | None = None) -> "Estimate":
        """What to expect of so many training seeds (2 or more) and subjects (default: as many); not after one seed."""
        subjects = subjects or self.subjects
        of_seeds, of_subjects, rest = self.variances
        return _estimate(self.mean, (subjects * of_seeds + rest, seeds * of_subjects + rest, rest), seeds, subjects)

    def _quantile(self, *shares: float) -> float:
        """The sum of these quantiles of the error's distribution."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, shares).sum() * self.error)


def mean_estimate(values: np.ndarray, subjects: np.ndarray | None = None) -> Estimate:
    """The mean of scores [Q] or [seeds, Q] of queries of `subjects` [Q]; None: each query is of a subject of its own.

    ValueError if a score is not finite, there is no query, or subjects are not one per query.
    """
    values = _scores(values, "values")
    count = values.shape[1]
    _, owner = np.unique(np.arange(count) if subjects is None else np.asarray(subjects), return_inverse=True)
    if owner.shape != (count,):
        raise ValueError(f"subjects must be one per query, got shape {owner.shape} for {count} queries")
    sizes = np.bincount(owner)
    mean = values.mean()
    # what a seed's subject adds to the mean, beyond an average one: a ratio estimator, as subjects have unequal queries
    sums = np.stack([np.bincount(owner, row) for row in values])
    cells = (sums - sizes * mean) / sizes.mean()
    return _two_way(float(mean), cells)


def paired_difference(a: np.ndarray, b: np.ndarray, subjects: np.ndarray | None = None) -> Estimate:
    """The mean of a - b over the same queries, and over the same training seeds in the same order.

    a, b: [Q] or [seeds, Q]. subjects, errors: as for `mean_estimate`; ValueError too if the shapes differ.
    """
    a, b = _scores(a, "a"), _scores(b, "b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must hold the same queries, got {a.shape[1]} and {b.shape[1]}")
    if len(a) != len(b):
        raise ValueError(f"a and b must hold the same training seeds, got {len(a)} and {len(b)}")
    return mean_estimate(a - b, subjects)


def _two_way(mean: float, cells: np.ndarray) -> Estimate:
    """The estimate from what every seed and subject adds to the mean, [seeds, subjects], of mean 0."""
    seeds, subjects = cells.shape
    by_seed, by_subject = cells.mean(1, keepdims=True), cells.mean(0, keepdims=True)
    rest = cells - by_seed - by_subject
    sums = [subjects * (by_seed**2).sum(), seeds * (by_subject**2).sum(), (rest**2).sum()]
    squares = [
        total / freedom if freedom else np.nan for total, freedom in zip(sums, _freedoms(seeds, subjects), strict=True)
    ]
    return _estimate(mean, squares, seeds, subjects)


def _freedoms(seeds: int, subjects: int) -> tuple[int, int, int]:
    return seeds - 1, subjects - 1, (seeds - 1) * (subjects - 1)


def _estimate(mean: float, squares: Sequence[float], seeds: int, subjects: int) -> Estimate:
    """The estimate from the mean squares of seeds, subjects and the rest."""
    of_seeds, of_subjects, rest = map(float, squares)
    if subjects == 1:
        return Estimate(mean, np.nan, np.nan, seeds, subjects, (np.nan,) * 3)
    if seeds == 1:
        error = float(np.sqrt(of_subjects / subjects))
        return Estimate(mean, error, subjects - 1, seeds, subjects, (np.nan, of_subjects, 0.0))
    # never less than what the subjects alone say, which mean squares of few seeds would at times
    total = max(of_seeds + of_subjects - rest, of_subjects)
    parts = sum(
        square**2 / freedom for square, freedom in zip(map(float, squares), _freedoms(seeds, subjects), strict=True)
    )
    freedom = max(total**2 / parts, seeds - 1) if parts else subjects - 1
    variances = (max(of_seeds - rest, 0.0) / subjects, max(of_subjects - rest, 0.0) / seeds, rest)
    return Estimate(mean, float(np.sqrt(total / (seeds * subjects))), freedom, seeds, subjects, variances)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the p values of a family of tests, so that comparing each with alpha keeps the
    probability of any false rejection at alpha, however the tests depend on each other."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = highest
    return adjusted


def _scores(values: np.ndarray, name: str) -> np.ndarray:
    """Scores as [seeds, Q]."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must be [Q] or [seeds, Q] and not empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return np.atleast_2d(array)
