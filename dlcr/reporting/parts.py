"""What the report is made of, as plain data: tables of cells, pictures and claims.

Those who make them (`tables`, `figures`, `claims`) and those who show them (Markdown, LaTeX, CSV, the page) meet
here.
"""

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

Mark = Literal["", "paper", "measured", "committed", "smoke", "not run"]
Outcome = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class Cell:
    """A table's cell as text, and where its number comes from.

    mark: reported by a paper; measured by this run, or by the run that came with the repository, where others were
    measured here (committed); made by a run whose scores mean nothing (profile smoke); a gap; "" for what is no result.
    source: the evaluation that measured it, whose provenance the page shows.
    """

    text: str
    mark: Mark = ""
    source: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """A table as numbers (its CSV file) and as readers see it: `view` holds str and Cell, its columns are the headings.

    folder: `tables`, or `timings` for what differs between runs and so is not hashed by DVC. group: its heading on the
    page, one of `page.GROUPS`; "" for what has a section of its own, as times have.
    """

    name: str
    title: str
    numbers: pd.DataFrame
    view: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    folder: Literal["tables", "timings"] = "tables"
    group: str = "Everything"


@dataclass(frozen=True)
class Picture:
    """A figure: SVG file <folder>/<name>.svg, what it shows in words for those who do not see it, and its caption.

    folder: `figures`, or `pictures` for what shows single images, as pictures or by t-SNE, which differs between
    processors; Git does not keep these.
    """

    name: str
    title: str
    content: bytes
    alt: str
    caption: str
    folder: Literal["figures", "pictures"] = "figures"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, held against this run.

    paper: what the paper says, with its numbers and where. effect: in `unit`, with 95 % interval and p value (NaN where
    there is none); smallest: the smallest effect that the run finds with 80 % power, or, where equality is claimed, the
    smallest margin; test: how they were computed, in words. sources: the evaluations behind it.
    """

    name: str
    statement: str
    paper: str
    outcome: Outcome
    effect: float
    low: float
    high: float
    p: float
    smallest: float
    unit: str
    test: str
    detail: str
    sources: list[str]
