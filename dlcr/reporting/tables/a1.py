"""Table A1: the paper's six rows, and the bound that it does not have, the oracle; differences are to row 1."""

from dlcr.params import Params
from dlcr.reporting.paper import ORACLE, paper_table
from dlcr.reporting.tables.specs import Line, Spec

HEADINGS = {
    "row": "Row",
    "generated_data": "Generated data",
    "llm_prompts": "LLM prompts",
    "progressive_learning": "Progressive learning",
    "prediction_refinement": "Refinement",
}
BOUND = (ORACLE, "oracle: rendered in the right clothes (upper bound)", "yes", "yes", "no")


def lines(params: Params) -> list[Line]:
    cited = paper_table("tableA1_ablation_prcc").to_dict("records")
    return [
        Line({name: line[name] for name in HEADINGS}, line["row"], "1", line)
        for line in [*cited, dict(zip(HEADINGS, BOUND, strict=True))]
    ]


def notes(params: Params) -> list[str]:
    found = [
        "Row 4 (all variants, no progressive learning) is 62.9 in Table A1; Table A5 gives 64.0 for what "
        "reads as the same.",
    ]
    dataset = params.datasets.get(params.report.dataset)
    if dataset is not None and dataset.reader == "minicc":
        found.append(
            "Row 2 is painted by MiniCC's small model, which learned to fill masks and was never shown how to paint "
            "whole pictures: here the row says little about diffusion without a mask."
        )
    return found


SPEC = Spec(
    name="a1",
    place=50,
    title="Table A1: what each part adds",
    group="What each part contributes",
    lines=lines,
    headings=HEADINGS,
    base="row 1",
    paper="CAL's on PRCC",
    notes=notes,
)
