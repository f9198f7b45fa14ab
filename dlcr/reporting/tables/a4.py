"""Table A4: which model describes the clothes; differences are to the first row."""

from dlcr.reporting.tables.specs import Spec, from_paper

SPEC = Spec(
    name="a4",
    place=70,
    title="Table A4: which model describes the clothes",
    group="Prompts",
    lines=from_paper("tableA4_vision_language_models_prcc", "vlm", ("llava", "instructblip")),
    headings={"what": "Describer"},
    columns=("row", "what"),
    base="the first row",
    paper="CAL's on PRCC",
)
