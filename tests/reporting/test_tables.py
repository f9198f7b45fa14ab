"""Tables of datasets, settings, times, and the share of the oracle's gain; what a Result must hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made_up import make_data, make_evaluation

from dlcr.params import Row, load_params
from dlcr.reporting.measured import comparer
from dlcr.reporting.oracle import gain_shares, share_of_gain
from dlcr.reporting.paper import paper_table
from dlcr.reporting.results import difference, load_result, query_scores, timing_of
from dlcr.reporting.tables import a5, a6, settings, t1, wall
from dlcr.reporting.tables.specs import Sources


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


def test_datasets_stand_beside_the_papers_with_what_this_run_has() -> None:
    mine = {"data": "toy", "set": "inpainting", "private": False, "original_images": 24, "generated_images": 72}
    table = t1.beside_the_papers({"toy": mine, "PRCC": {"data": "prcc", "set": "none", "private": False, "queries": 9}})
    assert table["dataset"].tolist() == ["PRCC", "LTCC", "CCVID", "VC-Clothes", "LaST", "toy", "Total"]
    table = table.set_index("dataset")
    assert table.loc["PRCC", ["paper_original_images", "paper_generated_images", "queries"]].tolist() == [
        17896,
        178960,
        9,
    ]
    assert table.loc["PRCC", ["original_images", "generated_images"]].isna().all()
    assert table.loc["Total", ["paper_generated_images", "generated_images"]].tolist() == [2267820, 72]
    assert table["paper_generated_images"].iloc[:-1].sum() == 2267820  # the paper's total is that of its rows
    assert table.loc["LTCC", "paper_released"].startswith("no")
    assert pd.isna(
        t1.beside_the_papers({}).set_index("dataset").loc["Total", "generated_images"]
    )  # nothing is not zero


def test_settings_hold_every_setting_that_was_measured(results: dict) -> None:
    def table(found: dict) -> pd.DataFrame:
        return settings.numbers(Sources(None, found, pd.DataFrame(), {}, None))

    measured = table({"five": results["5"], "absent": None}).set_index("setting")
    assert set(measured["evaluation"]) == {"five"}
    assert list(measured.index) == ["cc", "cc_refined", "cc_reranked", "cc_single_shot", "sc"]
    assert measured.loc["sc", ["top1", "map"]].to_dict() == results["5"].scores["mean"]["sc"]
    assert table({"absent": None}).empty


def drawn(rng: np.random.Generator, mean: float, seeds: int, people: int) -> pd.DataFrame:
    """Scores of two queries of each person, as `query_scores`."""
    index = pd.MultiIndex.from_product([range(people), ["a", "b"]], names=["subject", "image_id"])
    return pd.DataFrame(rng.normal(mean, 5, (len(index), seeds)) + rng.normal(0, 2, seeds), index, range(seeds))


@given(st.integers(0, 10**6), st.integers(5, 40), st.sampled_from([1, 3, 4, 8]))
@hypothesis_settings(max_examples=25, deadline=None)
def test_share_of_gain_is_a_ratio_of_means(seed: int, people: int, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    base, method, oracle = (drawn(rng, mean, seeds, people) for mean in (20, 50, 80))
    found = share_of_gain(base, method, oracle)
    means = [table.to_numpy().mean() for table in (base, method, oracle)]
    assert found["share"] == pytest.approx((means[1] - means[0]) / (means[2] - means[0]))
    assert found["low"] < found["share"] < found["high"]


def test_the_interval_of_a_share_covers_it() -> None:
    rng = np.random.default_rng(0)
    found = [share_of_gain(*(drawn(rng, mean, 4, 30) for mean in (20, 50, 80))) for _ in range(400)]
    assert 0.92 < np.mean([one["low"] <= 0.5 <= one["high"] for one in found]) < 0.98


def test_share_of_gain_says_nothing_without_a_gain() -> None:
    base = pd.DataFrame({0: [50.0, 60.0, 70.0]}, pd.MultiIndex.from_tuples([(i, "a") for i in range(3)]))
    base.index.names = ["subject", "image_id"]
    assert np.isnan(list(share_of_gain(base, base + 1, base).values())).all()
    uncertain = share_of_gain(base, base, base + np.array([[30], [-10], [-10]]))
    assert uncertain["share"] == 0
    assert np.isnan(uncertain["low"])
    assert np.isnan(list(share_of_gain(base, base + 1, (base + 2).set_axis([5], axis=1)).values())).all()


def test_gain_shares_need_all_three_rows(results: dict) -> None:
    shares = gain_shares(results)
    values = [query_scores(results[row], "plain", "top1") for row in ("1", "5", "oracle")]
    assert shares["top1"] == share_of_gain(*values)
    assert gain_shares(results | {"oracle": None}) == {}


def test_evaluations_are_compared_on_the_same_queries_and_seeds(results: dict) -> None:
    a, b = (query_scores(results[row], "plain", "map") for row in ("1", "5"))
    shuffled = b.sample(frac=1, random_state=0).sort_index()
    assert difference(a, shuffled) == difference(a, b)
    assert difference(a[[0]], b).seeds == 1
    assert difference(a[[0]], b[[1]]) is None
    with pytest.raises(ValueError, match=f"'{b.index[0][1]}' is not in all of them"):
        difference(a, b.iloc[1:])
    whole = results["5"]
    lost = whole.queries[(whole.queries["seed"] == 0) | (whole.queries["image_id"] != b.index[0][1])]
    with pytest.raises(ValueError, match=f"per_query.parquet: training seed 1 lacks the query '{b.index[0][1]}'"):
        query_scores(replace(whole, queries=lost), "plain", "map")


def test_timing_tables_have_gaps_where_nothing_was_timed(results: dict) -> None:
    params = load_params("profiles/minicc.yaml")

    def sources(timings: list[dict], found: dict, **rows: str) -> Sources:
        filled = {"a5": {key: Row(evaluation=place) for key, place in rows.items()}}
        report = params.report.model_copy(update={"tables": filled, "dataset": "toy"})
        profile = params.model_copy(update={"report": report})
        return Sources(profile, found, pd.DataFrame(timings), {}, comparer())

    evaluations = {name: replace(results[row], name=name) for name, row in (("concat", "1"), ("progressive", "5"))}
    timed = [{"stage": "train", "name": "progressive", "epoch_seconds": 3.5}]
    both = a5.numbers(sources(timed, evaluations, concat="concat", progressive="progressive"))
    assert both["row"].tolist() == ["concat", "progressive"]
    assert both["paper_epoch_seconds"].tolist() == [691, 65]
    assert both["epoch_seconds"].isna().tolist() == [True, False]
    assert both["top1_difference"].tolist()[1] == pytest.approx(both["top1"][1] - both["top1"][0])
    one = a5.numbers(sources([], {}, progressive="progressive"))
    assert one["epochs"].isna().tolist() == [True, False]
    assert one[["evaluation", "top1", "top1_low"]].isna().all(axis=None)
    timed = [{"stage": "parse", "name": "toy", "images_per_second": 50.0, "peak_memory_mb": 2048.0}]
    components = a6.numbers(sources(timed, {}))
    assert components["images_per_second"].notna().tolist() == [True, False, False, False, False]
    assert components.loc[0, "memory_gb"] == 2
    assert components.loc[4, "paper_gpu_memory_gb"] == "<1"
    both = wall.numbers(sources([*timed, {"stage": "describe", "name": "toy", "seconds": 2.0}], {}))
    assert both["stage"].tolist() == ["describe", "parse"]
    assert both["seconds"].isna().tolist() == [False, True]
    assert timing_of(pd.DataFrame(timed), "parse", "toy")["images_per_second"] == 50
    assert timing_of(pd.DataFrame(), "parse", "toy") == {}


def test_an_incomplete_evaluation_is_named(tmp_path: Path) -> None:
    assert load_result(tmp_path / "absent") is None
    (tmp_path / "half").mkdir()
    with pytest.raises(ValueError, match=r"half/scores\.json"):
        load_result(tmp_path / "half")
    (tmp_path / "half" / "scores.json").write_text('{"seeds": {}, "mean": {}, "std": {}}')
    with pytest.raises(ValueError, match=r"per_query\.parquet: missing"):
        load_result(tmp_path / "half")
