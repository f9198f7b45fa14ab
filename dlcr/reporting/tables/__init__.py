"""Every table of the report, a module each: `SPEC` says what it is (`specs.Spec`), and the profile which evaluations it
shows (`report.tables` of params.yaml).

    check(params)                                          # does the profile fill tables and rows that there are?
    found = make_tables(params, results, timings, survey)
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import pandas as pd

from dlcr.params import Params
from dlcr.reporting.measured import comparer
from dlcr.reporting.parts import Table
from dlcr.reporting.tables.specs import Results, Sources, Spec, make_table


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


def make_tables(
    params: Params,
    results: Results,
    timings: pd.DataFrame,
    survey: Mapping[str, dict],
    scores: Mapping[str, dict] | None = None,
) -> dict[str, Table]:
    """All tables by name, in the paper's order.

    Args:
        params: the active profile.
        results: by the places of all evaluations, NAME or NAME/ABLATION; None if not run.
        timings: as from `dlcr.runtime.timing.load_all`.
        survey, scores: as from `dlcr.reporting.survey`, `load_survey` and `load_scores`.

    Raises ValueError naming the key of params.yaml or the file that does not fit.
    """
    check(params)
    sources = Sources(params, results, timings, survey, comparer(), scores or {})
    return {name: make_table(spec, sources) for name, spec in specs().items()}
