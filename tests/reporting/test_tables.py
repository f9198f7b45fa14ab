"""Tables of the report: gaps, intervals, differences and the share of the oracle's gain."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import make_data, make_evaluation

from dlcr.reporting.paper import paper_table
from dlcr.reporting.results import load_result, per_query
from dlcr.reporting.tables import aligned, gain_shares, share_of_gain, table_a1, table_a5, table_a6, table_prompts


@pytest.fixture
def results(tmp_path: Path) -> dict:
    manifest = make_data(tmp_path, "toy")
    ids = manifest.loc[manifest["split"] == "query", "image_id"].tolist()
    gallery = manifest[manifest["split"] == "gallery"]
    names = {"1": ("base", 0.3), "5": ("five", 0.6), "6": ("five", 0.6), "oracle": ("oracle", 0.9)}
    for name, top1 in set(names.values()):
        make_evaluation(tmp_path / name, ids, gallery, manifest, top1, [0, 1])
    return {row: load_result(tmp_path / name) for row, (name, _) in names.items()}


def test_paper_tables_are_the_papers() -> None:
    assert paper_table("tableA1_ablation_prcc")["top1"].tolist() == [
        "55.2",
        "55.7",
        "60.7",
        "62.9",
        "65.0",
        "66.5",
    ]
    with pytest.raises(FileNotFoundError, match="tableA5_progressive_learning_prcc"):
        paper_table("tableA9")


def test_a1_has_numbers_for_what_was_run_and_gaps_for_the_rest(results: dict) -> None:
    table = table_a1(results, 200, 0).set_index("row")
    assert list(table.index) == ["1", "2", "3", "4", "5", "6", "oracle"]
    assert table.loc[["2", "3", "4"], ["top1", "map", "top1_low", "top1_difference", "top1_p"]].isna().all(axis=None)
    five = results["5"].metrics["mean"]
    assert table.loc["5", "top1"] == five["cc"]["top1"]
    assert table.loc["6", "map"] == five["cc_refined"]["map"]
    assert (table["top1_low"].dropna() <= table["top1"].dropna()).all()
    assert table.loc["oracle", "paper_top1"] != table.loc["oracle", "paper_top1"]
    assert table.loc["5", "top1_difference"] == pytest.approx(table.loc["5", "top1"] - table.loc["1", "top1"])
    assert pd.isna(table.loc["1", "top1_difference"])


def test_prompt_tables_stand_beside_the_papers(results: dict) -> None:
    table = table_prompts("a3", {"random": results["1"], "vlm+llm": results["5"]}, 200, 0).set_index("row")
    assert list(table.index) == ["random", "vlm", "vlm+llm"]
    assert table["paper_top1"].tolist() == [60.7, 61.6, 62.9]
    assert table.loc["vlm", ["top1", "map", "top1_difference", "evaluation"]].isna().all()
    gain = table.loc["vlm+llm", "top1"] - table.loc["random", "top1"]
    assert table.loc["vlm+llm", "top1_difference"] == pytest.approx(gain)
    assert pd.isna(table.loc["random", "top1_difference"])
    assert table_prompts("a4", {}, 10, 0)["paper_map"].tolist() == [60.9, 61.3]
    with pytest.raises(ValueError, match=r"report\.a4: no row 'blip'; it has llava, instructblip"):
        table_prompts("a4", {"blip": None}, 10, 0)


def test_a1_rejects_a_row_that_the_table_lacks(results: dict) -> None:
    with pytest.raises(ValueError, match=r"report\.a1: no row '7' in Table A1; it has 1, .*oracle"):
        table_a1(results | {"7": None}, 10, 0)


def test_a1_needs_refined_metrics_for_row_6(results: dict) -> None:
    del results["6"].metrics["mean"]["cc_refined"]
    with pytest.raises(ValueError, match=r"cc_refined.*query set for refinement"):
        table_a1(results, 10, 0)


def brute_share(base: np.ndarray, method: np.ndarray, oracle: np.ndarray, n: int, seed: int) -> list[float]:
    """The definition, one resample after the other: draw queries with replacement, average, divide."""
    counts = np.random.default_rng(seed).multinomial(len(base), np.full(len(base), 1 / len(base)), size=n)
    shares = []
    for count in counts:
        drawn = np.repeat(np.arange(len(base)), count)
        shares.append((method[drawn].mean() - base[drawn].mean()) / (oracle[drawn].mean() - base[drawn].mean()))
    return [
        (method.mean() - base.mean()) / (oracle.mean() - base.mean()),
        *np.percentile(shares, [2.5, 97.5]),
    ]


@given(st.integers(0, 10**6), st.integers(5, 40))
@settings(max_examples=25, deadline=None)
def test_share_of_gain_is_its_definition(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    base, method = rng.uniform(0, 40, count), rng.uniform(20, 70, count)
    oracle = base + rng.uniform(1, 60, count)
    found = share_of_gain(base, method, oracle, 60, seed)
    np.testing.assert_allclose(
        [found["share"], found["low"], found["high"]], brute_share(base, method, oracle, 60, seed)
    )


def test_share_of_gain_says_nothing_without_a_gain() -> None:
    base = np.array([50.0, 60.0, 70.0])
    assert np.isnan(list(share_of_gain(base, base + 1, base, 50, 0).values())).all()
    uncertain = share_of_gain(base, base, base + np.array([30, -10, -10]), 200, 0)
    assert uncertain["share"] == 0
    assert np.isnan(uncertain["low"])


def test_gain_shares_need_all_three_rows(results: dict) -> None:
    shares = gain_shares(results, 100, 0)
    values = [per_query(results[row], "plain")["top1"].to_numpy() for row in ("1", "5", "oracle")]
    assert shares["top1"] == share_of_gain(*values, 100, 0)
    assert gain_shares(results | {"oracle": None}, 100, 0) == {}


def test_aligned_wants_the_same_queries() -> None:
    a, b = pd.Series([1.0, 2.0], index=["x", "y"]), pd.Series([3.0, 4.0], index=["y", "x"])
    assert [column.tolist() for column in aligned(a, b)] == [[1, 2], [4, 3]]
    with pytest.raises(ValueError, match="'z'"):
        aligned(a, pd.Series([1.0, 2.0, 3.0], index=["x", "y", "z"]))


def test_timing_tables_have_gaps_where_nothing_was_timed(results: dict) -> None:
    a5 = table_a5({"concat": None, "progressive": results["5"]}, {"progressive": 3.5}, {"progressive": 24})
    assert a5["paper_epoch_seconds"].tolist() == [691, 65]
    assert a5["epoch_seconds"].isna().tolist() == [True, False]
    assert a5["epochs"].isna().tolist() == [True, False]
    assert a5["top1"].isna().tolist() == [True, False]
    timings = pd.DataFrame([{"stage": "parse", "name": "toy", "images_per_second": 50.0, "peak_memory_mb": 2048.0}])
    a6 = table_a6(timings, [("parse", "toy"), ("describe", "toy"), ("inpaint", "a"), ("inpaint", "b"), ("refine", "c")])
    assert a6["images_per_second"].notna().tolist() == [True, False, False, False, False]
    assert a6.loc[0, "memory_gb"] == 2
    assert a6.loc[4, "paper_gpu_memory_gb"] == "<1"


def test_an_incomplete_evaluation_is_named(tmp_path: Path) -> None:
    assert load_result(tmp_path / "absent") is None
    (tmp_path / "half").mkdir()
    with pytest.raises(ValueError, match=r"half/metrics\.json"):
        load_result(tmp_path / "half")
    (tmp_path / "half" / "metrics.json").write_text('{"seeds": {}, "mean": {}, "std": {}}')
    with pytest.raises(ValueError, match=r"per_query\.parquet: missing"):
        load_result(tmp_path / "half")
