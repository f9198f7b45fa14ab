"""Makes the whole report in memory: `build(root, params)` gives every file's bytes, `publish` writes them.

Nothing is written before everything is made, and files of an earlier report do not survive beside those of a new one.
What is hashed by DVC (tables/, figures/, plots/, metrics.json) holds no times and no machine; those are in timings/, in
provenance.json, in the claims (one is about time) and on the page.
"""

import json
from pathlib import Path

import pandas as pd

from dlcr.params import Params
from dlcr.reporting import browser, figures, formats
from dlcr.reporting.claims import claims, records
from dlcr.reporting.oracle import gain_shares
from dlcr.reporting.page import Page, render
from dlcr.reporting.parts import Table
from dlcr.reporting.pipeline import pipeline_svg
from dlcr.reporting.provenance import provenance, provenance_rows
from dlcr.reporting.results import load_results
from dlcr.reporting.scores import stage_scores
from dlcr.reporting.sheets import retrieval_counts
from dlcr.reporting.tables import make_tables, metrics
from dlcr.runtime.files import atomic_path
from dlcr.runtime.seeds import seed_of

NO_LOSS = ("learning_rate", "variants", "replaced")
"""Columns of a training history that are no losses."""
FOLDERS = ("tables", "figures", "plots", "timings")


def build(root: Path, params: Params, timings: pd.DataFrame) -> dict[str, bytes]:
    """Every file of the report, by its path relative to `reports/`.

    Args:
        root: the repository's root, in which data/, masks/, ..., evaluations/ lie.
        params: the active profile.
        timings: as from `dlcr.runtime.timing.load_all`.

    Raises ValueError or OSError naming the file that is damaged or incomplete; what was not run is a gap, not an error.
    Pictures that may not be passed on are left out (`sheets.private_item`).
    """
    report = params.report
    if not (root / "data" / report.dataset / "manifest.parquet").is_file():
        raise FileNotFoundError(f"data/{report.dataset}: not there; `dvc repro prepare@{report.dataset}` makes it")
    results = load_results(root, params)
    found = make_tables(root, params, results, timings)
    rows = {key: results[row.evaluation] for key, row in report.tables.get("a1", {}).items()}
    shares = gain_shares(rows, report.bootstrap, seed_of("report", params.seed))
    stages = stage_scores(root, params)
    counts = retrieval_counts(rows.get("1"), rows.get("6"))
    histories = load_histories(root, params)
    pictures = figures.pictures(root, params, results, found, histories)
    verdicts = claims(params, results, timings)
    origins = provenance(root, params, timings)
    found["provenance"] = _origins(origins)
    page = Page(
        params=params,
        tables=found,
        pictures=pictures,
        claims=verdicts,
        provenance=origins,
        shares=shares,
        stages=stages,
        counts=counts,
        browsers=browser.gather(root, params, results),
        pipeline=pipeline_svg(root / "dvc.yaml") if (root / "dvc.yaml").is_file() else "",
    )
    return {
        **{path: content for table in found.values() for path, content in table_files(table).items()},
        **{f"figures/{picture.name}.svg": picture.content for picture in pictures.values()},
        **figures.plot_data(root, params, found, histories),
        "metrics.json": _json({"tables": metrics(found, shares), "stages": stages, "retrievals": counts}),
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


def load_histories(root: Path, params: Params) -> dict[str, pd.DataFrame]:
    """The losses by epoch of each trained run, or RUN/ABLATION, means over its seeds: epoch and one column per loss,
    `identity` always among them.

    Raises ValueError naming a history without epoch or identity loss.
    """
    histories = {}
    for name, run in params.runs.items():
        for part in params.recipes[run.recipe].ablations or [""]:
            found = [_losses(path) for path in sorted((root / "runs" / name / part).glob("seed-*/history.csv"))]
            if found:
                place = f"{name}/{part}" if part else name
                histories[place] = pd.concat(found).groupby("epoch", as_index=False, sort=True).mean()
    return histories


def _origins(origins: dict) -> Table:
    """Where each evaluation comes from and what it cost, in a row; all of it is in provenance.json."""
    rows = pd.DataFrame(provenance_rows(origins))
    notes = ["Cost: of the stages behind the evaluation that were timed; a shared stage counts for each evaluation."]
    return Table("provenance", "Where every evaluation comes from", rows, rows, notes, "timings")


def _losses(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    if not {"epoch", "identity"} <= set(table.columns):
        raise ValueError(f"{path}: expected the columns epoch and identity, found {', '.join(table.columns)}")
    return table.drop(columns=[name for name in NO_LOSS if name in table.columns])


def _json(content: dict) -> bytes:
    text = json.dumps(formats.rounded(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
