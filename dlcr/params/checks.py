"""What must hold between the sections of params.yaml."""

from __future__ import annotations

from dlcr.params.items import REFERENCES, Items
from dlcr.params.sections import Section
from dlcr.params.whole import Params, evaluation_places
from dlcr.runtime.registry import find_entry


def problems(params: Params) -> list[str]:
    """What does not fit together, each as `key: problem`; `params` as the file has them, private items apart."""
    return [*_names_used_twice(params), *_names_of_folders(params), *_broken_references(params), *_leaks(params)]


def all_items(params: Params) -> dict[str, dict[str, Section]]:
    """By section all items, the private ones last."""
    return {section: getattr(params, section) | getattr(params.private, section) for section in Items.model_fields}


def _names(items: Items) -> dict[str, set[str]]:
    """By section the names that other items use."""
    names = {section: set(getattr(items, section)) for section in Items.model_fields}
    names["generated"] |= names["imported"]
    return names


def _names_used_twice(params: Params) -> list[str]:
    """Items that are private and public, each as `key: problem`."""
    return [
        f"private.{section}.{name}: {section} has an item of that name too"
        for section in Items.model_fields
        for name in getattr(params.private, section)
        if name in getattr(params, section)
    ]


def _names_of_folders(params: Params) -> list[str]:
    """Evaluations called as the folder of private ones (`whole.evaluation_folder`), each as `key: problem`."""
    items = {"evaluations": params.evaluations, "private.evaluations": params.private.evaluations}
    return [f"{key}.private: this name is taken, by a folder" for key, named in items.items() if "private" in named]


def _broken_references(params: Params) -> list[str]:
    """Names that point at nothing, each as `key: problem`."""
    items, public, private = all_items(params), _names(params), _names(params.private)
    sections = {section: public[section] | private[section] for section in public}
    sections |= {"recipes": set(params.recipes), "describers": set(params.models.describers)}
    for section in ("discriminators", "generated", "faces"):
        sections[section].add("none")
    problems = []

    def check(key: str, value: str, section: str) -> None:
        if value not in sections[section]:
            problems.append(f"{key}: no {section} named {value!r}; there are {', '.join(sorted(sections[section]))}")

    for section, fields in REFERENCES.items():
        for name, item in items[section].items():
            for field, target in fields.items():
                check(f"{_key(params, section, name)}.{field}", getattr(item, field), target)
    for name, run in items["runs"].items():
        if (run.mode == "none") != (run.generated == "none"):
            problems.append(
                f"{_key(params, 'runs', name)}: mode none and generated none belong together, found mode {run.mode!r} "
                f"with generated {run.generated!r}"
            )
    for name, item in items["discriminators"].items():
        if item.generated in {"none", *(n for n, made in items["generated"].items() if made.discriminator == name)}:
            problems.append(
                f"{_key(params, 'discriminators', name)}.generated: it needs a set that exists before it, found "
                f"{item.generated!r}"
            )
    for name, item in items["generated"].items():
        # By name: an import statement would make the kinds a dependency of every stage.
        if item.discriminator != "none" and not find_entry("dlcr.inpainting.kinds", item.kind, "kind").KIND.guidable:
            problems.append(
                f"{_key(params, 'generated', name)}: kind {item.kind} has no sampler for a discriminator to guide"
            )
    for name, item in items["generated"].items():
        if "garment" in item.model_fields_set and not find_entry("dlcr.inpainting.kinds", item.kind, "kind").KIND.shows:
            problems.append(f"{_key(params, 'generated', name)}.garment: kind {item.kind} shows no clothes")
    for name, item in items["generated"].items():
        if item.times[0] >= item.times[1]:
            key = _key(params, "generated", name)
            problems.append(f"{key}.times: expected two rising timesteps, found {list(item.times)}")
    splits = {name: item.split for name, item in items["generated"].items()} | dict.fromkeys(items["imported"], "train")
    of = {"discriminators": ("generated", "train"), "runs": ("generated", "train"), "evaluations": ("queries", "query")}
    for section, (field, split) in of.items():
        for name, item in items[section].items():
            wanted = getattr(item, field)
            if splits.get(wanted, split) != split:
                key = _key(params, section, name)
                problems.append(f"{key}.{field}: {wanted!r} has variants of split {splits[wanted]}, expected {split}")
    for name in set(items["imported"]) & set(items["generated"]):
        problems.append(f"imported.{name}: generated has an item of that name too")
    check("models.judge", params.models.judge, "describers")
    if params.quality.min_alignment > 0 and not params.quality.alignment:
        problems.append("quality.min_alignment: needs `alignment: true`, which measures it")
    if params.parse.min_area >= params.parse.max_area:
        problems.append(
            f"parse.max_area: expected more than min_area ({params.parse.min_area}), found {params.parse.max_area}"
        )
    sections["evaluations"] = set(evaluation_places(params, items))
    for table, rows in params.report.tables.items():
        for key, row in rows.items():
            check(f"report.tables.{table}.{key}", row.evaluation, "evaluations")
    check("report.dataset", params.report.dataset, "datasets")
    check("report.samples", params.report.samples, "generated")
    for dataset, generated in params.report.datasets.items():
        check(f"report.datasets.{dataset}", dataset, "datasets")
        check(f"report.datasets.{dataset}", generated, "generated")
    for way, generated in params.report.ways.items():
        check(f"report.ways.{way}", generated, "generated")
    return problems


def _leaks(params: Params) -> list[str]:
    """Public items that are made from private ones, or from data that may not be passed on: `key: problem`."""
    from dlcr.data.readers import find_reader  # with pandas

    private = _names(params.private)
    problems = [
        f"datasets.{name}: {find_reader(dataset.reader).title} may not be redistributed, it belongs in private.datasets"
        for name, dataset in params.datasets.items()
        if not find_reader(dataset.reader).redistributable
    ]
    for section, fields in REFERENCES.items():
        for name, item in getattr(params, section).items():
            for field, target in fields.items():
                value = getattr(item, field)
                if value in private.get(target, ()):
                    problems.append(
                        f"{section}.{name}: made from private {field} {value!r}, it belongs in private.{section}"
                    )
    return problems


def _key(params: Params, section: str, name: str) -> str:
    """An item's key in params.yaml."""
    return f"private.{section}.{name}" if name in getattr(params.private, section) else f"{section}.{name}"
