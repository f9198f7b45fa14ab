"""Table 1: the paper's datasets and this run's (`report.datasets`), a row each, and the total of generated images."""

from collections.abc import Mapping

import pandas as pd

from dlcr.reporting.cells import NONE, counted, paper_number
from dlcr.reporting.formats import GAP, is_gap
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.survey import COUNTS
from dlcr.reporting.tables.specs import Sources, Spec, dataset_title

TOTAL = "Total"


def numbers(sources: Sources) -> pd.DataFrame:
    params, counts = sources.params, {}
    for dataset, name in params.report.datasets.items():
        counts[dataset_title(params, dataset)] = {
            "data": dataset,
            "set": name,
            "private": dataset in params.private.datasets,
            **sources.survey["datasets"].get(dataset, {}),
            **_generated(sources, dataset, name),
        }
    return beside_the_papers(counts)


def _generated(sources: Sources, dataset: str, name: str) -> dict[str, int]:
    if name == "none":
        return {}
    of = (sources.params.generated | sources.params.imported)[name].dataset
    if of != dataset:
        raise ValueError(
            f"report.datasets.{dataset}: expected a set of that dataset, found {name!r}, which is of {of!r}"
        )
    made = sources.survey["sets"].get(name)
    return {} if made is None else {"generated_images": made["generated_images"]}


def beside_the_papers(counts: Mapping[str, Mapping[str, object]]) -> pd.DataFrame:
    """The table as numbers.

    counts: by the dataset's name (the paper's where it is one of its datasets) `data` and `set`, its names in
    params.yaml, `private`, and those of COUNTS that there are. Columns `dataset`, the paper's `paper_original_images`,
    `paper_generated_images` and `paper_released`, and what `counts` holds.
    """
    lines = {line.pop("dataset"): line for line in paper_table("table1_dataset_statistics").to_dict("records")}
    rows = []
    for dataset in dict.fromkeys([*(name for name in lines if name != TOTAL), *counts, TOTAL]):
        row = {"dataset": dataset} | {f"paper_{name}": value for name, value in lines.get(dataset, {}).items()}
        rows.append(row | dict(counts.get(dataset, {})))
    columns = ["dataset", "paper_original_images", "paper_generated_images", "paper_released", "data", "set", "private"]
    table = pd.DataFrame(rows).reindex(columns=[*columns, *COUNTS])
    whole = [name for name in table.columns if name.endswith("images") or name in COUNTS]
    table[whole] = table[whole].apply(pd.to_numeric).astype("Int64")
    made = table["generated_images"].sum(min_count=1)
    table.loc[table["dataset"] == TOTAL, "generated_images"] = made
    return table


def view(row: dict, mark: Mark) -> dict:
    shown = {"Dataset": row["dataset"]}
    for name in ("original_images", "generated_images"):
        shown[f"Paper {COUNTS[name]}"] = paper_number(row[f"paper_{name}"], 0)
    for name, title in COUNTS.items():
        none = is_gap(row["data"]) or (name == "generated_images" and row["set"] == "none")
        shown[f"This run {title}"] = counted(row[name], mark, NONE if none else GAP)
    return shown | {"Redistribution": _redistribution(row)}


def _redistribution(row: dict) -> str | Cell:
    if not is_gap(row["paper_released"]):
        return Cell(row["paper_released"], "paper") if row["paper_released"] else NONE
    return "no: private in this profile" if row["private"] else "yes"


SPEC = Spec(
    name="t1",
    place=10,
    title="Table 1: datasets and what is generated for them",
    numbers=numbers,
    view=view,
    group="Data and domains",
    notes=[
        "Generated images are those that training can use: without what was not made and what the quality gate drops. "
        "Training images, subjects and clothes are of split train; queries are those with changed clothes.",
        "Redistribution: of what the paper's authors generated; of this run's own datasets as the profile says.",
    ],
)
