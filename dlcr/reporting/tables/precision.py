"""How precise the differences in Table A1 are, what their errors come from, and what other numbers of seeds give."""

import numpy as np
import pandas as pd

from dlcr.reporting.cells import NONE, TITLES
from dlcr.reporting.formats import is_gap, number, signed
from dlcr.reporting.measured import MEASURES
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.results import difference, query_scores
from dlcr.reporting.tables.specs import Sources, Spec

FORESEEN = (2, 4, 8, 16)
PARTS = ("seeds", "people", "rest")
COLUMNS = ("row", "base", "measure", "evaluation", "seeds", "people", "difference", "error", "smallest")
COLUMNS += tuple(f"of_{part}" for part in PARTS)
COLUMNS += tuple(f"error_{seeds}" for seeds in FORESEEN)
HEADINGS = ("Rows", "Measure", "Difference", "Standard error", "Smallest effect found", "Seeds, people, rest")
HEADINGS += tuple(f"Error with {seeds} seeds" for seeds in FORESEEN)


def numbers(sources: Sources) -> pd.DataFrame:
    keys = list(sources.params.report.tables.get("a1", {}))
    pairs = dict.fromkeys([*zip(keys[1:], keys, strict=False), *((key, keys[0]) for key in keys[1:])])
    found = []
    for row, base in pairs:
        ranked, other = sources.ranked(f"a1/{row}"), sources.ranked(f"a1/{base}")
        for measure in MEASURES if ranked[0] and other[0] else ():
            paired = difference(query_scores(*ranked, measure), query_scores(*other, measure))
            if paired is None:
                continue
            of_seeds, of_people, rest = paired.variances
            shares = np.array([of_seeds * paired.subjects, of_people * paired.seeds, rest])
            found.append(
                {"row": row, "base": base, "measure": measure, "evaluation": ranked[0].name}
                | {"seeds": paired.seeds, "people": paired.subjects}
                | {"difference": paired.mean, "error": paired.error, "smallest": paired.smallest()}
                | dict(zip((f"of_{part}" for part in PARTS), 100 * shares / (shares.sum() or np.nan), strict=True))
                | {f"error_{seeds}": paired.foreseen(seeds).error for seeds in FORESEEN if paired.seeds > 1}
            )
    return pd.DataFrame(found, columns=COLUMNS)


def view(row: dict, mark: Mark) -> dict:
    shares = [row[f"of_{part}"] for part in PARTS]
    texts = [signed(row["difference"]), number(row["error"], 2, NONE), number(row["smallest"], 1, NONE)]
    texts += [NONE if any(map(is_gap, shares)) else ", ".join(f"{share:.0f} %" for share in shares)]
    texts += [number(row[f"error_{seeds}"], 2, NONE) for seeds in FORESEEN]
    cells = [Cell(NONE) if text == NONE else Cell(text, mark, row["evaluation"]) for text in texts]
    return dict(zip(HEADINGS, (f"{row['row']} - {row['base']}", TITLES[row["measure"]], *cells), strict=True))


SPEC = Spec(
    name="precision",
    place=57,
    title="How precise the differences in Table A1 are",
    group="What each part contributes",
    numbers=numbers,
    view=view,
    shown=HEADINGS,
    notes=[
        "In points. Seeds, people, rest: the parts of the squared error that come from which training seeds, which "
        "people, and what is left (their queries, seeds on people). The smallest effect is that of a single test with "
        "80 % power. Errors with other numbers of seeds are foreseen from these parts, with as many people.",
    ],
)
