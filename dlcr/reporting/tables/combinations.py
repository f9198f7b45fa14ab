"""What the paper does not combine: `what`, by its name in params.yaml, and the `kind` of its ranking; differences are
to the first row."""

from dlcr.params import Params
from dlcr.reporting.tables.specs import Line, Spec


def lines(params: Params) -> list[Line]:
    rows = params.report.tables.get("combinations", {})
    return [Line({"what": key, "kind": row.kind}, key, next(iter(rows))) for key, row in rows.items()]


SPEC = Spec(
    name="combinations",
    place=140,
    title="Combinations that the paper does not have",
    group="What each part contributes",
    lines=lines,
    headings={"what": "Combination"},
    columns=("what", "kind"),
    base="the first row",
)
