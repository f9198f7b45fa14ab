"""Tables of evaluations beside the paper's numbers: rows, differences, what is cited, and gaps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import make_data, make_evaluation

from dlcr.reporting import comparisons
from dlcr.reporting.measured import Compare, comparer
from dlcr.reporting.results import Result, load_result, per_query


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("evaluations")
    manifest = make_data(folder, "toy")
    ids = manifest.loc[manifest["split"] == "query", "image_id"].tolist()
    gallery = manifest[manifest["split"] == "gallery"]
    for name, top1 in (("base", 0.3), ("dlcr", 0.6), ("oracle", 0.9)):
        make_evaluation(folder / name, ids, gallery, manifest, top1, [0, 1])
    return {name: load_result(folder / name) for name in ("base", "dlcr", "oracle")}


@pytest.fixture(scope="module")
def compare() -> Compare:
    return comparer(100, 0)


def assert_gain(table: pd.DataFrame, row: object, base: object) -> None:
    """A row's differences are what its scores gain over those of `base`, inside their intervals."""
    for measure in ("top1", "map"):
        gain = table.loc[row, measure] - table.loc[base, measure]
        assert table.loc[row, f"{measure}_difference"] == pytest.approx(gain)
        ends = [table.loc[row, f"{measure}_difference_{end}"] for end in ("low", "high")]
        assert ends[0] <= gain <= ends[1]
        assert pd.isna(table.loc[base, f"{measure}_difference"])


def test_a1_has_numbers_for_what_was_run_and_gaps_for_the_rest(results: dict, compare: Compare) -> None:
    rows = {"1": results["base"], "5": results["dlcr"], "6": results["dlcr"], "oracle": results["oracle"]}
    table = comparisons.table_a1(rows, compare).set_index("row")
    assert list(table.index) == ["1", "2", "3", "4", "5", "6", "oracle"]
    assert table["paper_top1"].tolist()[:6] == [55.2, 55.7, 60.7, 62.9, 65.0, 66.5]
    assert table.loc[["2", "3", "4"], ["evaluation", "top1", "map", "top1_low", "top1_p"]].isna().all(axis=None)
    means = results["dlcr"].metrics["mean"]
    assert table.loc["5", "top1"] == means["cc"]["top1"]
    assert table.loc["6", "map"] == means["cc_refined"]["map"]
    assert (table["top1_low"].dropna() <= table["top1"].dropna()).all()
    assert table.loc["oracle", ["paper_top1", "paper_map"]].isna().all()
    assert_gain(table, "5", "1")
    assert_gain(table, "6", "1")
    with pytest.raises(ValueError, match=r"report\.a1: no row '7'; it has 1, .*oracle"):
        comparisons.table_a1({"7": None}, compare)


def test_row_6_needs_refined_metrics(results: dict) -> None:
    refined = results["dlcr"].metrics["mean"].pop("cc_refined")
    try:
        with pytest.raises(ValueError, match=r"dlcr/metrics\.json.*cc_refined.*query set for refinement"):
            comparisons.table_a1({"6": results["dlcr"]}, comparer(10, 0))
    finally:
        results["dlcr"].metrics["mean"]["cc_refined"] = refined


def test_prompt_tables_stand_beside_the_papers(results: dict, compare: Compare) -> None:
    rows = {"random": results["base"], "vlm+llm": results["dlcr"]}
    table = comparisons.table_prompts("a3", rows, compare).set_index("row")
    assert list(table.index) == ["random", "vlm", "vlm+llm"]
    assert table["paper_top1"].tolist() == [60.7, 61.6, 62.9]
    assert table.loc["vlm", ["top1", "map", "top1_difference", "evaluation"]].isna().all()
    assert_gain(table, "vlm+llm", "random")
    assert comparisons.table_prompts("a4", {}, compare)["paper_map"].tolist() == [60.9, 61.3]
    with pytest.raises(ValueError, match=r"report\.a4: no row 'blip'; it has llava, instructblip"):
        comparisons.table_prompts("a4", {"blip": None}, compare)


def test_methods_are_cited_where_this_project_has_none(results: dict, compare: Compare) -> None:
    own = {"CAL": (results["base"], "plain"), "CAL + DLCR": (results["dlcr"], "refined")}
    found = {"toy": own | {"Mine": (results["oracle"], "plain")}, "PRCC": own}
    table = comparisons.table_methods(found, compare)
    assert table["dataset"].unique().tolist() == ["toy", "PRCC", "CCVID", "VC-Clothes", "LTCC"]
    assert len(table) == 3 + 24
    table = table.set_index(["dataset", "method"])
    assert table.loc[("toy", "Mine"), "source"] == "this run"
    assert table.loc["toy", ["venue", "paper_top1"]].isna().all(axis=None)
    sources = table.loc["PRCC", "source"].to_dict()
    assert sources["GI-ReID"] == "cited only"
    assert sources["AIM"] == "cited"
    assert sources["CCFA"] == "cited; no public source"
    assert sources["CAL"] == "run by DLCR's authors"
    assert sources["CAL + DLCR"] == "DLCR"
    assert table.loc[("PRCC", "RCSANet"), ["paper_top1", "paper_map"]].tolist() == [50.2, 48.6]
    assert pd.isna(table.loc[("PRCC", "GI-ReID"), "paper_map"])
    row = table.loc[("PRCC", "CAL + DLCR")]  # both numbers in one row
    assert row[["paper_top1", "top1"]].tolist() == [66.5, results["dlcr"].metrics["mean"]["cc_refined"]["top1"]]
    assert_gain(table.loc["PRCC"], "CAL + DLCR", "CAL")
    assert table.loc["LTCC", ["evaluation", "top1"]].isna().all(axis=None)


def test_each_model_has_three_rows_beside_the_papers(results: dict, compare: Compare) -> None:
    stages = {"baseline": results["base"], "stage_1": results["dlcr"], "stage_2": results["oracle"]}
    found = {"MGN": stages, "CCFA": stages, "PCB": {"baseline": results["base"], "stage_1": None, "stage_2": None}}
    table = comparisons.table_models(found, compare)
    assert table["model"].unique().tolist() == ["PCB", "MGN", "HPM", "CAL", "AIM", "GEFF", "CCFA"]
    assert table.groupby("family")["model"].unique().map(set).to_dict() == {
        "standard": {"PCB", "MGN", "HPM"},
        "clothes-changing": {"CAL", "AIM", "GEFF", "CCFA"},
    }
    table = table.set_index(["model", "variant"])
    assert table.loc[("MGN", "stage 1"), "paper_top1"] == 62.5
    assert table.loc[("GEFF", "stage 1 + 2"), "paper_map"] == 66.2
    assert table.loc["CCFA", ["paper_top1", "paper_map"]].isna().all(axis=None)
    means = results["dlcr"].metrics["mean"]
    mgn = table.loc["MGN"]
    assert mgn.loc["stage 1", "top1"] == means["cc"]["top1"]
    assert mgn.loc["stage 1", "evaluation"] == "dlcr"
    assert mgn.loc["stage 1 + 2", "map"] == results["oracle"].metrics["mean"]["cc_refined"]["map"]
    assert_gain(mgn, "stage 1", "baseline")
    assert_gain(mgn, "stage 1 + 2", "baseline")
    assert table.loc[("PCB", "baseline"), "evaluation"] == "base"
    assert table.loc[("PCB", "stage 1"), ["evaluation", "top1", "top1_p"]].isna().all()
    assert table.loc["HPM", ["top1", "map"]].isna().all(axis=None)


def test_other_domains_are_compared_where_trained_and_evaluated_alike(results: dict, compare: Compare) -> None:
    found = {
        ("toy", "night", "CAL"): (results["base"], "plain"),
        ("toy", "night", "CAL + DLCR"): (results["dlcr"], "plain"),
        ("LTCC", "PRCC", "CAL + DLCR"): (results["dlcr"], "plain"),
    }
    table = comparisons.table_domains(found, compare)
    assert list(zip(table["trained_on"], table["evaluated_on"], strict=True))[:4] == [
        ("toy", "night"),
        ("toy", "night"),
        ("LTCC", "PRCC"),
        ("LTCC", "PRCC"),
    ]
    assert len(table) == 2 + 6
    table = table.set_index(["trained_on", "evaluated_on", "model"]).sort_index()
    assert_gain(table.loc["toy", "night"], "CAL + DLCR", "CAL")
    row = table.loc[("LTCC", "PRCC", "CAL + DLCR")]
    assert row["paper_top1"] == 45.5
    assert row["evaluation"] == "dlcr"
    assert pd.isna(row["top1_difference"])  # CAL was not run there, though it was elsewhere
    assert table.loc[("LTCC", "LaST", "CAL"), ["paper_map", "top1"]].fillna(-1).tolist() == [3.5, -1]


def test_scores_over_k_rise_and_differ_from_the_papers_k(results: dict, compare: Compare) -> None:
    rows = {"20": results["oracle"], "0": results["base"], "10": results["dlcr"], "5": None}
    table = comparisons.table_variants(rows, compare)
    assert table["k"].tolist() == [0, 5, 10, 20]
    table = table.set_index("k")
    assert_gain(table, 20, 10)
    assert_gain(table, 0, 10)
    assert table.loc[5, ["evaluation", "top1", "map"]].isna().all()
    with pytest.raises(ValueError, match=r"report\.a8: expected K, a whole number, found 'ten'"):
        comparisons.table_variants({"ten": None}, compare)


@given(st.sets(st.integers(0, 40)))
@settings(max_examples=60, deadline=None)
def test_the_reference_is_ten_or_what_comes_nearest_below(ks: set[int]) -> None:
    k = comparisons.reference_k(ks)
    assert k in ks or not ks
    assert not any(k < other <= 10 for other in ks)
    assert k <= 10 or k == min(ks)


def test_guidance_is_compared_with_none(results: dict, compare: Compare) -> None:
    rows = {"with": results["dlcr"], "without": results["base"]}
    table = comparisons.table_guidance(rows, compare).set_index("row")
    assert list(table.index) == ["without", "with"]
    assert_gain(table, "with", "without")
    assert comparisons.table_guidance({}, compare)[["evaluation", "top1"]].isna().all(axis=None)


def test_ccfas_ablations_are_the_slides_rows(results: dict, compare: Compare) -> None:
    table = comparisons.table_ccfa({"phase-1": results["base"], "all": results["dlcr"], "CAL": None}, compare)
    assert table.groupby("group", sort=False).size().tolist() == [3, 3, 8]
    assert table["paper_top1"].tolist()[:6] == [48.1, 57.6, 61.2, 48.1, 55.5, 61.2]
    assert table.loc[table["row"] == "no-adv-g", ["paper_top1", "paper_sc_top1"]].to_numpy().tolist() == [[37.4, 71.7]]
    assert (table["row"] == "all").sum() == 3  # one evaluation stands in every group
    assert table.loc[table["row"] == "all", "evaluation"].tolist() == ["dlcr"] * 3
    for _, group in table.groupby("group"):
        rows = group.set_index("row")
        assert rows.loc["all", "sc_top1"] == results["dlcr"].metrics["mean"]["sc"]["top1"]
        gain = rows.loc["all", "top1"] - results["base"].metrics["mean"]["cc"]["top1"]
        assert rows.loc["all", "top1_difference"] == pytest.approx(gain)
    assert table.loc[table["row"] == "normal", ["evaluation", "top1", "sc_top1"]].isna().all(axis=None)
    with pytest.raises(ValueError, match=r"report\.ccfa: no row 'phase-9'; it has CAL, phase-1, normal"):
        comparisons.table_ccfa({"phase-9": None}, compare)


def test_ccfas_main_table_has_every_setting_that_was_measured(results: dict, compare: Compare) -> None:
    rows = {"CAL": results["base"], "all": results["dlcr"]}
    table = comparisons.table_ccfa_main(rows, compare).set_index("method")
    assert len(table) == 12
    assert (table["source"] == "cited").sum() == 3
    assert table.loc["FSAM", "source"] == "cited only"
    assert table.loc["SPS", ["paper_prcc_cc_rank1", "paper_ltcc_general_map"]].tolist() == [62.8, 37.6]
    means = results["dlcr"].metrics["mean"]
    phase_3 = table.loc["CCFA (phase III)"]
    for setting in ("cc", "sc"):
        assert phase_3[f"{setting}_top1"] == means[setting]["top1"]
        assert phase_3[f"{setting}_map"] == means[setting]["map"]
    assert pd.isna(phase_3["general_top1"])  # these evaluations have no such setting
    gain = phase_3["cc_top1"] - table.loc["CAL", "cc_top1"]
    assert phase_3["cc_top1_difference"] == pytest.approx(gain)
    assert table.loc["CCFA (phase I)", ["evaluation", "cc_top1", "sc_top1"]].isna().all()


def test_combinations_name_the_kind_of_their_rankings(results: dict, compare: Compare) -> None:
    rows = {
        "baseline": (results["base"], "plain"),
        "DLCR, re-ranked": (results["dlcr"], "reranked"),
        "not run": (None, "plain"),
    }
    table = comparisons.table_combinations(rows, compare).set_index("what")
    assert table.loc["DLCR, re-ranked", "top1"] == results["dlcr"].metrics["mean"]["cc_reranked"]["top1"]
    assert_gain(table, "DLCR, re-ranked", "baseline")
    assert table.loc["not run", ["evaluation", "top1"]].isna().all()
    assert comparisons.table_combinations({}, compare).empty


def test_a_difference_is_to_the_rankings_that_are_named(results: dict, compare: Compare) -> None:
    row = compare((results["dlcr"], "refined"), (results["base"], "refined"))
    values = [per_query(results[name], "refined")["top1"].mean() for name in ("dlcr", "base")]
    assert row["top1_difference"] == pytest.approx(values[0] - values[1])
    assert "top1_difference" not in compare((results["dlcr"], "plain"), (results["dlcr"], "plain"))
    assert compare((None, "plain"), (results["base"], "plain")) == {"evaluation": None}


def test_one_seed_has_no_deviation(results: dict) -> None:
    one = Result("one", results["base"].folder, results["base"].metrics | {"seeds": {"0": {}}}, results["base"].queries)
    assert np.isnan(comparer(10, 0)((one, "plain"), comparisons.NOTHING)["top1_std"])


def test_other_queries_are_named(results: dict, tmp_path: Path) -> None:
    fewer = results["base"].queries[lambda table: table["image_id"] != table["image_id"].iloc[0]]
    other = Result("other", tmp_path, results["base"].metrics, fewer)
    with pytest.raises(ValueError, match=r"dlcr and other: .*the same queries"):
        comparer(10, 0)((results["dlcr"], "plain"), (other, "plain"))
