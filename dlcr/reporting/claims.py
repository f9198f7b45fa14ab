"""The paper's statements, held against this run: supported, contradicted or undecided (docs/claims.md).

    found = claims(params, results, timings)    # what each statement came to, as data
    print(render(found))                        # for a terminal
    records(found)                              # for JSON
    exit_code(found)                            # for continuous integration

A verdict needs a paired test over the same queries and every training seed on its side. It may be for or against a
statement, so p values are two-sided, and those of all statements about one number are corrected together (Holm). That
no difference was found is no equivalence: a statement that something hardly matters has its own test.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from textwrap import fill

import numpy as np
import pandas as pd

from dlcr.evaluation.statistics import Difference, paired_difference
from dlcr.params import Params, Ranking
from dlcr.reporting.formats import interval, is_gap, number, p_value, signed
from dlcr.reporting.parts import Claim, Outcome
from dlcr.reporting.results import Result, aligned
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

Ranked = tuple[str, str]
"""An evaluation's name and the kind of its rankings."""


@dataclass(frozen=True)
class Pair:
    """Two sides of a comparison, a - b. A side of several rankings is their mean, query by query; an empty one is not
    in this profile. `label` tells the pairs of one statement apart."""

    a: tuple[Ranked, ...]
    b: tuple[Ranked, ...]
    label: str = ""


@dataclass(frozen=True)
class Statement:
    """A statement about one pair, or about `every` one of several: that a - b > 0 in `measure`, or, with a `margin`,
    that |a - b| < margin (points)."""

    name: str
    statement: str
    paper: str
    pairs: tuple[Pair, ...]
    measure: str = "top1"
    margin: float | None = None
    every: bool = False


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
    statements, seed = _statements(params), seed_of("report", params.seed)  # the tables' seed: the same intervals
    found = {
        item.name: [_compare(item, pair, results, params.report.bootstrap, seed) for pair in item.pairs]
        for item in statements
    }
    single = [item.name for item in statements if not item.every and None not in found[item.name]]
    adjusted = dict(zip(single, holm([found[name][0].p for name in single]), strict=True))
    made = [
        _about_every(item, found[item.name], params)
        if item.every
        else _about_one(item, found[item.name][0], adjusted.get(item.name, np.nan), len(single), params)
        for item in statements
    ]
    made.insert(_names(made).index("progressive-concat"), _about_time(params, results, timings))
    return [_without_verdict(claim) for claim in made] if params.report.mark == "smoke" else made


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
        effect = signed(claim.effect) if claim.unit.startswith("points") else number(claim.effect)
        numbers = [f"{effect} {claim.unit}"] if not is_gap(claim.effect) else []
        numbers += [f"95 % interval {interval(claim.low, claim.high)}"] if not is_gap(claim.low) else []
        numbers += [f"p {_equals(claim.p)}"] if not is_gap(claim.p) else []
        lines = [f"{claim.outcome.upper():<13} {claim.name}: {claim.statement}"]
        lines += [f"Paper: {claim.paper}", ", ".join(numbers), claim.test, claim.detail]
        blocks.append("\n".join([lines[0], *(_indented(line) for line in lines[1:] if line)]))
    counts = Counter(claim.outcome for claim in found)
    blocks.append(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))
    return "\n\n".join(blocks) + "\n"


def records(found: Sequence[Claim]) -> list[dict]:
    """The claims as plain data for JSON: None where there is no number."""
    return [{key: None if is_gap(value) else value for key, value in asdict(claim).items()} for claim in found]


def exit_code(found: Sequence[Claim], strict: bool = False) -> int:
    """CONTRADICTED if a claim is; with `strict`, UNDECIDED if one is undecided or was not run; else 0."""
    outcomes = {claim.outcome for claim in found}
    if "contradicted" in outcomes:
        return CONTRADICTED
    return UNDECIDED if strict and outcomes - {"supported"} else 0


def _statements(params: Params) -> list[Statement]:
    """All but the one about speed, in the paper's order."""
    report = params.report

    def row(key: str, kind: str = "plain") -> tuple[Ranked, ...]:
        return ((report.a1[key], kind),) if key in report.a1 else ()

    return [
        Statement(
            "dlcr",
            "DLCR as a whole raises top-1.",
            "66.5 against 55.2, +11.3 (Table A1, rows 6 and 1).",
            (Pair(row("6", "refined"), row("1")),),
        ),
        Statement(
            "inpainting",
            "Inpainting that keeps the person beats diffusion of the whole picture.",
            "62.9 against 55.7, +7.2 (Table A1, rows 4 and 2); with random prompts 60.7, +5.0 (row 3).",
            (Pair(row("4"), row("2")),),
        ),
        Statement(
            "diffusion",
            "Diffusion of the whole picture beats no generated data.",
            "55.7 against 55.2, +0.5 (Table A1, rows 2 and 1): a marginal improvement.",
            (Pair(row("2"), row("1")),),
        ),
        Statement(
            "prompts",
            "Prompts extracted from the dataset beat random ones.",
            "62.9 against 60.7, +2.2 (Table A3).",
            (Pair(_plain(report.a3, "vlm+llm"), _plain(report.a3, "random")),),
        ),
        Statement(
            "progressive-concat",
            "Progressive learning beats concatenated data.",
            "65.0 against 64.0, +1.0 (Table A5).",
            (Pair(_plain(report.a5, "progressive"), _plain(report.a5, "concat")),),
        ),
        Statement(
            "progressive-pairs",
            "Progressive learning beats pairs from all variants.",
            "65.0 against 62.9, +2.1 (Table A1, rows 5 and 4).",
            (Pair(row("5"), row("4")),),
        ),
        *(
            Statement(
                f"refinement-{measure}",
                f"Prediction refinement raises {NAMES[measure]}.",
                f"{paper} (Table A1, rows 6 and 5).",
                (Pair(row("6", "refined"), row("5")),),
                measure,
            )
            for measure, paper in (("top1", "66.5 against 65.0, +1.5"), ("map", "63.0 against 62.4, +0.6"))
        ),
        *_general_statements(params),
    ]


def _general_statements(params: Params) -> list[Statement]:
    """What holds beyond the ablations: models, domains, describers, K, guidance; and the oracle's share."""
    report = params.report
    models = [
        Pair(((stages.stage_1, "plain"),), ((stages.baseline, "plain"),), model) for model, stages in report.t3.items()
    ]
    found = [
        Statement(
            "models",
            "Every model gains by the generated data.",
            "+1.0 (GEFF) to +28.7 (MGN), six models (Table 3, stage 1 and baseline).",
            tuple(models),
            every=True,
        ),
        Statement(
            "domains",
            "The gain carries over to datasets that were not trained on.",
            "+4.3 (LaST) to +8.0 (PRCC), three datasets (Table 4).",
            tuple(_domains(report.t4)),
            every=True,
        ),
        Statement(
            "describer",
            "Which vision-language model describes the clothes hardly matters.",
            "62.9 with either (Table A4); mAP 60.9 and 61.3.",
            (Pair(_plain(report.a4, "instructblip"), _plain(report.a4, "llava")),),
            margin=MARGIN,
        ),
        Statement(
            "k-grows",
            "Ten variants of an image beat two.",
            "Shown without numbers (Fig. A8, concatenated data).",
            (Pair(_plain(report.a8, "10"), _plain(report.a8, "2")),),
        ),
        Statement(
            "k-saturates",
            "More than ten variants hardly matter.",
            "Improvements beyond ten are minimal; shown without numbers (Fig. A8, concatenated data).",
            (Pair(_plain(report.a8, "20"), _plain(report.a8, "10")),),
            margin=MARGIN,
        ),
        Statement(
            "guidance",
            "Guidance by a discriminator raises top-1.",
            "+1 to +2 in some cases on PRCC and CCVID (Sec. 12).",
            (Pair(_plain(report.guidance, "with"), _plain(report.guidance, "without")),),
        ),
    ]
    if {"1", "5", "oracle"} <= set(report.a1):  # only rendered data has an oracle
        half = (*_plain(report.a1, "1"), *_plain(report.a1, "oracle"))
        found.append(
            Statement(
                "oracle",
                "Inpainting reaches more than half of what perfect re-clothing gains.",
                "Not in the paper: real data has no perfect re-clothing. The effect is the distance to half the gain.",
                (Pair(_plain(report.a1, "5"), half),),
            )
        )
    return found


def _plain(rows: Mapping[str, str], key: str) -> tuple[Ranked, ...]:
    return ((rows[key], "plain"),) if key in rows else ()


def _domains(rows: Mapping[str, Mapping[str, Ranking]]) -> list[Pair]:
    """Each model of Table 4 with DLCR against itself without, on each dataset that has both."""
    return [
        Pair(
            ((with_dlcr.evaluation, with_dlcr.kind),),
            ((rows[model][dataset].evaluation, rows[model][dataset].kind),),
            f"{model} on {dataset}",
        )
        for model in rows
        for dataset, with_dlcr in rows.get(f"{model} + DLCR", {}).items()
        if dataset in rows[model]
    ]


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
        difference.p_value if item.margin is None else _beside(*values, item.margin, bootstrap, seed),
        tuple(float(a[seed].mean() - b[seed].mean()) for seed in a.columns if seed in b.columns),
        len(values[0]),
        paired_difference(*others, bootstrap, seed),
    )


def _side(side: tuple[Ranked, ...], results: Mapping[str, Result | None], measure: str) -> pd.DataFrame | None:
    """A side's scores in percent, a row a query and a column a training seed; None if it was not run so."""
    tables = []
    for name, kind in side:
        result = results.get(name)
        if result is None:
            return None
        rows = result.queries
        rows = rows[(rows["setting"] == result.setting) & (rows["kind"] == kind)]
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
    if item.margin is not None:
        return int(np.sign(item.margin - abs(difference)))
    return int(np.sign(difference))


def _decision(item: Statement, found: Found, p: float) -> int:
    """1 supported, -1 contradicted, 0 undecided: significant, and no training seed says otherwise."""
    direction = _direction(item, found.difference.mean)
    agree = bool(found.seeds) and all(_direction(item, value) == direction for value in found.seeds)
    return direction if p < ALPHA and agree else 0


VERDICTS: dict[int, Outcome] = {1: "supported", -1: "contradicted", 0: "undecided"}


def _about_one(item: Statement, found: Found | None, p: float, family: int, params: Params) -> Claim:
    if found is None:
        return _not_run(item)
    test = f"{_paired(item, found, params)}; after Holm's correction over {family} claims p {_equals(p)}."
    return _claim(item, VERDICTS[_decision(item, found, p)], found, test, _seeds(item, found) + _other(item, found))


def _about_every(item: Statement, found: Sequence[Found | None], params: Params) -> Claim:
    """Supported if every pair is, contradicted if one is the other way round; the effect is the least difference."""
    ran = [one for one in found if one is not None]
    if not ran:
        return _not_run(item)
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
    lines += [f"{pair.label}: not run" for pair, one in zip(item.pairs, found, strict=True) if one is None]
    least = min(ran, key=lambda one: one.difference.mean)
    test = (
        f"{_paired(item, least, params)}; Holm's correction over these {len(ran)}. Supported if every one is, "
        f"contradicted if one is; the effect is the least, {least.pair.label}."
    )
    claim = _claim(item, outcome, least, test, "; ".join(lines) + ".")
    return replace(claim, sources=_sources(item.pairs))


def _about_time(params: Params, results: Mapping[str, Result | None], timings: pd.DataFrame) -> Claim:
    """Seconds of an epoch where both were timed on one machine, else images an epoch, which need no clock."""
    progressive, concat = (_plain(params.report.a5, row) for row in ("progressive", "concat"))
    item = Statement(
        "progressive-time",
        "An epoch of progressive learning takes less time than one of concatenated data.",
        "65 s against 691 s (Table A5).",
        (Pair(progressive, concat),),
    )
    names = _sources(item.pairs)
    if not progressive or not concat or any(results.get(name) is None for name in names):
        return _not_run(item)
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
    return Claim(
        item.name,
        item.statement,
        item.paper,
        VERDICTS[int(direction)],
        float(ratio),
        np.nan,
        np.nan,
        np.nan,
        unit,
        test,
        detail,
        names,
    )


def _images_an_epoch(params: Params, name: str) -> int:
    """How many images an epoch shows for each original one: itself, with one variant, or with all K."""
    run = params.runs[params.evaluations[name.partition("/")[0]].run]
    made = params.generated.get(run.generated)  # an imported set is not among them
    k = run.k or (made and made.k) or params.k
    return {"none": 1, "paired": 2, "progressive": 2, "concat": k + 1}[run.mode]


def _training(params: Params, timings: pd.DataFrame, name: str) -> dict:
    """The timing facts of an evaluation's training, {} if it was not timed."""
    name, _, ablation = name.partition("/")
    run = params.evaluations[name].run + (f".{ablation}" if ablation else "")
    rows = timings[(timings["stage"] == "train") & (timings["name"] == run)]
    return {} if rows.empty else rows.iloc[-1].dropna().to_dict()


def _claim(item: Statement, outcome: Outcome, found: Found, test: str, detail: str) -> Claim:
    difference = found.difference
    return Claim(
        item.name,
        item.statement,
        item.paper,
        outcome,
        difference.mean,
        difference.low,
        difference.high,
        found.p,
        f"points of {NAMES[item.measure]}",
        test,
        detail,
        _sources((found.pair,)),
    )


def _not_run(item: Statement) -> Claim:
    lacking = [ranked for pair in item.pairs for ranked in (pair.a, pair.b) if not ranked]
    detail = "This profile has no such evaluations." if lacking or not item.pairs else "Not all of it was run."
    gaps = (np.nan,) * 4
    unit = f"points of {NAMES[item.measure]}"
    return Claim(item.name, item.statement, item.paper, "not run", *gaps, unit, "", detail, _sources(item.pairs))


def _without_verdict(claim: Claim) -> Claim:
    if claim.outcome == "not run":
        return claim
    return replace(
        claim, outcome="undecided", detail=f"No verdict: scores of this profile mean nothing. {claim.detail}"
    )


def _paired(item: Statement, found: Found, params: Params) -> str:
    """How a pair is tested, in words."""
    test = f"two-sided sign-flip test of {found.queries} paired queries, seeds averaged"
    if item.margin is not None:
        test = f"equivalence within ±{item.margin:g} points, by a {test}, at either end"
    return f"{test[0].upper()}{test[1:]}; bootstrap interval; {params.report.bootstrap} resamples"


def _seeds(item: Statement, found: Found) -> str:
    """What the training seeds say one by one."""
    if not found.seeds:
        return "The two sides have no training seed in common: no verdict."
    if len(found.seeds) == 1:
        return "One training seed: nothing is known of others."
    directions = [_direction(item, value) for value in found.seeds]
    if item.margin is not None:
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
    return list(dict.fromkeys(name for pair in pairs for name, _ in (*pair.a, *pair.b)))


def _names(found: Sequence[Claim]) -> list[str]:
    return [claim.name for claim in found]


def _indented(text: str) -> str:
    return fill(text, 100, initial_indent=" " * 14, subsequent_indent=" " * 14)
