"""Makes the whole report in memory: `build(root, params)` gives every file's bytes, `publish` writes them.

Nothing is written before everything is made, and files of an earlier report do not survive beside those of a new one.
Tables, figures and plots are made from evaluations/ and reports/sets.json, which Git holds: a clone makes them again
without data. Pictures need data, generated sets and models. What is hashed by DVC (these four) holds no times and no
machine; those are in timings/, in provenance.json, in claims.json (one is about time) and on the page, which Git does
not keep.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from dlcr.params import Params
from dlcr.reporting import browser, figures, formats
from dlcr.reporting.claim_texts import records
from dlcr.reporting.claims import claims
from dlcr.reporting.page import Page, render
from dlcr.reporting.parts import Cell, Table
from dlcr.reporting.pipeline import pipeline_svg
from dlcr.reporting.provenance import provenance, provenance_rows
from dlcr.reporting.results import Result, came_with_repository, load_history, load_results
from dlcr.reporting.sheets import retrieval_counts
from dlcr.reporting.survey import load_scores, load_survey
from dlcr.reporting.tables import make_tables
from dlcr.runtime.files import atomic_path

FOLDERS = ("tables", "figures", "pictures", "plots", "timings")
COMMITTED = " †"
"""Behind a number of the run that came with the repository, where others were measured here."""


def build(root: Path, params: Params, timings: pd.DataFrame) -> dict[str, bytes]:
    """Every file of the report, by its path relative to `reports/`.

    Args:
        root: the repository's root, in which evaluations/ and, where they were made, data/, masks/, ... lie.
        params: the active profile.
        timings: as from `dlcr.runtime.timing.load_all`.

    Raises ValueError or OSError naming the file that is damaged or incomplete; what was not run is a gap, not an error.
    Pictures that may not be passed on are left out (`sheets.private_item`).
    """
    report = params.report
    results, survey, scores = load_results(root, params), load_survey(root), load_scores(root)
    committed = came_with_repository(results)
    found = make_tables(params, results, timings, survey, scores)
    rows = {key: results[row.evaluation] for key, row in report.tables.get("a1", {}).items()}
    shares = {row["measure"]: row for row in found["oracle"].numbers.dropna(subset="evaluation").to_dict("records")}
    histories, plan = load_histories(params, results), figures.schedule_table(params, survey)
    pictures = figures.pictures(root, params, results, found, histories, plan)
    verdicts = claims(params, results, timings)
    origins = provenance(root, params, timings)
    found["provenance"] = _origins(origins)
    page = Page(
        params=params,
        tables={name: mark_committed(table, committed) for name, table in found.items()},
        pictures=pictures,
        claims=verdicts,
        provenance=origins,
        shares=shares,
        stages=scores,
        counts=retrieval_counts(rows.get("1"), rows.get("6")),
        browsers=browser.gather(root, params, results),
        committed=committed,
        pipeline=pipeline_svg(root / "dvc.yaml") if (root / "dvc.yaml").is_file() else "",
    )
    return {
        **{path: content for table in found.values() for path, content in table_files(table).items()},
        **{f"{picture.folder}/{picture.name}.svg": picture.content for picture in pictures.values()},
        **figures.plot_data(found, histories, plan),
        "claims.json": _json({"claims": {claim.pop("name"): claim for claim in records(verdicts)}}),
        "provenance.json": (json.dumps(origins, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "index.html": render(page),
    }


def publish(files: dict[str, bytes], folder: Path) -> Path:
    """Writes the report's files atomically, removes those of an earlier one from its sub-folders; returns the page's
    path."""
    for name, content in files.items():
        with atomic_path(folder / name) as part:
            part.write_bytes(content)
    for sub in FOLDERS:
        (folder / sub).mkdir(parents=True, exist_ok=True)  # DVC expects its outputs, be there anything in them or not
        for path in sorted((folder / sub).rglob("*")):
            if path.is_file() and not path.name.startswith(".") and path.relative_to(folder).as_posix() not in files:
                path.unlink()
    return folder / "index.html"


def table_files(table: Table) -> dict[str, bytes]:
    """A table as CSV, Markdown and LaTeX, by path in reports/."""
    return {
        f"{table.folder}/{table.name}.csv": formats.csv_bytes(table.numbers),
        f"{table.folder}/{table.name}.md": formats.markdown(table.view, table.notes),
        f"{table.folder}/{table.name}.tex": formats.latex(table),
    }


def load_histories(params: Params, results: Mapping[str, Result | None]) -> dict[str, pd.DataFrame]:
    """The losses by epoch (`results.load_history`) of each run, or RUN/ABLATION, that was evaluated.

    Raises ValueError naming a damaged history.
    """
    found: dict[str, pd.DataFrame] = {}
    for place, result in results.items():
        run = "/".join([params.evaluation(place).run, *place.split("/")[1:]])
        if result is not None and run not in found:
            found[run] = load_history(result)
    order = list(params.runs)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].partition("/")[0])))


def mark_committed(table: Table, committed: set[str]) -> Table:
    """The table for the page, with the numbers of these evaluations marked. The files in Git have no such marks: they
    are the same wherever evaluations are."""
    return replace(table, view=table.view.map(lambda value: _marked(value, committed)))


def _marked(value: object, committed: set[str]) -> object:
    if not isinstance(value, Cell) or value.source not in committed:
        return value
    return replace(value, text=value.text + COMMITTED, mark="committed")


def _origins(origins: dict) -> Table:
    """Where each evaluation comes from and what it cost, in a row; all of it is in provenance.json."""
    rows = pd.DataFrame(provenance_rows(origins))
    notes = ["Cost: of the stages behind the evaluation that were timed; a shared stage counts for each evaluation."]
    return Table("provenance", "Where every evaluation comes from", rows, rows, notes, "timings")


def _json(content: dict) -> bytes:
    text = json.dumps(formats.rounded(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
