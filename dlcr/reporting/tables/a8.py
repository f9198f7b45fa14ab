"""Figure A8: scores over `k`, the number of generated variants per image, rising; 0 is the baseline.

The paper shows a curve and gives no numbers.
"""

from dlcr.params import Params, training_modes
from dlcr.reporting.tables.specs import Line, Spec


def lines(params: Params) -> list[Line]:
    base = str(reference_k(params))
    return [Line({"k": k}, str(k), base) for k in all_k(params)]


def all_k(params: Params) -> list[int]:
    """Every K of the profile, rising."""
    return sorted(int(key) for key in params.report.tables.get("a8", {}) if key.isdigit())


def reference_k(params: Params) -> int:
    """What the scores over K are compared with: the paper's K, 10, or the greatest below; else the smallest.

    So the differences of greater K say what more variants than the paper's still gain. 0 if there is none.
    """
    ks = all_k(params)
    return max((k for k in ks if k <= 10), default=ks[0] if ks else 0)


def notes(params: Params) -> list[str]:
    return [
        f"K = 0 is the baseline without generated data. Differences are to K = {reference_k(params)}: those of greater "
        "K say what more variants still gain. The paper shows a curve on PRCC without numbers, which hardly rises "
        "beyond 10.",
        variants_note(params),
    ]


def variants_note(params: Params) -> str:
    """How the runs of Figure A8 train with the variants, beside the paper's."""
    modes = training_modes(params, [row.evaluation for row in params.report.tables.get("a8", {}).values()])
    own = f"{', '.join(modes)}; " if modes else ""
    return f"How the variants are trained with: {own}the paper concatenates them (Sec. 15)."


SPEC = Spec(
    name="a8",
    place=100,
    title="Figure A8: how many variants of an image (K)",
    group="What each part contributes",
    lines=lines,
    keys="K, a whole number",
    headings={"k": "K"},
    base=lambda params: f"K = {reference_k(params)}",
    notes=notes,
)
