"""Table A3: where prompts come from; differences are to the first row."""

from dlcr.reporting.tables.specs import Spec, from_paper

KEYS = ("random", "vlm", "vlm+llm")

SPEC = Spec(
    name="a3",
    place=60,
    title="Table A3: where prompts come from",
    group="Prompts",
    lines=from_paper("tableA3_prompt_sources_prcc", "prompts", KEYS),
    headings={"what": "Prompts"},
    columns=("row", "what"),
    base="the first row",
    paper="CAL's on PRCC",
)
