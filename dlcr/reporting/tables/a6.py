"""Table A6: throughput and memory of each component, the paper's A100 beside this machine; NaN if not timed here."""

import numpy as np
import pandas as pd

from dlcr.params import Params
from dlcr.reporting.cells import timed
from dlcr.reporting.formats import number
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Cell, Mark
from dlcr.reporting.results import timing_of
from dlcr.reporting.tables.specs import Sources, Spec


def stages(params: Params) -> list[tuple[str, str]]:
    """Of the paper's five components the (stage, name) that timings know them by."""
    report = params.report
    evaluation = report.evaluation("a1/6") or ""
    queries = params.evaluation(evaluation).queries if evaluation else "none"
    return [
        ("parse", report.dataset),
        ("describe", report.dataset),
        ("inpaint", report.samples),
        ("inpaint", queries),
        ("refine", evaluation),
    ]


def numbers(sources: Sources) -> pd.DataFrame:
    rows = []
    components = paper_table("tableA6_time_and_space_a100_80gb").to_dict("records")
    for paper, (stage, name) in zip(components, stages(sources.params), strict=True):
        fact = timing_of(sources.timings, stage, name)
        rows.append(
            {
                "component": paper["component"],
                "stage": f"{stage}@{name}",
                "paper_images_per_second": paper["images_per_second"],
                "images_per_second": fact.get("images_per_second", np.nan),
                "paper_gpu_memory_gb": paper["gpu_memory_gb"],
                "memory_gb": fact.get("peak_memory_mb", np.nan) / 1024,
            }
        )
    return pd.DataFrame(rows)


def view(row: dict, mark: Mark) -> dict:
    return {
        "Component": row["component"],
        "Stage": row["stage"],
        "Paper images/s (A100)": Cell(row["paper_images_per_second"], "paper"),
        "This machine images/s": timed(row["images_per_second"], mark),
        "Paper GPU memory, GB": Cell(row["paper_gpu_memory_gb"], "paper"),
        "This machine peak memory, GB": timed(row["memory_gb"], mark, lambda value: number(value, 2)),
    }


SPEC = Spec(
    name="a6",
    place=90,
    title="Table A6: time and memory of each component",
    numbers=numbers,
    view=view,
    folder="timings",
    notes=[
        "The paper's times are of an A100 with 80 GB and its large models; this machine's are of the profile's models. "
        "Memory is the GPU's where one is used, else the process's."
    ],
)
