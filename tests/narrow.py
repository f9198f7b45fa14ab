"""Parameters of a profile, narrowed to what a test needs."""

from collections.abc import Iterable

from dlcr.params import REFERENCES


def show_only(params: dict, evaluation: str) -> None:
    """Let the report of params.yaml's content show one evaluation, as rows 1 and 5 of Table A1, and nothing else."""
    params["report"] |= {"datasets": {}, "ways": {}, "tables": {"a1": {"1": evaluation, "5": evaluation}}}


def keep_rows(params: dict, a1: list[str], generated: list[str], evaluations: Iterable[str] = ()) -> None:
    """Let the report of params.yaml's content show these rows of Table A1, and nothing be made but what they need, the
    samples, these generated sets and these evaluations.
    """
    rows = {key: params["report"]["tables"]["a1"][key] for key in a1}
    params["report"] |= {"datasets": {}, "ways": {}, "tables": {"a1": rows}}
    needed = {("evaluations", row if isinstance(row, str) else row["evaluation"]) for row in rows.values()}
    needed |= {("generated", name) for name in (params["report"]["samples"], *generated)}
    needed |= {("evaluations", name) for name in evaluations}
    found: set[tuple[str, str]] = set()
    while needed:
        section, name = needed.pop()
        found.add((section, name))
        item = params[section][name] if section in REFERENCES and name != "none" else {}
        for field in item.keys() & REFERENCES.get(section, {}).keys():
            target = REFERENCES[section][field]
            needed |= {(target, item[field])} - found
    for section in REFERENCES:
        params[section] = {name: item for name, item in params[section].items() if (section, name) in found}
