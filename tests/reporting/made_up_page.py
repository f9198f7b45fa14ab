"""A small page with one of everything, some of it hostile, some of it missing, for the tests of the page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlcr.params import Params, load_params
from dlcr.reporting.album import thumbnail
from dlcr.reporting.browser import Browsers
from dlcr.reporting.page import Page
from dlcr.reporting.parts import Cell, Claim, Picture, Table

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028{{ 7 * 7 }} & \"'"


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml")


@pytest.fixture(scope="module")
def whole(params: Params) -> Page:
    return make_page(params)


def make_page(params: Params) -> Page:
    """A small page with one of everything, some of it hostile, some of it missing."""
    sources = {key: row.evaluation for key, row in params.report.tables["a1"].items()}
    rows = {row: {"top1": 40.0 + place, "top1_std": 1.5} for place, row in enumerate(["1", "4", "6", "oracle"])}
    numbers = pd.DataFrame([{"row": row, **values} for row, values in rows.items()])
    for column, value in (("low", 10.0), ("high", 14.0), ("difference", 12.3), ("p", 0.0004)):
        numbers[f"top1_{column}" if column in ("difference", "p") else f"top1_difference_{column}"] = value
    numbers["top1_p"], numbers["paper_top1"] = 0.0004, [55.2, 62.9, 66.5, np.nan]
    mark = params.report.mark
    view = pd.DataFrame(
        {
            "Row": ["1", "2"],
            "Data": ["none", HOSTILE],
            "Paper top-1": [Cell("55.2", "paper"), Cell("55.7", "paper")],
            "This run top-1": [Cell("40.0 ± 1.5", mark, sources["1"]), Cell("not run", "not run")],
            "95 % interval top-1": [Cell("35.0 to 45.0", mark, sources["1"]), "–"],
            "Difference": [Cell("+2.0 (1.0 to 3.0; p = 0.020)", mark, "some/ablation"), None],
        }
    )
    a1 = Table("a1", "Table A1: what each part adds", numbers, view, [HOSTILE])
    tables = {
        "a1": a1,
        "t3": replace(a1, name="t3", title="Table 3", notes=[], group="Methods and models"),
        "quality": replace(a1, name="quality", title="Quality", notes=[], group=""),
        "wall": replace(a1, name="wall", title="Wall time", folder="timings"),
        "new": Table("new", "A table of no group", pd.DataFrame(), pd.DataFrame(columns=["Row"])),
    }
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><path d="M0 0h40v20z"/></svg>'
    pictures = {
        name: Picture(name, f"Title of {name}", svg, f"Alt of {name} {HOSTILE}", HOSTILE)
        for name in ("a1", "fig-a3", "fig-a4")
    }
    claim = Claim(
        "c1", HOSTILE, HOSTILE, "supported", 4.0, 1.0, 7.0, 0.01, 3.0, "points of top-1", HOSTILE, "", ["a-claims-own"]
    )
    gaps = dict.fromkeys(("effect", "low", "high", "p", "smallest"), np.nan)
    gap = replace(claim, name="c2", outcome="not run", **gaps, sources=[])
    facts = {"run": HOSTILE, "dataset": None, "seeds": [0, 1], "data": {HOSTILE: "md5"}, "stages": [{"seconds": 1.5}]}
    return Page(
        params=params,
        tables=tables,
        pictures=pictures,
        claims=[claim, replace(claim, name="c3", outcome="contradicted", effect=-4.0, low=-7.0, high=-1.0), gap],
        provenance={"git": {"revision": "abc"}, "evaluations": {sources["1"]: facts}},
        shares={},
        stages={},
        counts={"fixed": 4, "broken": 1, "failed": 0, "queries": 9},
        browsers=make_browsers(),
    )


def make_browsers(queries: int = 4) -> Browsers:
    """Queries of which every second was fixed with seed 0 and all are wrong with seed 1, and two samples; the first of
    both is hostile. The second ranking has the first seed alone; the third has not the first query."""
    image = thumbnail(np.full((48, 24, 3), 90, np.uint8))
    pictures = [(HOSTILE, image, "7"), ("picture 1", image, "7"), ("picture 2", image, HOSTILE)]
    pictures += [(f"picture {number}", image, "") for number in range(3, 6)]
    rankings = [
        {"name": "base", "kind": "plain", "row": "1", "seeds": [0, 1]},
        {"name": "part/one", "kind": "refined", "row": "", "seeds": [0]},
        {"name": HOSTILE, "kind": "plain", "row": "oracle", "seeds": [0, 1]},
    ]
    sources = {"-1": {"hits": [[1, 0.5, 0.8, 1], [2, 0.4, 0.7, 0]]}, "0": {"hits": []}}

    def ranked(right: bool) -> list[list]:
        return [[1, 0.5], [2, 0.4]] if right else [[2, 0.4], [1, 0.5]]

    retrievals = [
        {
            "id": HOSTILE if number == 0 else f"q{number}",
            "kind": "fixed" if number % 2 else "right",
            "picture": 0,
            "subject": "7",
            "clothes": "7-1",
            "camera": "C",
            "ranked": [
                {"hits": ranked(number % 2 == 0), "seeds": [[1 - number % 2, 0.75], [0, 0.5]]},
                {"hits": ranked(True), "seeds": [[1, 1.0]]},
                {"hits": ranked(True), "seeds": [[1, 1.0], None]} if number else {"hits": [], "seeds": []},
            ],
            "variants": [
                {"picture": 3, "prompt": HOSTILE, "skipped": ""},
                {"picture": None, "prompt": "x", "skipped": HOSTILE},
            ],
            "votes": {"1": {"sources": sources, "scores": {"hits": [[1, 0.8, 0.8]] if number else []}}},
        }
        for number in range(queries)
    ]
    variant = {"picture": 4, "prompt": HOSTILE, "clothes": HOSTILE, "skipped": "", "measures": {"change": 0.25}}
    facts = {"picture": 5, "subject": "8", "clothes": "8-1", "camera": "A"}
    gone = variant | {"picture": None, "skipped": "empty mask", "measures": {}}
    samples = [
        {"id": "s0", "kind": "gaps", **facts, "mask": {"picture": None, "status": "not run"}, "variants": [gone]},
        {
            "id": "s1",
            "kind": "complete",
            **facts,
            "mask": {"picture": 5, "status": "ok", "area": 0.25},
            "variants": [variant] * 3,
        },
    ]
    return Browsers(pictures, retrievals, samples, rankings, [0, 1])
