"""The paper's statements, held against this run: supported, contradicted or undecided (docs/claims.md).

    found = claims(params, results, timings)    # what each statement came to, as data
    print(render(found))                        # for a terminal
    print(table(found))                         # as Markdown
    records(found)                              # for JSON
    exit_code(found)                            # for continuous integration

A verdict needs a paired test over the same queries and every training seed on its side. It may be for or against a
statement, so p values are two-sided, and those of all statements about one number are corrected together (Holm). That
no difference was found is no equivalence: a statement that something hardly matters has its own test.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from textwrap import fill

import numpy as np
import pandas as pd

from dlcr.evaluation.statistics import Difference, paired_difference
from dlcr.params import Params, Row
from dlcr.reporting.formats import interval, is_gap, markdown, number, p_value, signed
from dlcr.reporting.parts import Claim, Outcome
from dlcr.reporting.results import Result, aligned, timing_of
from dlcr.reporting.statements import STATEMENTS, Statement
from dlcr.runtime.seeds import seed_of

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

NAMES = {"top1": "top-1", "map": "mAP"}
OUTCOMES: tuple[Outcome, ...] = ("supported", "contradicted", "undecided", "not run")


@dataclass(frozen=True)
class Pair:
    """Two sides of a comparison, a - b. A side of several rankings is their mean, query by query; an empty one is not
    in this profile. `label` tells the pairs of one statement apart."""

    a: tuple[Row, ...]
    b: tuple[Row, ...]
    label: str = ""


@dataclass(frozen=True)
class Found:
    """What a pair came to: the difference of the measure in points, its p value for the statement's test, the
    difference of every training seed that both sides have, and the other measure's difference."""

    pair: Pair
    difference: Difference
    p: float
    seeds: tuple[float, ...]
    queries: int
    other: Difference


def claims(params: Params, results: Mapping[str, Result | None], timings: pd.DataFrame) -> list[Claim]:
    """Every statement's verdict on this run, in the paper's order; the same for the same input.

    Args:
        results: by evaluation (or EVALUATION/ABLATION), None or absent if not run.
        timings: `dlcr.runtime.timing.load_all()`. Only the verdict on speed looks at them, and falls back on images an
            epoch where they are empty: so pass an empty table for what must not differ between machines.

    Raises ValueError where two sides of a statement have not the same queries.
    """
    seed = seed_of("report", params.seed)  # the tables' seed: the same intervals
    pairs = {item.name: pairs_of(item, params) for item in STATEMENTS}
    asked = [item for item in STATEMENTS if not (item.optional and _lacks_rows(pairs[item.name]))]
    found = {
        item.name: [_compare(item, pair, results, params.report.bootstrap, seed) for pair in pairs[item.name]]
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
            made.append(_about_every(item, pairs[item.name], found[item.name], params))
        else:
            p = adjusted.get(item.name, np.nan)
            made.append(_about_one(item, pairs[item.name], found[item.name][0], p, len(single), params))
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the p values of a family of tests, so that comparing each with alpha keeps the
    probability of any false rejection at alpha, however the tests depend on each other."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = highest
    return adjusted


def render(found: Sequence[Claim]) -> str:
    """The claims as text for a terminal, with a count of the verdicts at the end."""
    blocks = []
    for claim in found:
        numbers = [_effect(claim.effect, claim.unit)] if not is_gap(claim.effect) else []
        numbers += [f"95 % interval {interval(claim.low, claim.high)}"] if not is_gap(claim.low) else []
        numbers += [f"p {_equals(claim.p)}"] if not is_gap(claim.p) else []
        lines = [f"{claim.outcome.upper():<13} {claim.name}: {claim.statement}"]
        lines += [f"Paper: {claim.paper}", ", ".join(numbers), claim.test, claim.detail]
        blocks.append("\n".join([lines[0], *(_indented(line) for line in lines[1:] if line)]))
    return "\n\n".join([*blocks, _counts(found)]) + "\n"


def table(found: Sequence[Claim]) -> str:
    """The claims as a table of Markdown: statement, effect with its interval, verdict; their count below."""
    return markdown(pd.DataFrame([claim_row(asdict(claim)) for claim in found]), [_counts(found)]).decode()


def claim_row(claim: Mapping) -> dict[str, str]:
    """A claim, as one of `records`, for a reader: by heading."""
    numbers = [_effect(claim["effect"], claim["unit"])] if not is_gap(claim["effect"]) else []
    numbers += [f"({interval(claim['low'], claim['high'])})"] if not is_gap(claim["low"]) else []
    return {"Claim": claim["statement"], "Effect (95 % interval)": " ".join(numbers), "Here": claim["outcome"]}


def _effect(effect: float, unit: str) -> str:
    return f"{(signed if unit.startswith('points') else number)(effect)} {unit}"


def _counts(found: Sequence[Claim]) -> str:
    counts = Counter(claim.outcome for claim in found)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)


def records(found: Sequence[Claim]) -> list[dict]:
    """The claims as plain data for JSON: None where there is no number."""
    return [{key: None if is_gap(value) else value for key, value in asdict(claim).items()} for claim in found]


def exit_code(found: Sequence[Claim], strict: bool = False) -> int:
    """CONTRADICTED if a claim is; with `strict`, UNDECIDED if one is undecided or was not run; else 0."""
    outcomes = {claim.outcome for claim in found}
    if "contradicted" in outcomes:
        return CONTRADICTED
    return UNDECIDED if strict and outcomes - {"supported"} else 0


def _compare(
    item: Statement, pair: Pair, results: Mapping[str, Result | None], bootstrap: int, seed: int
) -> Found | None:
    """What a pair came to, None if a side was not run."""
    tables = {measure: (_side(pair.a, results, measure), _side(pair.b, results, measure)) for measure in NAMES}
    if any(side is None for side in tables[item.measure]):
        return None
    a, b = tables.pop(item.measure)
    others = aligned(*(side.mean(axis=1) for side in next(iter(tables.values()))))
    values = aligned(a.mean(axis=1), b.mean(axis=1))
    difference = paired_difference(*values, bootstrap, seed)
    return Found(
        pair,
        difference,
        _beside(*values, MARGIN, bootstrap, seed) if item.test == "equivalence" else difference.p_value,
        tuple(float(a[seed].mean() - b[seed].mean()) for seed in a.columns if seed in b.columns),
        len(values[0]),
        paired_difference(*others, bootstrap, seed),
    )


def _side(side: tuple[Row, ...], results: Mapping[str, Result | None], measure: str) -> pd.DataFrame | None:
    """A side's scores in percent, one row per query and one column per training seed; None if it was not run so."""
    tables = []
    for row in side:
        result = results.get(row.evaluation)
        if result is None:
            return None
        rows = result.outcomes(row.kind)
        if rows.empty:
            return None
        column = {"top1": "hit", "map": "ap"}[measure]
        tables.append(rows.pivot_table(index="image_id", columns="seed", values=column) * 100)
    if not tables:
        return None
    aligned(*(table.iloc[:, 0] for table in tables))  # raises where they have not the same queries
    return sum(tables[1:], tables[0]).dropna(axis="columns", how="all") / len(tables)


def _beside(a: np.ndarray, b: np.ndarray, margin: float, bootstrap: int, seed: int) -> float:
    """Two-sided p value of what stands against the side of the margin that the difference lies on.

    Within the margin the difference is tested against both of its ends (two one-sided tests, Schuirmann 1987, each at
    half of ALPHA as a verdict may also be against), beyond it against the nearer one.
    """
    low, high = (paired_difference(a, b + end, bootstrap, seed) for end in (-margin, margin))
    if low.mean > 0 and high.mean < 0:
        return max(low.p_value, high.p_value)
    return high.p_value if high.mean >= 0 else low.p_value


def _direction(item: Statement, difference: float) -> int:
    """Whether a difference speaks for the statement (1), against it (-1) or neither."""
    if item.test == "equivalence":
        return int(np.sign(MARGIN - abs(difference)))
    return int(np.sign(difference))


def _decision(item: Statement, found: Found, p: float) -> int:
    """1 supported, -1 contradicted, 0 undecided: significant, and no training seed says otherwise."""
    direction = _direction(item, found.difference.mean)
    agree = bool(found.seeds) and all(_direction(item, value) == direction for value in found.seeds)
    return direction if p < ALPHA and agree else 0


VERDICTS: dict[int, Outcome] = {1: "supported", -1: "contradicted", 0: "undecided"}


def _about_one(
    item: Statement, pairs: Sequence[Pair], found: Found | None, p: float, family: int, params: Params
) -> Claim:
    if found is None:
        return _not_run(item, pairs)
    test = f"{_paired(item, found, params)}; after Holm's correction over {family} claims p {_equals(p)}."
    return _claim(item, VERDICTS[_decision(item, found, p)], found, test, _seeds(item, found) + _other(item, found))


def _about_every(item: Statement, pairs: Sequence[Pair], found: Sequence[Found | None], params: Params) -> Claim:
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
        f"{one.pair.label} {_numbers(one.difference, one.p)}: {VERDICTS[decision]}"
        for one, decision in zip(ran, decisions, strict=True)
    ]
    lines += [f"{pair.label}: not run" for pair, one in zip(pairs, found, strict=True) if one is None]
    least = min(ran, key=lambda one: one.difference.mean)
    test = (
        f"{_paired(item, least, params)}; Holm's correction over these {len(ran)}. Supported if every one is, "
        f"contradicted if one is; the effect is the least, {least.pair.label}."
    )
    claim = _claim(item, outcome, least, test, "; ".join(lines) + ".")
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


def _claim(item: Statement, outcome: Outcome, found: Found, test: str, detail: str) -> Claim:
    effect, low, high = found.difference.mean, found.difference.low, found.difference.high
    unit, sources = f"points of {NAMES[item.measure]}", _sources((found.pair,))
    about = (item.name, item.statement, item.paper)
    return Claim(*about, outcome, effect, low, high, found.p, unit, test, detail, sources)


def _not_run(item: Statement, pairs: Sequence[Pair]) -> Claim:
    detail = "This profile has no such evaluations." if _lacks_rows(pairs) else "Not all of it was run."
    gaps = (np.nan,) * 4
    unit = f"points of {NAMES[item.measure]}"
    return Claim(item.name, item.statement, item.paper, "not run", *gaps, unit, "", detail, _sources(pairs))


def _without_verdict(claim: Claim) -> Claim:
    if claim.outcome == "not run":
        return claim
    return replace(
        claim, outcome="undecided", detail=f"No verdict: scores of this profile mean nothing. {claim.detail}"
    )


def _paired(item: Statement, found: Found, params: Params) -> str:
    """How a pair is tested, in words."""
    test = f"two-sided sign-flip test of {found.queries} paired queries, seeds averaged"
    if item.test == "equivalence":
        test = f"equivalence within ±{MARGIN:g} points, by a {test}, at either end"
    return f"{test[0].upper()}{test[1:]}; bootstrap interval; {params.report.bootstrap} resamples"


def _seeds(item: Statement, found: Found) -> str:
    """What the training seeds say one by one."""
    if not found.seeds:
        return "The two sides have no training seed in common: no verdict."
    if len(found.seeds) == 1:
        return "One training seed: nothing is known of others."
    directions = [_direction(item, value) for value in found.seeds]
    if item.test == "equivalence":
        agree = f"{directions.count(1)} of {len(directions)} within the margin"
    else:
        agree = "all on one side" if len(set(directions)) == 1 else "they disagree"
    return f"By training seed {', '.join(signed(value) for value in found.seeds)}: {agree}."


def _other(item: Statement, found: Found) -> str:
    other = next(measure for measure in NAMES if measure != item.measure)
    return f" {NAMES[other]} {_numbers(found.other, found.other.p_value)}."


def _numbers(difference: Difference, p: float) -> str:
    return f"{signed(difference.mean)} ({interval(difference.low, difference.high)}; p {_equals(p)})"


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _sources(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(row.evaluation for pair in pairs for row in (*pair.a, *pair.b)))


def _indented(text: str) -> str:
    return fill(text, 100, initial_indent=" " * 14, subsequent_indent=" " * 14)
