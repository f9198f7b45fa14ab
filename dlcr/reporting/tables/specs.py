"""What a table of the report is, and how one is made that sets this run's evaluations beside the paper's numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from dlcr.data.readers import find_reader
from dlcr.params import Params
from dlcr.reporting.cells import setting_name, view_compared
from dlcr.reporting.measured import MEASURES, Compare, Ranked, joined
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Mark, Table
from dlcr.reporting.results import Result

Results = Mapping[str, Result | None]


@dataclass(frozen=True)
class Sources:
    """What the tables are made of: the profile, its evaluations by name, times, what was made before training
    (`dlcr.reporting.survey`), and how it scores against the truth (`dlcr.reporting.scores`)."""

    params: Params
    results: Results
    timings: pd.DataFrame
    survey: Mapping[str, dict]
    compare: Compare
    scores: Mapping[str, dict] = field(default_factory=dict)

    @property
    def mark(self) -> Mark:
        return self.params.report.mark

    def ranked(self, place: str) -> Ranked:
        """The evaluation and the ranking of a row, TABLE/ROW; no evaluation where it was not run."""
        row = self.params.report.row(place)
        return (self.results.get(row.evaluation), row.kind) if row else (None, "plain")


@dataclass(frozen=True)
class Line:
    """A line of a table of evaluations: what it is, by column.

    key: its row in params.yaml, "" if it can have none. base: the row that its difference is to. paper: `top1` and
    `map` as the paper writes them, where it has them.
    """

    what: Mapping[str, object]
    key: str = ""
    base: str = ""
    paper: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """One table of the report: its numbers, and each of their rows as readers see it, by heading.

    Args:
        name: of its files, and its key under `report.tables`.
        place: where it stands among the tables; they are sorted by it.
        group: its heading on the page, one of `page.GROUPS`; "" for what has a section of its own.
        folder: `timings` for what differs between runs of the same bytes.
        lines: its lines, some of them rows of params.yaml; None for a table that params.yaml does not fill.
        keys: what keys its rows may have, in words, where the profile chooses them. more_keys: of rows that other
            tables show.
        headings: the columns that say what a row is, and how they are called. columns: all that come before the scores,
            if they are more.
        base: what differences are to, in words.
        numbers: the table as numbers; left out for a line for each of `lines` with the paper's numbers, this run's with
            intervals, and the differences to its base.
        view: a row of numbers as cells; `shown`: their headings, for a table that may be empty.
        paper: whose the paper's numbers are, if they are not of this run's dataset.
    """

    name: str
    place: int
    title: str
    group: str = "Everything"
    folder: Literal["tables", "timings"] = "tables"
    lines: Callable[[Params], list[Line]] | None = None
    keys: str = ""
    more_keys: Sequence[str] = ()
    headings: Mapping[str, str] | None = None
    columns: Sequence[str] = ()
    base: str | Callable[[Params], str] = ""
    numbers: Callable[[Sources], pd.DataFrame] | None = None
    view: Callable[[dict, Mark], dict] | None = None
    shown: Sequence[str] | None = None
    paper: str = ""
    notes: Sequence[str] | Callable[[Params], Sequence[str]] = ()


def make_table(spec: Spec, sources: Sources) -> Table:
    """The table of a spec. Raises ValueError naming the key of params.yaml or the file that does not fit."""
    numbers = spec.numbers(sources) if spec.numbers else compared(spec, sources)
    if spec.view:
        view = pd.DataFrame([spec.view(row, sources.mark) for row in numbers.to_dict("records")], columns=spec.shown)
    else:
        view = view_compared(numbers, spec.headings, _given(spec.base, sources.params), sources.mark)
    notes = _shared_notes(spec, numbers, sources) if spec.lines or spec.paper else []
    return Table(
        spec.name, spec.title, numbers, view, [*notes, *_given(spec.notes, sources.params)], spec.folder, spec.group
    )


def compared(spec: Spec, sources: Sources) -> pd.DataFrame:
    """A row for each of `spec.lines`: what it is, the paper's numbers, and this run's beside those of its base."""
    rows = [
        {
            **line.what,
            **{f"paper_{measure}": float(line.paper.get(measure) or "nan") for measure in MEASURES},
            **sources.compare(sources.ranked(f"{spec.name}/{line.key}"), sources.ranked(f"{spec.name}/{line.base}")),
        }
        for line in spec.lines(sources.params)
    ]
    return joined(rows, list(spec.columns or spec.headings))


def _shared_notes(spec: Spec, numbers: pd.DataFrame, sources: Sources) -> list[str]:
    """The notes that all tables of evaluations share."""
    report = sources.params.report
    shown = (sources.results[name] for name in numbers["evaluation"].dropna())
    settings = ", ".join(sorted({setting_name(result.setting) for result in shown}))
    scores = f"Top-1 and mAP in percent; setting: {settings or 'not run'}."
    if spec.paper:
        scores += f" The paper's numbers are {spec.paper}, this run's are on {report.dataset}"
        scores += "." if report.dataset == "prcc" else ": compare order and differences, not levels."
    spread = (
        "± is the standard deviation over training seeds; intervals and p values are about other people and, with "
        "several seeds, other seeds; a difference is over the seeds that both rows have. A p value is that of one test."
    )
    smoke = ["Made to test the pipeline: the scores mean nothing."] if sources.mark == "smoke" else []
    return [scores, spread, *smoke]


def _given(value, params: Params):
    """A value, or what its function says of the profile."""
    return value(params) if callable(value) else value


def dataset_title(params: Params, dataset: str) -> str:
    """A published dataset's own title, as the paper names it; of any other its name in params.yaml."""
    reader = find_reader(params.datasets[dataset].reader)
    return reader.title if reader.published else dataset


def of_datasets(params: Params, table: str) -> list[tuple[str, str, str]]:
    """(key, dataset, rest) of the rows of a table whose keys are DATASET/REST, with datasets of the profile."""
    parts = ((key, *key.partition("/")[::2]) for key in params.report.tables.get(table, {}))
    return [(key, dataset, rest) for key, dataset, rest in parts if dataset in params.datasets and rest]


def from_paper(file: str, column: str, keys: Sequence[str]) -> Callable[[Params], list[Line]]:
    """Lines that are those of a paper's table, in its order: `row`, its key, and `what`, the paper's `column`.

    Differences are to the first.
    """

    def lines(params: Params) -> list[Line]:
        cited = paper_table(file).to_dict("records")
        return [
            Line({"row": key, "what": line[column]}, key, keys[0], line) for key, line in zip(keys, cited, strict=True)
        ]

    return lines
