"""Tables of evaluations beside the paper's numbers: rows, differences, what is cited, and gaps."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import make_data, make_evaluation

from dlcr.params import Params, Row, load_params
from dlcr.reporting.measured import comparer
from dlcr.reporting.results import Result, load_result, query_scores
from dlcr.reporting.tables import check, specs
from dlcr.reporting.tables.a8 import reference_k
from dlcr.reporting.tables.specs import Sources, make_table

Rows = dict[str, str | tuple[str, str]]
READERS = {"toy": "minicc", "night": "minicc", "prcc": "prcc", "ltcc": "ltcc"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("evaluations")
    manifest = make_data(folder, "toy")
    ids = manifest.loc[manifest["split"] == "query", "image_id"].tolist()
    gallery = manifest[manifest["split"] == "gallery"]
    for name, top1 in (("base", 0.3), ("dlcr", 0.6), ("oracle", 0.9)):
        make_evaluation(folder / name, ids, gallery, manifest, top1, [0, 1])
    found = {name: load_result(folder / name) for name in ("base", "dlcr", "oracle")}
    return found | {"far": replace(found["dlcr"], name="far", folder=folder / "far"), "absent": None}


@cache
def shipped() -> Params:
    return load_params("profiles/minicc.yaml")


def profile(table: str, rows: Rows) -> Params:
    """Profile minicc with other datasets, the evaluations of `results`, and these rows of one table: by key an
    evaluation, or an evaluation and its kind."""
    params = shipped()
    dataset, run, evaluation = params.datasets["minicc"], params.runs["baseline"], params.evaluations["baseline"]
    filled = {
        key: Row(evaluation=row) if isinstance(row, str) else Row(evaluation=row[0], kind=row[1])
        for key, row in rows.items()
    }
    return params.model_copy(
        update={
            "datasets": {name: dataset.model_copy(update={"reader": reader}) for name, reader in READERS.items()},
            "runs": {name: run.model_copy(update={"dataset": name}) for name in READERS},
            "evaluations": {
                name: evaluation.model_copy(update={"run": "ltcc" if name == "far" else "toy"})
                for name in ("base", "dlcr", "oracle", "far", "absent")
            },
            "report": params.report.model_copy(update={"tables": {table: filled}}),
        }
    )


def numbers(table: str, rows: Rows, results: dict, shown: str = "") -> pd.DataFrame:
    """The numbers of a table, or of one that shows another's rows, for a profile that fills it with these rows."""
    params = profile(table, rows)
    check(params)
    sources = Sources(params, results, pd.DataFrame(), {}, comparer())
    return make_table(specs()[shown or table], sources).numbers


def assert_gain(table: pd.DataFrame, row: object, base: object) -> None:
    """A row's differences are what its scores gain over those of `base`, inside their intervals."""
    for measure in ("top1", "map"):
        gain = table.loc[row, measure] - table.loc[base, measure]
        assert table.loc[row, f"{measure}_difference"] == pytest.approx(gain)
        ends = [table.loc[row, f"{measure}_difference_{end}"] for end in ("low", "high")]
        assert ends[0] <= gain <= ends[1]
        assert pd.isna(table.loc[base, f"{measure}_difference"])


def test_a1_has_numbers_for_what_was_run_and_gaps_for_the_rest(results: dict) -> None:
    rows = {"1": "base", "5": "dlcr", "6": ("dlcr", "refined"), "oracle": "oracle"}
    table = numbers("a1", rows, results).set_index("row")
    assert list(table.index) == ["1", "2", "3", "4", "5", "6", "oracle"]
    assert table["paper_top1"].tolist()[:6] == [55.2, 55.7, 60.7, 62.9, 65.0, 66.5]
    assert table.loc[["2", "3", "4"], ["evaluation", "top1", "map", "top1_low", "top1_p"]].isna().all(axis=None)
    means = results["dlcr"].scores["mean"]
    assert table.loc["5", "top1"] == means["cc"]["top1"]
    assert table.loc["6", "map"] == means["cc_refined"]["map"]
    assert (table["top1_low"].dropna() <= table["top1"].dropna()).all()
    assert table.loc["oracle", ["paper_top1", "paper_map"]].isna().all()
    assert_gain(table, "5", "1")
    assert_gain(table, "6", "1")
    with pytest.raises(ValueError, match=r"report\.tables\.a1: no row '7'; it has 1, .*oracle"):
        numbers("a1", {"7": "base"}, results)


def test_row_6_needs_refined_metrics(results: dict) -> None:
    refined = results["dlcr"].scores["mean"].pop("cc_refined")
    try:
        with pytest.raises(ValueError, match=r"dlcr/scores\.json.*cc_refined.*query set for refinement"):
            numbers("a1", {"6": ("dlcr", "refined")}, results)
    finally:
        results["dlcr"].scores["mean"]["cc_refined"] = refined


def test_prompt_tables_stand_beside_the_papers(results: dict) -> None:
    table = numbers("a3", {"random": "base", "vlm+llm": "dlcr"}, results).set_index("row")
    assert list(table.index) == ["random", "vlm", "vlm+llm"]
    assert table["paper_top1"].tolist() == [60.7, 61.6, 62.9]
    assert table.loc["vlm", ["top1", "map", "top1_difference", "evaluation"]].isna().all()
    assert_gain(table, "vlm+llm", "random")
    assert numbers("a4", {}, results)["paper_map"].tolist() == [60.9, 61.3]
    with pytest.raises(ValueError, match=r"report\.tables\.a4: no row 'blip'; it has llava, instructblip"):
        numbers("a4", {"blip": "base"}, results)


def test_methods_are_cited_where_this_project_has_none(results: dict) -> None:
    rows = {"toy/CAL": "base", "toy/CAL + DLCR": ("dlcr", "refined"), "toy/Mine": "oracle"}
    rows |= {"prcc/CAL": "base", "prcc/CAL + DLCR": ("dlcr", "refined")}
    table = numbers("t2", rows, results)
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
    assert row[["paper_top1", "top1"]].tolist() == [66.5, results["dlcr"].scores["mean"]["cc_refined"]["top1"]]
    assert_gain(table.loc["PRCC"], "CAL + DLCR", "CAL")
    assert table.loc["LTCC", ["evaluation", "top1"]].isna().all(axis=None)
    for key in ("mars/CAL", "toy"):
        with pytest.raises(ValueError, match=rf"report\.tables\.t2: no row '{key}'; it has DATASET/METHOD"):
            numbers("t2", {key: "base"}, results)


def test_each_model_has_three_rows_beside_the_papers(results: dict) -> None:
    stages = {"baseline": "base", "stage 1": "dlcr", "stage 1 + 2": ("oracle", "refined")}
    rows = {f"{model}/{stage}": row for model in ("MGN", "CCFA") for stage, row in stages.items()}
    table = numbers("t3", rows | {"PCB/baseline": "base", "PCB/stage 1": "absent"}, results)
    assert table["model"].unique().tolist() == ["PCB", "MGN", "HPM", "CAL", "AIM", "GEFF", "CCFA"]
    assert table.groupby("family")["model"].unique().map(set).to_dict() == {
        "standard": {"PCB", "MGN", "HPM"},
        "clothes-changing": {"CAL", "AIM", "GEFF", "CCFA"},
    }
    table = table.set_index(["model", "variant"])
    assert table.loc[("MGN", "stage 1"), "paper_top1"] == 62.5
    assert table.loc[("GEFF", "stage 1 + 2"), "paper_map"] == 66.2
    assert table.loc["CCFA", ["paper_top1", "paper_map"]].isna().all(axis=None)
    means = results["dlcr"].scores["mean"]
    mgn = table.loc["MGN"]
    assert mgn.loc["stage 1", "top1"] == means["cc"]["top1"]
    assert mgn.loc["stage 1", "evaluation"] == "dlcr"
    assert mgn.loc["stage 1 + 2", "map"] == results["oracle"].scores["mean"]["cc_refined"]["map"]
    assert_gain(mgn, "stage 1", "baseline")
    assert_gain(mgn, "stage 1 + 2", "baseline")
    assert table.loc[("PCB", "baseline"), "evaluation"] == "base"
    assert table.loc[("PCB", "stage 1"), ["evaluation", "top1", "top1_p"]].isna().all()
    assert table.loc["HPM", ["top1", "map"]].isna().all(axis=None)
    with pytest.raises(ValueError, match=r"report\.tables\.t3: no row 'MGN/stage 3'; it has MODEL/VARIANT with"):
        numbers("t3", {"MGN/stage 3": "base"}, results)


def test_other_domains_are_compared_where_trained_and_evaluated_alike(results: dict) -> None:
    table = numbers("t4", {"night/CAL": "base", "night/CAL + DLCR": "dlcr", "prcc/CAL + DLCR": "far"}, results)
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
    assert row["evaluation"] == "far"
    assert pd.isna(row["top1_difference"])  # CAL was not run there, though it was elsewhere
    assert table.loc[("LTCC", "LaST", "CAL"), ["paper_map", "top1"]].fillna(-1).tolist() == [3.5, -1]


def test_scores_over_k_rise_and_differ_from_the_papers_k(results: dict) -> None:
    table = numbers("a8", {"20": "oracle", "0": "base", "10": "dlcr", "5": "absent"}, results)
    assert table["k"].tolist() == [0, 5, 10, 20]
    table = table.set_index("k")
    assert_gain(table, 20, 10)
    assert_gain(table, 0, 10)
    assert table.loc[5, ["evaluation", "top1", "map"]].isna().all()
    with pytest.raises(ValueError, match=r"report\.tables\.a8: no row 'ten'; it has K, a whole number"):
        numbers("a8", {"ten": "base"}, results)


@given(st.sets(st.integers(0, 40)))
@settings(max_examples=20, deadline=None)
def test_the_reference_is_ten_or_what_comes_nearest_below(ks: set[int]) -> None:
    k = reference_k(profile("a8", {str(k): "base" for k in ks}))
    assert k in ks or not ks
    assert not any(k < other <= 10 for other in ks)
    assert k <= 10 or k == min(ks)


def test_guidance_is_compared_with_none(results: dict) -> None:
    table = numbers("guidance", {"with": "dlcr", "without": "base"}, results).set_index("row")
    assert list(table.index) == ["without", "with"]
    assert_gain(table, "with", "without")
    assert numbers("guidance", {}, results)[["evaluation", "top1"]].isna().all(axis=None)


def test_ccfas_ablations_are_the_slides_rows(results: dict) -> None:
    table = numbers("ccfa", {"phase-1": "base", "all": "dlcr", "CAL": "absent"}, results)
    assert table.groupby("group", sort=False).size().tolist() == [3, 3, 8]
    assert table["paper_top1"].tolist()[:6] == [48.1, 57.6, 61.2, 48.1, 55.5, 61.2]
    assert table.loc[table["row"] == "no-adv-g", ["paper_top1", "paper_sc_top1"]].to_numpy().tolist() == [[37.4, 71.7]]
    assert (table["row"] == "all").sum() == 3  # one evaluation stands in every group
    assert table.loc[table["row"] == "all", "evaluation"].tolist() == ["dlcr"] * 3
    for _, group in table.groupby("group"):
        rows = group.set_index("row")
        assert rows.loc["all", "sc_top1"] == results["dlcr"].scores["mean"]["sc"]["top1"]
        gain = rows.loc["all", "top1"] - results["base"].scores["mean"]["cc"]["top1"]
        assert rows.loc["all", "top1_difference"] == pytest.approx(gain)
    assert table.loc[table["row"] == "normal", ["evaluation", "top1", "sc_top1"]].isna().all(axis=None)
    with pytest.raises(ValueError, match=r"report\.tables\.ccfa: no row 'phase-9'; it has CAL, phase-1, norm"):
        numbers("ccfa", {"phase-9": "base"}, results)


def test_ccfas_main_table_has_every_setting_that_was_measured(results: dict) -> None:
    table = numbers("ccfa", {"CAL": "base", "all": "dlcr"}, results, "ccfa-main").set_index("method")
    assert len(table) == 12
    assert (table["source"] == "cited").sum() == 3
    assert table.loc["FSAM", "source"] == "cited only"
    assert table.loc["SPS", ["paper_prcc_cc_rank1", "paper_ltcc_general_map"]].tolist() == [62.8, 37.6]
    means = results["dlcr"].scores["mean"]
    phase_3 = table.loc["CCFA (phase III)"]
    for setting in ("cc", "sc"):
        assert phase_3[f"{setting}_top1"] == means[setting]["top1"]
        assert phase_3[f"{setting}_map"] == means[setting]["map"]
    assert pd.isna(phase_3["general_top1"])  # these evaluations have no such setting
    gain = phase_3["cc_top1"] - table.loc["CAL", "cc_top1"]
    assert phase_3["cc_top1_difference"] == pytest.approx(gain)
    assert table.loc["CCFA (phase I)", ["evaluation", "cc_top1", "sc_top1"]].isna().all()


def test_combinations_name_the_kind_of_their_rankings(results: dict) -> None:
    rows = {"baseline": "base", "DLCR, re-ranked": ("dlcr", "reranked"), "not run": "absent"}
    table = numbers("combinations", rows, results).set_index("what")
    assert table.loc["DLCR, re-ranked", "top1"] == results["dlcr"].scores["mean"]["cc_reranked"]["top1"]
    assert_gain(table, "DLCR, re-ranked", "baseline")
    assert table.loc["not run", ["evaluation", "top1"]].isna().all()
    assert numbers("combinations", {}, results).empty


def test_an_evaluation_older_than_a_kind_of_ranking_is_a_gap(results: dict) -> None:
    rows = {"baseline": "base", "averaged": ("dlcr", "averaged"), "NFC": ("dlcr", "centralized")}
    table = numbers("combinations", rows, results).set_index("what")
    assert table.loc[["averaged", "NFC"], ["evaluation", "top1"]].isna().all(axis=None)
    bare = {name: found for name, found in results["dlcr"].scores["mean"].items() if name != "cc_reranked"}
    without = Result("dlcr", results["dlcr"].folder, results["dlcr"].scores | {"mean": bare}, results["dlcr"].queries)
    with pytest.raises(
        ValueError, match=r"no setting 'cc_centralized': this row needs an evaluation with `rerank: true`"
    ):
        comparer()((without, "centralized"), (results["base"], "plain"))


def test_tables_that_are_not_filled_or_are_not_there_are_named(results: dict) -> None:
    for name in ("a9", "settings", "ccfa-main"):
        with pytest.raises(ValueError, match=rf"report\.tables\.{name}: no such table; there are t2, t3, t4, a1"):
            check(profile(name, {"1": "base"}))


def test_a_difference_is_to_the_rankings_that_are_named(results: dict) -> None:
    compare = comparer()
    row = compare((results["dlcr"], "refined"), (results["base"], "refined"))
    values = [query_scores(results[name], "refined", "top1").to_numpy().mean() for name in ("dlcr", "base")]
    assert row["top1_difference"] == pytest.approx(values[0] - values[1])
    assert "top1_difference" not in compare((results["dlcr"], "plain"), (results["dlcr"], "plain"))
    assert compare((None, "plain"), (results["base"], "plain")) == {"evaluation": None}


def test_one_seed_has_no_deviation(results: dict) -> None:
    one = Result("one", results["base"].folder, results["base"].scores | {"seeds": {"0": {}}}, results["base"].queries)
    assert np.isnan(comparer()((one, "plain"), (None, "plain"))["top1_std"])


def test_other_queries_are_named(results: dict, tmp_path: Path) -> None:
    fewer = results["base"].queries[lambda table: table["image_id"] != table["image_id"].iloc[0]]
    other = Result("other", tmp_path, results["base"].scores, fewer)
    with pytest.raises(ValueError, match=r"dlcr and other: .*the same queries"):
        comparer()((results["dlcr"], "plain"), (other, "plain"))
