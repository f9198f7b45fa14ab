"""The claims for readers: on a terminal, as Markdown, as rows of a table, as data for JSON.

found = claims(params, results, timings)
print(render(found))
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from textwrap import fill
from typing import get_args

import pandas as pd

from dlcr.reporting.formats import equals, interval, is_gap, markdown, number, signed
from dlcr.reporting.parts import Claim, Outcome


def render(found: Sequence[Claim]) -> str:
    """The claims as text for a terminal, with a count of the verdicts at the end."""
    blocks = []
    for claim in found:
        numbers = [effect(claim.effect, claim.unit)] if not is_gap(claim.effect) else []
        numbers += [f"95 % interval {interval(claim.low, claim.high)}"] if not is_gap(claim.low) else []
        numbers += [f"p {equals(claim.p)}"] if not is_gap(claim.p) else []
        lines = [f"{claim.outcome.upper():<13} {claim.name}: {claim.statement}"]
        lines += [f"Paper: {claim.paper}", ", ".join(numbers), claim.test, claim.detail]
        blocks.append("\n".join([lines[0], *(_indented(line) for line in lines[1:] if line)]))
    return "\n\n".join([*blocks, _counts(found)]) + "\n"


def table(found: Sequence[Claim]) -> str:
    """The claims as a table of Markdown: statement, effect with its interval, verdict; their count below."""
    return markdown(pd.DataFrame([claim_row(asdict(claim)) for claim in found]), [_counts(found)]).decode()


def claim_row(claim: Mapping) -> dict[str, str]:
    """A claim, as one of `records`, for a reader: by heading."""
    numbers = [effect(claim["effect"], claim["unit"])] if not is_gap(claim["effect"]) else []
    numbers += [f"({interval(claim['low'], claim['high'])})"] if not is_gap(claim["low"]) else []
    smallest = "–" if is_gap(claim["smallest"]) else f"{claim['smallest']:.1f}"
    return {
        "Claim": claim["statement"],
        "Effect (95 % interval)": " ".join(numbers),
        "Smallest effect found with 80 % power": smallest,
        "Here": claim["outcome"],
    }


def effect(value: float, unit: str) -> str:
    """An effect in its unit: differences with their sign."""
    return f"{(signed if unit.startswith('points') else number)(value)} {unit}"


def _counts(found: Sequence[Claim]) -> str:
    counts = Counter(claim.outcome for claim in found)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome))


def records(found: Sequence[Claim]) -> list[dict]:
    """The claims as plain data for JSON: None where there is no number."""
    return [{key: None if is_gap(value) else value for key, value in asdict(claim).items()} for claim in found]


def _indented(text: str) -> str:
    return fill(text, 100, initial_indent=" " * 14, subsequent_indent=" " * 14)
