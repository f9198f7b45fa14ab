"""The paper's statements, held against this run: supported, contradicted or undecided (docs/claims.md).

    found = claims(params, results, timings)    # what each statement came to, as data; `claim_texts` shows it
    exit_code(found)                            # for continuous integration

A verdict needs a paired test over the same queries and training seeds, about other people and other seeds, so two seeds
at least. It may be for or against a statement, so p values are two-sided, and those of all statements about one number
are corrected together (Holm). That no difference was found is no equivalence: a statement that something hardly matters
has its own test. Each claim says the smallest effect that this run could have found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dlcr.evaluation.statistics import POWER, Estimate, holm
from dlcr.params import Params, Row
from dlcr.reporting.cells import TITLES
from dlcr.reporting.formats import equals, interval, signed
from dlcr.reporting.parts import Claim, Outcome
from dlcr.reporting.results import Result, estimate, query_scores, same_queries, timing_of
from dlcr.reporting.statements import STATEMENTS, Statement

ALPHA = 0.05
"""Greatest probability of any wrong verdict among the statements about one number; the same for each of those about
several. The usual level."""
MARGIN = 2.0
"""Points of top-1 within which two results count as alike. The paper's smallest components bring 2.1 (progressive
learning) and 2.2 (prompts) and count as gains there; what it calls alike differs by 0.0 top-1 and 0.4 mAP."""
FASTER = 1.25
"""Factor between two times of an epoch from which on they differ: on a machine with other work, less may be chance."""
CONTRADICTED, UNDECIDED = 3, 4
"""Exit codes, apart from those of bad input (1) and of a wrong command line (2)."""

MOST_SEEDS, MOST_PEOPLE = 32, 4000
"""More than so many nobody trains, or tests on, to decide a claim."""


@dataclass(frozen=True)
class Pair:
    """Two sides of a comparison, a - b. A side of several rankings is their mean, query by query; an empty one is not
    in this profile. `label` tells the pairs of one statement apart."""

    a: tuple[Row, ...]
    b: tuple[Row, ...]
    label: str = ""


@dataclass(frozen=True)
class Found:
    """What a pair came to, over the training seeds that both sides have: the difference of the measure in points, its p
    value for the statement's test, the difference of every seed, and the other measure's difference."""

    pair: Pair
    difference: Estimate
    p: float
    seeds: tuple[float, ...]
    queries: int
    other: Estimate


def claims(params: Params, results: Mapping[str, Result | None], timings: pd.DataFrame) -> list[Claim]:
    """Every statement's verdict on this run, in the paper's order; the same for the same input.

    Args:
        results: by evaluation (or EVALUATION/ABLATION), None or absent if not run.
        timings: `dlcr.runtime.timing.load_all()`. Only the verdict on speed looks at them, and falls back on images an
            epoch where they are empty: so pass an empty table for what must not differ between machines.

    Raises ValueError where two sides of a statement have not the same queries.
    """
    pairs = {item.name: pairs_of(item, params) for item in STATEMENTS}
    asked = [item for item in STATEMENTS if not (item.optional and _lacks_rows(pairs[item.name]))]
    found = {
        item.name: [_compare(item, pair, results) for pair in pairs[item.name]]
        for item in asked
        if item.test != "factor"
    }
    single = [item.name for item in asked if item.test in ("difference", "equivalence") and found[item.name][0]]
    adjusted = dict(zip(single, holm([found[name][0].p for name in single]), strict=True))
    made = []
    for item in asked:
        if item.test == "factor":
            made.append(_about_time(item, pairs[item.name], params, results, timings))
        elif item.test == "every difference":
            made.append(_about_every(item, pairs[item.name], found[item.name]))
        else:
            p = adjusted.get(item.name, np.nan)
            made.append(_about_one(item, pairs[item.name], found[item.name][0], p, len(single)))
    return [_without_verdict(claim) for claim in made] if params.report.mark == "smoke" else made


def pairs_of(item: Statement, params: Params) -> list[Pair]:
    """What a statement compares in this profile: one pair, or of `every difference` one for each row that fits."""
    others = (item.b,) if isinstance(item.b, str) else item.b
    if item.test != "every difference":
        return [Pair(_rows(params, item.a), _rows(params, *others))]
    table = item.a.partition("/")[0]
    fits = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(item.a)))
    found = [fits.fullmatch(f"{table}/{key}") for key in params.report.tables.get(table, {})]
    pairs = [
        Pair(
            _rows(params, item.a.format(**match.groupdict())),
            _rows(params, *(other.format(**match.groupdict()) for other in others)),
            item.label.format(**match.groupdict()),
        )
        for match in found
        if match
    ]
    return [pair for pair in pairs if pair.b]


def _rows(params: Params, *places: str) -> tuple[Row, ...]:
    """A side of a comparison; () if the profile lacks one of its rows."""
    rows = tuple(params.report.row(place) for place in places)
    return () if None in rows else rows


def _lacks_rows(pairs: Sequence[Pair]) -> bool:
    return not pairs or any(not side for pair in pairs for side in (pair.a, pair.b))


def exit_code(found: Sequence[Claim], strict: bool = False) -> int:
    """CONTRADICTED if a claim is; with `strict`, UNDECIDED if one is undecided or was not run; else 0."""
    outcomes = {claim.outcome for claim in found}
    if "contradicted" in outcomes:
        return CONTRADICTED
    return UNDECIDED if strict and outcomes - {"supported"} else 0


def _compare(item: Statement, pair: Pair, results: Mapping[str, Result | None]) -> Found | None:
    """What a pair came to, None if a side was not run or they have no training seed in common."""
    found = {}
    for measure in TITLES:
        sides = [_side(side, results, measure) for side in (pair.a, pair.b)]
        if any(side is None for side in sides):
            return None
        a, b = same_queries(*sides)
        if a.columns.empty:
            return None
        found[measure] = a - b
    apart = found.pop(item.measure)
    (other,) = found.values()
    difference = estimate(apart)
    p = _beside(difference) if item.test == "equivalence" else difference.p_value
    return Found(pair, difference, p, tuple(apart.mean()), len(apart), estimate(other))


def _side(side: tuple[Row, ...], results: Mapping[str, Result | None], measure: str) -> pd.DataFrame | None:
    """A side's `query_scores`; None if it was not run so."""
    tables = []
    for row in side:
        result = results.get(row.evaluation)
        if result is None or result.outcomes(row.kind).empty:
            return None
        tables.append(query_scores(result, row.kind, measure))
    return sum(same_queries(*tables)) / len(tables) if tables else None


def _beside(difference: Estimate) -> float:
    """Two-sided p value of what stands against the side of the margin that the difference lies on.

    Within the margin the difference is tested against both of its ends (two one-sided tests, Schuirmann 1987, each at
    half of ALPHA as a verdict may also be against), beyond it against the nearer one.
    """
    ends = difference.p_against(-MARGIN), difference.p_against(MARGIN)
    if abs(difference.mean) < MARGIN:
        return max(ends)
    return ends[1] if difference.mean >= 0 else ends[0]


def _decision(item: Statement, found: Found, p: float) -> int:
    """1 supported, -1 contradicted, 0 undecided: not significant, or of a single training seed."""
    if p >= ALPHA or len(found.seeds) < 2:
        return 0
    mean = found.difference.mean
    return int(np.sign(MARGIN - abs(mean) if item.test == "equivalence" else mean))


def _smallest(item: Statement, difference: Estimate, family: int) -> float:
    """The smallest effect that is found with POWER at the strictest level of Holm's correction over a family; of
    `equivalence` the smallest margin within which two that are equal are shown to lie."""
    alpha = ALPHA / family
    return difference.smallest_margin(alpha) if item.test == "equivalence" else difference.smallest(alpha)


VERDICTS: dict[int, Outcome] = {1: "supported", -1: "contradicted", 0: "undecided"}


def _about_one(item: Statement, pairs: Sequence[Pair], found: Found | None, p: float, family: int) -> Claim:
    if found is None:
        return _not_run(item, pairs)
    outcome = VERDICTS[_decision(item, found, p)]
    test = f"{_paired(item, found)}; after Holm's correction over {family} claims p {equals(p)}."
    detail = " ".join([_seeds(found), _power(item, found, family, outcome), _other(item, found)])
    return _claim(item, outcome, found, family, test, detail)


def _about_every(item: Statement, pairs: Sequence[Pair], found: Sequence[Found | None]) -> Claim:
    """Supported if every pair is, contradicted if one is the other way round; the effect is the least difference."""
    ran = [one for one in found if one is not None]
    if not ran:
        return _not_run(item, pairs)
    decisions = [_decision(item, one, p) for one, p in zip(ran, holm([one.p for one in ran]), strict=True)]
    outcome: Outcome = "undecided"
    if -1 in decisions:
        outcome = "contradicted"
    elif len(ran) == len(found) and set(decisions) == {1}:
        outcome = "supported"
    lines = [
        f"{one.pair.label} {_numbers(one.difference)}: {VERDICTS[decision]}"
        for one, decision in zip(ran, decisions, strict=True)
    ]
    lines += [f"{pair.label}: not run" for pair, one in zip(pairs, found, strict=True) if one is None]
    least = min(ran, key=lambda one: one.difference.mean)
    test = (
        f"{_paired(item, least)}; Holm's correction over these {len(ran)}. Supported if every one is, "
        f"contradicted if one is; the effect is the least, {least.pair.label}."
    )
    detail = f"{'; '.join(lines)}. {_power(item, least, len(ran), outcome)}"
    claim = _claim(item, outcome, least, len(ran), test, detail)
    return replace(claim, sources=_sources(pairs))


def _about_time(
    item: Statement,
    pairs: Sequence[Pair],
    params: Params,
    results: Mapping[str, Result | None],
    timings: pd.DataFrame,
) -> Claim:
    """Seconds of an epoch where both were timed on one machine, else images per epoch, which need no clock."""
    names = _sources(pairs)
    if _lacks_rows(pairs) or any(results.get(name) is None for name in names):
        return _not_run(item, pairs)
    images = [_images_an_epoch(params, name) for name in names]
    facts = [_training(params, timings, name) for name in names]
    seconds = [fact.get("epoch_seconds", np.nan) for fact in facts]
    detail = f"Images an epoch for each original: {images[0]} against {images[1]}."
    if np.isfinite(seconds).all() and facts[0].get("machine") == facts[1].get("machine"):
        ratio, unit = seconds[1] / seconds[0], "times as many seconds with concatenated data"
        detail = f"{seconds[0]:.1f} s against {seconds[1]:.1f} s. " + detail
        test = f"Seconds of an epoch, mean over epochs and seeds; they differ from a factor of {FASTER} on."
    else:
        ratio, unit = images[1] / images[0], "times as many images with concatenated data"
        test = "Images an epoch, as both were not timed on one machine."
    direction = (ratio > FASTER) - (ratio < 1 / FASTER)
    outcome = VERDICTS[int(direction)]
    return replace(_not_run(item, pairs), outcome=outcome, effect=float(ratio), unit=unit, test=test, detail=detail)


def _images_an_epoch(params: Params, name: str) -> int:
    """How many images an epoch shows for each original one: itself, with one variant, or with all K."""
    run = params.runs[params.evaluation(name).run]
    made = params.generated.get(run.generated)  # an imported set is not among them
    k = run.k or (made and made.k) or params.k
    return {"none": 1, "paired": 2, "progressive": 2, "concat": k + 1}[run.mode]


def _training(params: Params, timings: pd.DataFrame, name: str) -> dict:
    """The timing facts of an evaluation's training, {} if it was not timed."""
    ablation = name.partition("/")[2]
    run = params.evaluation(name).run + (f".{ablation}" if ablation else "")
    return timing_of(timings, "train", run)


def _claim(item: Statement, outcome: Outcome, found: Found, family: int, test: str, detail: str) -> Claim:
    effect, low, high = found.difference.mean, found.difference.low, found.difference.high
    smallest = _smallest(item, found.difference, family)
    unit, sources = f"points of {TITLES[item.measure]}", _sources((found.pair,))
    about = (item.name, item.statement, item.paper)
    return Claim(*about, outcome, effect, low, high, found.p, smallest, unit, test, detail, sources)


def _not_run(item: Statement, pairs: Sequence[Pair]) -> Claim:
    detail = (
        "This profile has no such evaluations."
        if _lacks_rows(pairs)
        else "Not all of it was run, or not with the same training seeds."
    )
    gaps = (np.nan,) * 5
    unit = f"points of {TITLES[item.measure]}"
    return Claim(item.name, item.statement, item.paper, "not run", *gaps, unit, "", detail, _sources(pairs))


def _without_verdict(claim: Claim) -> Claim:
    if claim.outcome == "not run":
        return claim
    return replace(
        claim, outcome="undecided", detail=f"No verdict: scores of this profile mean nothing. {claim.detail}"
    )


def _paired(item: Statement, found: Found) -> str:
    """How a pair is tested, in words."""
    seeds, subjects = len(found.seeds), found.difference.subjects
    test = f"two-sided t test of {found.queries} paired queries of {subjects} people with {seeds} training seeds"
    if item.test == "equivalence":
        test = f"equivalence within ±{MARGIN:g} points, by a {test}, at either end"
    return f"{test[0].upper()}{test[1:]}"


def _seeds(found: Found) -> str:
    """What the training seeds say one by one."""
    if len(found.seeds) == 1:
        return "One training seed: nothing is known of others, so there is no verdict."
    return f"By training seed {', '.join(signed(value) for value in found.seeds)}."


def _power(item: Statement, found: Found, family: int, outcome: Outcome) -> str:
    """What this run could have found, and what would decide it where it is undecided."""
    difference = found.difference
    if np.isnan(difference.error):
        return "The queries are of one person: nothing is known of others."
    what = "shows equals to lie within" if item.test == "equivalence" else "finds differences from"
    end = "points of each other" if item.test == "equivalence" else "points on"
    said = f"This run {what} {_smallest(item, difference, family):.1f} {end} ({POWER:.0%} power)."
    if outcome != "undecided" or len(found.seeds) < 2:
        return said
    # what is to be told from zero; of equals, from the nearer end of the margin
    needed = abs(MARGIN - abs(difference.mean)) if item.test == "equivalence" else abs(difference.mean)
    more = {
        "seeds": ((seeds, difference.foreseen(seeds)) for seeds in range(difference.seeds + 1, MOST_SEEDS + 1)),
        "people": (
            (people, difference.foreseen(difference.seeds, people))
            for people in range(difference.subjects + 10, MOST_PEOPLE + 1, 10)
        ),
    }
    least = {
        name: next((count for count, trial in trials if trial.smallest(ALPHA / family) <= needed), None)
        for name, trials in more.items()
    }
    enough = [f"{count} {name}" for name, count in least.items() if count]
    if not enough:
        return f"{said} Neither {MOST_SEEDS} seeds nor {MOST_PEOPLE} people alone would decide it."
    return f"{said} If the effect is as large as it seems, {' or '.join(enough)} would decide it."


def _other(item: Statement, found: Found) -> str:
    other = next(measure for measure in TITLES if measure != item.measure)
    return f"{TITLES[other]} {_numbers(found.other)}."


def _numbers(difference: Estimate) -> str:
    return f"{signed(difference.mean)} ({interval(difference.low, difference.high)}; p {equals(difference.p_value)})"


def _sources(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(row.evaluation for pair in pairs for row in (*pair.a, *pair.b)))
