"""Clothes from a picture, beyond the paper: sets whose outfits are told, shown, both, only recoloured, and the truth.

Beside the scores of its model, each row says how a training set looks (`dlcr.reporting.scores.set_scores`): `words`,
what a describer reads back of the outfits' texts, and how near the pictures come to the truth within the clothes masks:
`difference`, mean absolute, in levels of 255, and `similarity`, structural (SSIM). Differences are to the text.
"""

import pandas as pd

from dlcr.params import Params
from dlcr.reporting.cells import NONE, row_compared
from dlcr.reporting.formats import GAP, is_gap, number
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.tables.specs import Line, Sources, Spec, compared

WHAT = {
    "text": "Text",
    "garment": "Picture",
    "both": "Text and picture",
    "colour": "Colour change",
    "oracle": "Oracle",
}
LOOKS = {
    "words": ("Prompt alignment", 1),
    "difference": ("Difference to the truth", 1),
    "similarity": ("SSIM to the truth", 3),
}
"""What is said of a set's pictures: heading and digits."""
HEADINGS = {"what": "Outfits from", "mode": "Training"}
BASE = "text"


def lines(params: Params) -> list[Line]:
    return [Line({"what": what}, key, BASE) for key, what in WHAT.items()]


def numbers(sources: Sources) -> pd.DataFrame:
    table = compared(SPEC, sources)
    runs = [_run(sources, key) for key in WHAT]
    table.insert(1, "mode", [run.mode if run else None for run in runs])
    for place, column in enumerate(LOOKS, 2):
        found = [sources.scores.get("sets", {}).get(run.generated, {}) if run else {} for run in runs]
        table.insert(place, column, [scores.get(column, float("nan")) for scores in found])
    return table


def _run(sources: Sources, key: str):
    place = sources.params.report.evaluation(f"{SPEC.name}/{key}")
    return sources.params.runs[sources.params.evaluation(place).run] if place else None


def view(row: dict, mark: Mark) -> dict:
    shown = row_compared(row, HEADINGS, BASE, mark)
    looks = {
        heading: Cell(GAP, "not run") if is_gap(row[column]) else Cell(number(row[column], digits), mark)
        for column, (heading, digits) in LOOKS.items()
    }
    scores = {heading: cell for heading, cell in shown.items() if not heading.startswith("Paper")}
    return {heading: scores.pop(heading) or NONE for heading in HEADINGS.values()} | looks | scores


SPEC = Spec(
    name="garments",
    place=135,
    title="Clothes from a picture",
    group="What each part contributes",
    lines=lines,
    headings=HEADINGS,
    columns=("what",),
    base=BASE,
    numbers=numbers,
    view=view,
    notes=[
        "Not in the paper. Prompt alignment: the share of the outfits' words that a describer reads back, of "
        "what the truth shows within the masks, in percent. Difference (mean, in levels of 255) and SSIM to the truth: "
        "within the clothes masks, of two variants of every image."
    ],
)
