"""Table 4, out of distribution: the dataset a `model` was `trained_on`, and another that it is `evaluated_on`.

This run's datasets come first; differences are to CAL, trained and evaluated on the same.
"""

from dlcr.params import Params
from dlcr.reporting.paper import paper_table
from dlcr.reporting.tables.specs import Line, Spec, dataset_title, of_datasets

BASE = "CAL"
COLUMNS = ("trained_on", "evaluated_on", "model")


def lines(params: Params) -> list[Line]:
    cited, keys = paper_table("table4_out_of_distribution").set_index(list(COLUMNS)).to_dict("index"), {}
    for key, dataset, model in of_datasets(params, "t4"):
        trained_on = params.runs[params.evaluation(params.report.evaluation(f"t4/{key}")).run].dataset
        keys[dataset_title(params, trained_on), dataset_title(params, dataset), model] = key
    together = dict.fromkeys([*cited, *keys])
    return [
        Line(
            dict(zip(COLUMNS, line, strict=True)), keys.get(line, ""), keys.get((*place, BASE), ""), cited.get(line, {})
        )
        for place in dict.fromkeys(line[:2] for line in [*keys, *cited])
        for line in together
        if line[:2] == place
    ]


def notes(params: Params) -> list[str]:
    kinds = sorted({row.kind for row in params.report.tables.get("t4", {}).values()})
    return [f"Rankings of this run: {', '.join(kinds)}. The paper names no refinement here."] if kinds else []


SPEC = Spec(
    name="t4",
    place=40,
    title="Table 4: datasets that the models were not trained on",
    group="Data and domains",
    lines=lines,
    keys="DATASET/MODEL",
    headings={"trained_on": "Trained on", "evaluated_on": "Evaluated on", "model": "Model"},
    base=BASE,
    notes=notes,
)
