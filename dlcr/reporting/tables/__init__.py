"""Every table of the report, a module each: `SPEC` says what it is (`specs.Spec`), and the profile which evaluations it
shows (`report.tables` of params.yaml).

    check(params)                                       # does the profile fill tables and rows that there are?
    found = make_tables(root, params, results, timings)
    metrics(found, shares)                              # what `dvc metrics` shows of them
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pandas as pd

from dlcr.data import Generated, open_generated
from dlcr.params import Params
from dlcr.reporting.measured import comparer
from dlcr.reporting.parts import Table
from dlcr.reporting.tables.specs import Results, Sources, Spec, make_table
from dlcr.runtime.seeds import seed_of


@cache
def specs() -> dict[str, Spec]:
    """All tables by name, in the paper's order."""
    modules = (import_module(f"{__name__}.{item.name}") for item in iter_modules(__path__))
    found = [module.SPEC for module in modules if hasattr(module, "SPEC")]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.place)}


def check(params: Params) -> None:
    """Raises ValueError naming the key of `report.tables` that is no table, or no row of its table."""
    fillable = {name: spec for name, spec in specs().items() if spec.lines}
    for name, rows in params.report.tables.items():
        if name not in fillable:
            raise ValueError(f"params.yaml: report.tables.{name}: no such table; there are {', '.join(fillable)}")
        spec = fillable[name]
        known = [*spec.more_keys, *(line.key for line in spec.lines(params))]
        for key in rows:
            if key not in known:
                there = spec.keys or ", ".join(dict.fromkeys(known))
                raise ValueError(f"params.yaml: report.tables.{name}: no row {key!r}; it has {there}")


def make_tables(root: Path, params: Params, results: Results, timings: pd.DataFrame) -> dict[str, Table]:
    """All tables by name, in the paper's order.

    Args:
        root: the repository's root, in which data/ and generated/ lie.
        params: the active profile.
        results: by the places of all evaluations, NAME or NAME/ABLATION; None if not run.
        timings: as from `dlcr.runtime.timing.load_all`.

    Raises ValueError naming the key of params.yaml or the file that does not fit.
    """
    check(params)
    compare = comparer(params.report.bootstrap, seed_of("report", params.seed))
    sources = Sources(root, params, results, timings, open_sets(root, params), compare)
    return {name: make_table(spec, sources) for name, spec in specs().items()}


def metrics(tables: Mapping[str, Table], shares: Mapping[str, dict]) -> dict:
    """What `dvc metrics` shows of the tables, nested by table and row: numbers in percent, rows that were not run left
    out. shares: as from `oracle.gain_shares`.
    """
    content: dict[str, dict] = {"share_of_oracle_gain": dict(shares)}
    for spec in specs().values():
        for row in tables[spec.name].numbers.dropna(subset="top1").to_dict("records") if spec.metrics else ():
            place = content.setdefault(spec.name, {})
            for column in spec.metrics:
                place = place.setdefault(_metric_name(column, row[column]), {})
            place.update({key: row[key] for key in spec.scores})
    return content


def _metric_name(column: str, value: object) -> str:
    """A row's name in the metrics, as row5 or k10: a bare number would read as a place in a list."""
    return f"{column}{value}" if str(value).isdigit() else str(value)


def open_sets(root: Path, params: Params) -> dict[str, Generated]:
    """The profile's generated sets that have been made, with the quality gate on them."""
    names = [*params.generated, *params.imported]
    folders = {name: root / "generated" / name for name in names}
    minimum = params.quality.minimum()
    return {name: open_generated(folder, minimum) for name, folder in folders.items() if folder.is_dir()}
