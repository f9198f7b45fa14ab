"""Tables of models, CCFA's ablations and combinations: the paper's numbers, differences and gaps."""

from pathlib import Path

import pandas as pd
import pytest
from made_up import make_data, make_evaluation

from dlcr.reporting.comparisons import CCFA_ROWS, table_ccfa, table_combinations, table_models
from dlcr.reporting.results import Result, load_result
from dlcr.reporting.views import view_compared


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Result]:
    manifest = make_data(tmp_path, "toy")
    ids = manifest.loc[manifest["split"] == "query", "image_id"].tolist()
    gallery = manifest[manifest["split"] == "gallery"]
    for name, top1 in (("base", 0.3), ("dlcr", 0.6)):
        make_evaluation(tmp_path / name, ids, gallery, manifest, top1, [0, 1])
    return {name: load_result(tmp_path / name) for name in ("base", "dlcr")}


def test_each_model_has_three_rows_beside_the_papers(results: dict[str, Result]) -> None:
    pair = {"baseline": results["base"], "dlcr": results["dlcr"]}
    table = table_models({"MGN": pair, "CCFA": pair, "PCB": {"baseline": results["base"], "dlcr": None}}, 100, 0)
    assert table["model"].unique().tolist() == ["PCB", "MGN", "HPM", "CAL", "AIM", "GEFF", "CCFA"]
    table = table.set_index(["model", "variant"])
    assert table.loc[("MGN", "stage 1"), "paper_top1"] == 62.5
    assert table.loc[("GEFF", "stage 1 + 2"), "paper_map"] == 66.2
    assert table.loc["CCFA", ["paper_top1", "paper_map"]].isna().all(axis=None)
    means = results["dlcr"].metrics["mean"]
    mgn = table.loc["MGN"]
    assert mgn.loc["stage 1", "top1"] == means["cc"]["top1"]
    assert mgn.loc["stage 1 + 2", "map"] == means["cc_refined"]["map"]
    for variant in ("stage 1", "stage 1 + 2"):
        gain = mgn.loc[variant, "top1"] - mgn.loc["baseline", "top1"]
        assert mgn.loc[variant, "top1_difference"] == pytest.approx(gain)
        assert mgn.loc[variant, "top1_difference_low"] < gain < mgn.loc[variant, "top1_difference_high"]
    assert pd.isna(mgn.loc["baseline", "top1_difference"])
    assert table.loc[("PCB", "baseline"), "evaluation"] == "base"
    assert table.loc[("PCB", "stage 1"), ["evaluation", "top1", "top1_p"]].isna().all()
    assert table.loc["HPM", ["top1", "map"]].isna().all(axis=None)


def test_ccfas_ablations_are_measured_from_phase_1(results: dict[str, Result]) -> None:
    table = table_ccfa({"phase-1": results["base"], "all": results["dlcr"]}, 100, 0).set_index("row")
    assert list(table.index) == list(CCFA_ROWS)
    assert table.loc[["phase-1", "normal", "no-adv-g", "all"], "paper_top1"].tolist() == [48.1, 57.6, 37.4, 61.2]
    gain = table.loc["all", "top1"] - table.loc["phase-1", "top1"]
    assert table.loc["all", "top1_difference"] == pytest.approx(gain)
    assert pd.isna(table.loc["phase-1", "top1_difference"])
    assert table.loc["normal", ["evaluation", "top1"]].isna().all()
    with pytest.raises(ValueError, match=r"report.ccfa: no row 'phase-9'; it has phase-1, normal"):
        table_ccfa({"phase-9": None}, 100, 0)


def test_combinations_name_the_kind_of_their_rankings(results: dict[str, Result]) -> None:
    rows = {
        "baseline": (results["base"], "plain"),
        "DLCR, re-ranked": (results["dlcr"], "reranked"),
        "not run": (None, "plain"),
    }
    table = table_combinations(rows, 100, 0).set_index("what")
    assert table.loc["DLCR, re-ranked", "top1"] == results["dlcr"].metrics["mean"]["cc_reranked"]["top1"]
    assert table.loc["DLCR, re-ranked", "top1_difference"] > 0
    assert table.loc["not run", ["evaluation", "top1"]].isna().all()
    assert table_combinations({}, 100, 0).empty
    view = view_compared(table.reset_index(), {"what": "Combination"}, "the first row")
    assert "Paper top-1" not in view.columns  # the paper has none of these
    assert view.loc[2, "This run top-1"] == "not run"
    assert view_compared(table_combinations({}, 100, 0), {"what": "Combination"}, "the first row").empty
