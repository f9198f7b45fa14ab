"""Generated `without` and `with` a discriminator's guidance (Sec. 12); the difference is to without."""

from dlcr.params import Params
from dlcr.reporting.tables.specs import Line, Spec


def lines(params: Params) -> list[Line]:
    return [Line({"row": key}, key, "without") for key in ("without", "with")]


SPEC = Spec(
    name="guidance",
    place=130,
    title="Discriminator guidance (Sec. 12)",
    group="What each part contributes",
    lines=lines,
    headings={"row": "Guidance"},
    base="without",
    notes=["The paper gives no table: guidance gains 1 to 2 % on PRCC and CCVID in some cases."],
)
