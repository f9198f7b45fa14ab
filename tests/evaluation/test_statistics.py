"""Intervals and tests against closed forms, and against their own meaning: made-up results whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from dlcr.evaluation.statistics import Estimate, holm, mean_estimate, paired_difference

TRIES = 1000


def drawn(
    rng: np.random.Generator,
    seeds: int,
    effect: float = 0.0,
    of_seeds: float = 2.0,
    of_subjects: float = 10.0,
    of_both: float = 5.0,
    of_queries: float = 20.0,
    subjects: int = 60,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [seeds, Q] with such deviations, of people with one to three queries each, and whose they are."""
    owner = np.repeat(np.arange(subjects), rng.integers(1, 4, subjects))
    values = effect + of_seeds * rng.normal(size=(seeds, 1)) + (of_subjects * rng.normal(size=subjects))[owner]
    values = values + (of_both * rng.normal(size=(seeds, subjects)))[:, owner]
    return values + of_queries * rng.normal(size=values.shape), owner


@pytest.mark.parametrize("seeds", [4, 8])
@pytest.mark.parametrize(
    "spreads",
    [{}, {"of_seeds": 6.0}, {"of_seeds": 1.0, "of_subjects": 20.0}, {"of_seeds": 3.0, "of_subjects": 0.0}],
)
def test_intervals_cover_the_true_mean_as_often_as_they_say(seeds: int, spreads: dict) -> None:
    rng = np.random.default_rng(seeds)
    found = [mean_estimate(*drawn(rng, seeds, 3.0, **spreads)) for _ in range(TRIES)]
    covered = np.mean([one.low <= 3 <= one.high for one in found])
    assert 0.93 <= covered <= 0.97
    spread = np.std([one.mean for one in found])
    assert np.sqrt(np.mean([one.error**2 for one in found])) == pytest.approx(spread, rel=0.1)


def test_a_bootstrap_over_queries_alone_would_be_far_too_narrow() -> None:
    """What the two-way error is for: one that sees neither subjects nor seeds covers four in five at best."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(TRIES):
        values, _ = drawn(rng, 4, of_seeds=3.0)
        queries = mean_estimate(values.mean(axis=0))  # seeds averaged, each query a subject of its own
        covered += queries.low <= 0 <= queries.high
    assert covered / TRIES < 0.8


@pytest.mark.parametrize("seeds", [4, 8])
def test_after_correction_at_most_one_family_of_nulls_in_twenty_is_rejected(seeds: int) -> None:
    """Fifteen statements without any effect, that share a side as claims do: every row has effects of its own on seeds,
    subjects and queries. Of so many tries, 6.4 % are 5 % and two standard deviations."""
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(TRIES):
        base, owner = drawn(rng, seeds)
        effects = rng.normal(size=(15, 1, owner.max() + 1))[:, :, owner] * 10
        rows = base + rng.normal(size=(15, seeds, 1)) * 2 + effects + rng.normal(size=(15, *base.shape)) * 20
        wrong += min(holm([paired_difference(row, base, owner).p_value for row in rows])) < 0.05
    assert wrong / TRIES <= 0.064


def test_equality_is_claimed_wrongly_at_most_one_time_in_twenty() -> None:
    """Two that differ by exactly the margin are not alike: each of two one-sided tests at 2.5 % keeps that."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(TRIES):
        found = mean_estimate(*drawn(rng, 8, 2.0, of_seeds=0.5, of_subjects=3.0, of_both=0.0, of_queries=5.0))
        wrong += found.low > -2 and found.high < 2
    assert wrong / TRIES <= 0.05


@pytest.mark.parametrize("seeds", [4, 8])
def test_the_smallest_effect_is_found_as_often_as_said(seeds: int) -> None:
    rng = np.random.default_rng(2)
    spreads = {"of_seeds": 1.0, "of_subjects": 10.0}
    smallest = np.mean([mean_estimate(*drawn(rng, seeds, **spreads)).smallest() for _ in range(100)])
    found = [mean_estimate(*drawn(rng, seeds, smallest, **spreads)).p_value < 0.05 for _ in range(TRIES)]
    assert 0.74 <= np.mean(found) <= 0.86
    margin = np.mean([mean_estimate(*drawn(rng, seeds, **spreads)).smallest_margin() for _ in range(100)])
    alike = [
        -margin < one.low and one.high < margin
        for one in (mean_estimate(*drawn(rng, seeds, **spreads)) for _ in range(TRIES))
    ]
    assert 0.74 <= np.mean(alike) <= 0.88


def test_more_seeds_are_foreseen_from_few() -> None:
    rng = np.random.default_rng(3)
    foreseen = [mean_estimate(*drawn(rng, 4, of_seeds=4.0)).foreseen(16).error ** 2 for _ in range(300)]
    measured = [mean_estimate(*drawn(rng, 16, of_seeds=4.0)).error ** 2 for _ in range(300)]
    assert np.sqrt(np.mean(foreseen)) == pytest.approx(np.sqrt(np.mean(measured)), rel=0.1)
    one = mean_estimate(*drawn(rng, 4))
    same = one.foreseen(4)
    assert (same.error, same.freedom, *same.variances) == pytest.approx((one.error, one.freedom, *one.variances))


def test_without_several_seeds_or_queries_it_is_students_interval() -> None:
    values = np.random.default_rng(4).normal(5, 2, 30)
    found, wanted = mean_estimate(values), stats.ttest_1samp(values, 0)
    ends = wanted.confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), ends.low, ends.high))
    assert found.p_value == pytest.approx(wanted.pvalue)
    assert found.p_against(4.0) == pytest.approx(stats.ttest_1samp(values, 4.0).pvalue)
    assert (found.seeds, found.subjects, found.freedom) == (1, 30, 29)


def test_the_paired_difference_is_students_too() -> None:
    rng = np.random.default_rng(5)
    a = rng.random(50)
    b = a + rng.normal(0.05, 0.1, 50)
    wanted = stats.ttest_rel(a, b)
    found = paired_difference(a, b)
    assert (found.mean, found.p_value) == pytest.approx(((a - b).mean(), wanted.pvalue))
    assert paired_difference(b, a).mean == -found.mean


def test_balanced_cells_are_the_analysis_of_variance() -> None:
    """The mean squares against their definition, by sums over a table of seeds by subjects with two queries each."""
    rng = np.random.default_rng(6)
    table = rng.normal(size=(3, 7)) + rng.normal(size=(3, 1)) + rng.normal(size=7)
    values = np.repeat(table, 2, axis=1)
    found = mean_estimate(values, np.repeat(np.arange(7), 2))
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns + table.mean()
    squares = (7 * rows.var(ddof=1), 3 * columns.var(ddof=1), (rest**2).sum() / 12)
    assert found.variances == pytest.approx(
        (max(squares[0] - squares[2], 0) / 7, max(squares[1] - squares[2], 0) / 3, squares[2])
    )
    assert found.error == pytest.approx(np.sqrt(max(squares[0] + squares[1] - squares[2], squares[1]) / 21))


def test_the_order_of_queries_and_the_names_of_subjects_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    values, owner = drawn(rng, 4)
    order = rng.permutation(len(owner))
    one = mean_estimate(values, owner)
    other = mean_estimate(values[:, order], np.array([f"person {name:03d}" for name in owner])[order])
    assert (one.mean, one.error, one.freedom) == pytest.approx((other.mean, other.error, other.freedom))


def test_what_does_not_vary_has_no_width_and_one_person_says_nothing_of_others() -> None:
    same = paired_difference([[1, 0, 1], [1, 0, 1]], [[1, 0, 1], [1, 0, 1]])
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    shifted = paired_difference([2, 1, 2], [1, 0, 1])
    assert (shifted.low, shifted.high, shifted.p_value) == (1, 1, 0)
    alone = mean_estimate([[0.5, 0.7], [0.1, 0.9]], ["a", "a"])
    assert np.isnan([alone.low, alone.high, alone.smallest()]).all()
    assert alone.p_value == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_estimate([]), r"values must be \[Q\] or \[seeds, Q\] and not empty"),
        (lambda: mean_estimate([1, np.nan]), "values must be finite"),
        (lambda: mean_estimate([1, 2], ["a"]), r"one per query, got shape \(1,\) for 2 queries"),
        (lambda: paired_difference([1, 2], [1]), "the same queries, got 2 and 1"),
        (lambda: paired_difference(np.ones((2, 3)), np.ones((3, 3))), "the same training seeds, got 2 and 3"),
        (lambda: paired_difference([1, 2], np.ones((1, 1, 2))), r"b must be \[Q\]"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_estimate_is_plain_data() -> None:
    assert isinstance(mean_estimate([1.0, 2.0]), Estimate)
