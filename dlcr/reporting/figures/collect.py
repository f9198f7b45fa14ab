"""All figures of the report, and the files behind `dvc plots`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.params import Params
from dlcr.reporting import sheets
from dlcr.reporting.cmc import curves
from dlcr.reporting.figures.ablation import ablation
from dlcr.reporting.figures.activations import activations
from dlcr.reporting.figures.cmc import cmc
from dlcr.reporting.figures.features import query_features, training_features
from dlcr.reporting.figures.over_k import over_k
from dlcr.reporting.figures.retrievals import retrievals
from dlcr.reporting.figures.samples import samples
from dlcr.reporting.figures.schedule import schedule
from dlcr.reporting.figures.training import training
from dlcr.reporting.figures.ways import ways
from dlcr.reporting.formats import csv_bytes
from dlcr.reporting.parts import Picture, Table
from dlcr.reporting.results import Result
from dlcr.reporting.tables.a8 import variants_note
from dlcr.runtime.seeds import seed_of

SMOKE = " A run of the profile smoke: what it measured means nothing."


def pictures(
    root: Path,
    params: Params,
    results: Mapping[str, Result | None],
    tables: Mapping[str, Table],
    histories: Mapping[str, pd.DataFrame],
    plan: pd.DataFrame | None,
) -> dict[str, Picture]:
    """Every figure that can be made, by name, in the paper's order.

    One whose inputs were not made is left out, and so is everything that shows single images, if one of
    them may not be passed on (`sheets.private_item`). Those have the folder `pictures`.

    Args:
        root: the repository's root, in which data/, masks/, generated/ and runs/ lie.
        results: by name of the evaluation.
        tables: a1 and a8 are drawn.
        histories: by run, or RUN/ABLATION: its losses, with columns epoch and identity.
        plan: as from `schedule_table`.

    Raises ValueError or OSError naming an input that is damaged.
    """
    found = [
        *([] if sheets.private_item(params) else _of_images(root, params, results)),
        over_k(tables["a8"].numbers, variants_note(params)),
        ablation(tables["a1"].numbers),
        cmc(_curves(params, results)),
        schedule(plan),
        training(histories, params),
    ]
    order = ("a1", "cmc", "fig-1", "fig-a3", "fig-a4", "fig-a5", "fig-a6", "fig-a7", "fig-a8", "schedule", "training")
    made = {picture.name: picture for picture in found if picture is not None}
    return {name: _marked(made[name], params) for name in order if name in made}


def _curves(params: Params, results: Mapping[str, Result | None]) -> dict[str, np.ndarray]:
    """By row of Table A1 its CMC curve; rows that were not run are left out."""
    rows = params.report.tables.get("a1", {}).items()
    found = {key: (row.kind, curves(results[row.evaluation])) for key, row in rows if results.get(row.evaluation)}
    return {key: by_kind[kind] for key, (kind, by_kind) in found.items() if kind in by_kind}


def _of_images(root: Path, params: Params, results: Mapping[str, Result | None]) -> list[Picture | None]:
    """The figures that show single images, as pictures or as points."""
    report, minimum = params.report, params.quality.minimum()
    names = [report.evaluation(f"a1/{row}") for row in ("1", "5", "6")]
    base, five, six = (results.get(name) for name in names)
    seed = seed_of("figures", params.seed)
    shown = [
        ways(sheets.load_expansions(root, report.dataset, report.ways, minimum)),
        samples(sheets.load_samples(root, report.dataset, report.samples, minimum), report.samples),
        retrievals(sheets.load_retrievals(root, report.dataset, base, six), sheets.retrieval_counts(base, six)),
        query_features(base, five, seed),
        activations(root, params, *names[:2]),
        training_features(root, params, names[0], seed),
    ]
    return [picture and replace(picture, folder="pictures") for picture in shown]


def _marked(picture: Picture, params: Params) -> Picture:
    return replace(picture, caption=picture.caption + SMOKE) if params.report.mark == "smoke" else picture


def plot_data(
    tables: Mapping[str, Table], histories: Mapping[str, pd.DataFrame], plan: pd.DataFrame | None
) -> dict[str, bytes]:
    """The CSV files behind `dvc plots`, by path in reports/: what was run of Tables A1 and A8, the schedule, and every
    run's losses. Arguments as in `pictures`."""
    a1, a8 = tables["a1"].numbers, tables["a8"].numbers
    return {
        "plots/top1.csv": csv_bytes(a1.loc[a1["top1"].notna(), ["row", "top1"]], 2),
        "plots/k.csv": csv_bytes(a8.loc[a8["top1"].notna(), ["k", "top1", "map"]], 2),
        **({} if plan is None else {"plots/schedule.csv": csv_bytes(_by_mode(plan))}),
        **{f"plots/training/{run}.csv": csv_bytes(history) for run, history in histories.items()},
    }


def _by_mode(plan: pd.DataFrame) -> pd.DataFrame:
    """The variants in use, one row per epoch and one column per mode, which is how `dvc plots` tells lines apart."""
    return plan.pivot_table(index="epoch", columns="mode", values="variants").reset_index()
