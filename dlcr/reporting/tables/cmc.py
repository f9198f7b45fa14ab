"""Ranks 1, 5 and 10 of every evaluation (percent, means over the seeds): evaluation, dataset, kind, rank1 to rank10."""

import pandas as pd

from dlcr.reporting.cmc import curves
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.tables.specs import Sources, Spec

SHOWN = (1, 5, 10)
HEADINGS = ("Evaluation", "Dataset", "Ranking", *(f"Rank {rank}" for rank in SHOWN))


def numbers(sources: Sources) -> pd.DataFrame:
    rows = [
        {"evaluation": name, "dataset": sources.params.evaluation(name).dataset, "kind": kind}
        | {f"rank{rank}": curve[rank - 1] for rank in SHOWN}
        for name, result in sources.results.items()
        if result
        for kind, curve in curves(result).items()
    ]
    return pd.DataFrame(rows, columns=["evaluation", "dataset", "kind", *(f"rank{rank}" for rank in SHOWN)])


def view(row: dict, mark: Mark) -> dict:
    cells = [Cell(f"{row[f'rank{rank}']:.1f}", mark, row["evaluation"]) for rank in SHOWN]
    return dict(zip(HEADINGS, (row["evaluation"], row["dataset"], row["kind"], *cells), strict=True))


SPEC = Spec(
    name="cmc",
    place=155,
    title="Ranks 1, 5 and 10 of every evaluation",
    numbers=numbers,
    view=view,
    shown=HEADINGS,
    notes=[
        "The share of queries, in percent, whose person is among the first gallery images; mean over training seeds."
    ],
)
