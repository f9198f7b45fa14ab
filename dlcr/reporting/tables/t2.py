"""Table 2, the state of the art: by dataset the paper's methods, then those that this run adds to it.

This run's datasets come first. `source` says where the paper's number is from; differences are to CAL.
"""

from dlcr.params import Params
from dlcr.reporting.paper import paper_table
from dlcr.reporting.tables.specs import Line, Spec, dataset_title, of_datasets

BASE = "CAL"
RUNNABLE = (BASE, "AIM", "CCFA", "CAL + DLCR")
"""Methods of the paper that this project can run; the others are only cited."""
SOURCES = {
    "reported": "cited",
    "reported; no public source": "cited; no public source",
    "baseline": "cited",
    "baseline; reproduced by the DLCR authors": "run by DLCR's authors",
    "ours": "DLCR",
}
"""Where the paper has a number from, by its note in the file."""


def lines(params: Params) -> list[Line]:
    paper, keys = paper_table("table2_state_of_the_art"), {}
    for key, dataset, method in of_datasets(params, "t2"):
        keys.setdefault(dataset_title(params, dataset), {})[method] = key
    found = []
    for dataset in dict.fromkeys([*keys, *paper["dataset"]]):
        own, cited = keys.get(dataset, {}), paper[paper["dataset"] == dataset].set_index("model").to_dict("index")
        for method in dict.fromkeys([*cited, *own]):
            line = cited.get(method, {})
            what = {"dataset": dataset, "method": method, "venue": line.get("venue") or None, "source": "this run"}
            if line:
                what["source"] = SOURCES[line["note"]] + ("" if method in RUNNABLE else " only")
            found.append(Line(what, own.get(method, ""), own.get(BASE, ""), line))
    return found


SPEC = Spec(
    name="t2",
    place=20,
    title="Table 2: state of the art, clothes-changing",
    group="Methods and models",
    lines=lines,
    keys="DATASET/METHOD",
    headings={"dataset": "Dataset", "method": "Method", "venue": "Venue", "source": "Paper's number"},
    base=BASE,
    notes=[
        "Cited: the paper took the number from the method's own publication. Cited only: this project has no such "
        "model. Rows of one dataset can be compared, those of different datasets cannot.",
        "RCSANet on PRCC is 50.2 top-1 and 48.6 mAP in DLCR's Table 2, 48.6 and 50.2 in the CCFA slides.",
        "CAL on LTCC is 39.5 top-1 in DLCR (its authors' own run), 40.1 in the CCFA slides.",
        "AIM on PRCC is 57.9 top-1 and 58.3 mAP in Table 2 (its authors' numbers), 55.7 and 56.3 in Table 3 (run by "
        "DLCR's authors).",
    ],
)
