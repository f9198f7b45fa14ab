"""The paper's statements as code: what makes a verdict, what keeps one from being made, and what it says."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcr.evaluation.statistics import holm
from dlcr.params import Params, load_params
from dlcr.reporting.claim_texts import claim_row, records, render, table
from dlcr.reporting.claims import claims, exit_code
from dlcr.reporting.paper import paper_table
from dlcr.reporting.parts import Claim
from dlcr.reporting.results import Result

QUERIES = 400
NOTHING_TIMED = pd.DataFrame(columns=["stage", "name"])


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params("profiles/minicc.yaml")


def result(name: str, top1: float | list[float], ap: float = 0.5, kinds: tuple[str, ...] = ("plain",)) -> Result:
    """An evaluation whose first queries are hit: a share `top1` of them, by training seed; `refined` hits 0.1 more."""
    shares = [top1, top1] if isinstance(top1, float) else top1
    tables = []
    for seed, share in enumerate(shares):
        for kind in kinds:
            hits = np.arange(QUERIES) < round(QUERIES * (share + 0.1 * (kind == "refined")))
            names = [f"{i:04d}" for i in range(QUERIES)]
            rows = pd.DataFrame({"image_id": names, "subject": names, "rank": np.where(hits, 1, 2)})
            tables.append(rows.assign(seed=seed, setting="cc", kind=kind, ap=ap + 0.1 * hits))
    return Result(name, Path("evaluations", name), {"mean": {"cc": {}}}, pd.concat(tables))


def verdicts(params: Params, *results: Result, timings: pd.DataFrame = NOTHING_TIMED) -> dict[str, Claim]:
    found = claims(params, {item.name: item for item in results}, timings)
    assert len({claim.name for claim in found}) == len(found)
    return {claim.name: claim for claim in found}


def mixed(name: str, gained: int, lost: int, seeds: int = 2) -> Result:
    """Against `result(..., 0.5)`, so many queries are gained and lost, in every seed."""
    base = result(name, [0.5] * seeds)
    order = base.queries["image_id"].astype(int)
    hits = (order >= lost) & (order < QUERIES // 2 + gained)
    return Result(name, base.folder, base.scores, base.queries.assign(rank=np.where(hits, 1, 2)))


def test_clear_differences_are_supported_or_contradicted(params: Params) -> None:
    found = verdicts(params, result("standard", 0.3), result("paired", 0.5), result("baseline", 0.4))
    claim = found["inpainting"]
    assert (claim.outcome, claim.unit, claim.sources) == ("supported", "points of top-1", ["paired", "standard"])
    assert claim.effect == pytest.approx(20)
    assert 10 < claim.low < 20 < claim.high < 30
    assert claim.p < 0.01
    assert (found["diffusion"].outcome, found["diffusion"].effect) == ("contradicted", pytest.approx(-10))
    assert exit_code(list(found.values())) == 3
    del found["diffusion"]
    assert (exit_code(list(found.values())), exit_code(list(found.values()), strict=True)) == (0, 4)
    assert exit_code([claim], strict=True) == 0


def test_every_statement_compares_the_right_rows(params: Params) -> None:
    shares = {
        "baseline": 0.1,
        "standard": 0.12,
        "random": 0.2,
        "paired": 0.35,
        "progressive": 0.5,
        "concat": 0.44,
        "oracle": 0.6,
        "instructblip": 0.36,
        "k-2": 0.25,
        "k-20": 0.38,
        "guided": 0.58,
    }
    kinds = {"progressive": ("plain", "refined")}
    found = verdicts(
        params, *(result(name, share, kinds=kinds.get(name, ("plain",))) for name, share in shares.items())
    )
    assert {name: round(found[name].effect, 6) for name in found if found[name].unit == "points of top-1"} | {
        "models": 0,
        "domains": 0,
    } == {
        "dlcr": 50,
        "inpainting": 23,
        "diffusion": 2,
        "prompts": 15,
        "progressive-concat": 6,
        "progressive-pairs": 15,
        "refinement-top1": 10,
        "models": 0,
        "domains": 0,
        "describer": 1,
        "k-grows": 10,
        "k-saturates": 3,
        "guidance": 8,
        "oracle": 15,
    }
    assert "CAL +25.0" in found["models"].detail


def test_small_differences_stay_undecided(params: Params) -> None:
    claim = verdicts(params, result("random", 0.5), mixed("paired", gained=30, lost=25))["prompts"]
    assert (claim.outcome, claim.effect) == ("undecided", pytest.approx(1.25))
    assert claim.low < 0 < claim.high


def test_what_was_not_run_is_a_gap(params: Params) -> None:
    found = verdicts(params)
    assert {claim.outcome for claim in found.values()} == {"not run"}
    assert all(np.isnan([claim.effect, claim.low, claim.high, claim.p]).all() for claim in found.values())
    # refinement needs the refined ranking of an evaluation that has it
    assert verdicts(params, result("progressive", 0.5))["refinement-top1"].outcome == "not run"
    refined = verdicts(params, result("progressive", 0.5, kinds=("plain", "refined")))
    assert refined["refinement-top1"].outcome == refined["refinement-map"].outcome == "supported"
    assert refined["refinement-map"].effect == pytest.approx(1.0)


def test_a_profile_without_the_rows_says_so(params: Params) -> None:
    tables = {"a1": {"1": params.report.row("a1/1")}, "t3": params.report.tables["t3"]}
    report = params.report.model_copy(update={"tables": tables})
    found = verdicts(params.model_copy(update={"report": report}), result("baseline", 0.5))
    for name in ("inpainting", "describer", "progressive-time", "progressive-concat", "domains"):
        assert (found[name].outcome, found[name].detail) == ("not run", "This profile has no such evaluations.")
    assert "oracle" not in found  # only rendered data has one


def test_a_verdict_is_about_other_seeds_too(params: Params) -> None:
    seeds = [0.5] * 4
    steady = verdicts(params, result("standard", seeds), result("paired", [0.58, 0.6, 0.62, 0.6]))["inpainting"]
    assert (steady.outcome, steady.effect) == ("supported", pytest.approx(10))
    assert steady.detail.startswith("By training seed +8.0, +10.0, +12.0, +10.0. ")
    # the same mean over the same people: only the seeds say less
    shaky = verdicts(params, result("standard", seeds), result("paired", [0.8, 0.49, 0.68, 0.43]))["inpainting"]
    assert (shaky.outcome, shaky.effect) == ("undecided", pytest.approx(10))
    assert shaky.low < 0 < shaky.high
    assert shaky.smallest > 2 * steady.smallest
    one = verdicts(params, result("standard", [0.5]), result("paired", [0.9]))["inpainting"]
    assert (one.outcome, one.p < 0.001) == ("undecided", True)
    assert one.detail.startswith("One training seed: nothing is known of others, so there is no verdict.")


def test_seeds_are_paired_by_their_number(params: Params) -> None:
    more = verdicts(params, result("standard", [0.5, 0.5]), result("paired", [0.6, 0.6, 0.1, 0.1]))["inpainting"]
    assert (more.outcome, more.effect) == ("supported", pytest.approx(10))
    assert "with 2 training seeds" in more.test
    other = result("paired", [0.9, 0.9])
    other.queries["seed"] += 5
    none = verdicts(params, result("standard", 0.5), other)["inpainting"]
    assert (none.outcome, "not with the same training seeds" in none.detail) == ("not run", True)


def test_power_is_stated_and_what_would_decide(params: Params) -> None:
    sides = result("random", [0.5] * 4), result("paired", [0.53, 0.51, 0.55, 0.49])
    claim = verdicts(params, *sides)["prompts"]
    assert (claim.outcome, claim.effect) == ("undecided", pytest.approx(2))
    assert f"This run finds differences from {claim.smallest:.1f} points on (80% power)." in claim.detail
    needed = int(re.search(r"as large as it seems, (\d+) seeds would", claim.detail)[1])
    shares = [0.53, 0.51, 0.55, 0.49] * (needed // 4)
    many = verdicts(params, result("random", [0.5] * len(shares)), result("paired", shares))
    assert many["prompts"].outcome == "supported"
    assert "would decide it" not in many["prompts"].detail
    few = verdicts(params, result("random", [0.5] * 4), mixed("paired", 40, 30, seeds=4))["prompts"]
    assert re.search(r"as large as it seems, \d+ people would decide it", few.detail)
    none = verdicts(params, result("random", [0.5] * 4), mixed("paired", 61, 60, seeds=4))["prompts"]
    assert "Neither 32 seeds nor 4000 people alone would decide it." in none.detail
    equal = verdicts(params, result("paired", 0.5), mixed("instructblip", 60, 60))["describer"]
    assert f"This run shows equals to lie within {equal.smallest:.1f} points of each other" in equal.detail
    crowd = verdicts(params, *sides, result("standard", [0.2] * 4), result("baseline", [0.2] * 4))["prompts"]
    assert crowd.smallest > claim.smallest  # of several claims each has to be clearer
    assert claim_row(asdict(claim))["Smallest effect found with 80 % power"] == f"{claim.smallest:.1f}"
    assert "| Smallest effect found with 80 % power |" in table([claim])


def test_several_statements_are_corrected_together(params: Params) -> None:
    barely = [result("random", 0.5), mixed("paired", gained=18, lost=6)]
    alone = verdicts(params, *barely)["prompts"]
    assert alone.outcome == "supported"
    assert 0.01 < alone.p < 0.05
    assert "over 1 claims" in alone.test
    names = ("instructblip", "k-2", "k-20", "concat", "progressive", "guided", "standard", "baseline")
    crowd = verdicts(params, *barely, *(mixed(name, 18, 6) for name in names))["prompts"]
    assert crowd.outcome == "undecided"
    assert crowd.p == alone.p


def test_no_difference_is_not_equivalence(params: Params) -> None:
    wide = verdicts(params, result("paired", 0.5), mixed("instructblip", 60, 60))["describer"]
    assert (wide.outcome, wide.effect) == ("undecided", 0)  # 30 % of the queries differ: anything is possible
    assert wide.detail.startswith("By training seed +0.0, +0.0. ")
    narrow = verdicts(params, result("paired", 0.5), mixed("instructblip", 2, 1))["describer"]
    assert narrow.outcome == "supported"
    assert -2 < narrow.low < narrow.high < 2
    assert "Equivalence within ±2 points" in narrow.test
    near = verdicts(params, result("paired", 0.5), mixed("instructblip", 8, 1))["describer"]
    assert (near.outcome, near.effect) == ("undecided", pytest.approx(1.75))  # far from one end is not enough
    same = verdicts(params, result("paired", 0.5), result("instructblip", 0.5))["describer"]
    assert (same.outcome, same.effect) == ("supported", 0)
    for far in (0.3, 0.7):
        assert verdicts(params, result("paired", 0.5), result("instructblip", far))["describer"].outcome == (
            "contradicted"
        )
    edge = verdicts(params, result("paired", 0.5), mixed("instructblip", 12, 2))["describer"]
    assert edge.outcome == "undecided"
    assert edge.effect == pytest.approx(2.5)


def test_every_model_must_gain(params: Params) -> None:
    """In stage 1, by the data alone: neither progressive learning nor refinement takes part."""
    rows = params.report.tables["t3"].items()
    bases = [result(row.evaluation, 0.4) for key, row in rows if key.endswith("/baseline")]
    better = {row.evaluation: result(row.evaluation, 0.6) for key, row in rows if key.endswith("/stage 1")}
    assert {params.runs[params.evaluations[name].run].mode for name in better} == {"paired"}
    claim = verdicts(params, *bases, *better.values())["models"]
    assert (claim.outcome, claim.effect) == ("supported", pytest.approx(20))
    assert claim.detail.count("supported") == len(better) == 7
    better["hpm-paired"] = result("hpm-paired", 0.4075)
    claim = verdicts(params, *bases, *better.values())["models"]
    assert (claim.outcome, claim.effect) == ("undecided", pytest.approx(0.75))
    assert "the least, HPM" in claim.test
    better["hpm-paired"] = result("hpm-paired", 0.3)
    assert verdicts(params, *bases, *better.values())["models"].outcome == "contradicted"
    del better["hpm-paired"]
    claim = verdicts(params, *bases, *better.values())["models"]
    assert claim.outcome == "undecided"
    assert "HPM: not run" in claim.detail


def test_domains_are_compared_each_with_itself(params: Params) -> None:
    found = verdicts(
        params,
        result("baseline-on-night", 0.3),
        result("baseline-on-crowd", 0.2),
        result("progressive-on-night", 0.4),
        result("progressive-on-crowd", 0.5),
    )["domains"]
    assert found.outcome == "supported"
    assert found.effect == pytest.approx(10)
    assert "CAL on minicc-night +10.0" in found.detail
    assert "CAL on minicc-crowd +30.0" in found.detail


def test_time_of_an_epoch_or_else_images(params: Params) -> None:
    both = (result("progressive", 0.5), result("concat", 0.5))

    def timed(progressive: float, concat: float, other: str = "a") -> Claim:
        table = [
            {"stage": "train", "name": name, "epoch_seconds": seconds, "machine": {"cpu": cpu}}
            for name, seconds, cpu in (("progressive", progressive, "a"), ("concat", concat, other))
        ]
        return verdicts(params, *both, timings=pd.DataFrame(table))["progressive-time"]

    counted = verdicts(params, *both)["progressive-time"]
    assert (counted.outcome, counted.effect) == ("supported", 5.5)
    assert "images" in counted.unit
    faster = timed(2.0, 20.0)
    assert (faster.outcome, faster.effect) == ("supported", 10.0)
    assert "seconds" in faster.unit
    assert [timed(2.0, value).outcome for value in (2.2, 1.0)] == ["undecided", "contradicted"]
    elsewhere = timed(2.0, 1.0, other="b")
    assert elsewhere.effect == 5.5
    assert "not timed on one machine" in elsewhere.test


def test_half_of_the_oracles_gain(params: Params) -> None:
    ends = (result("baseline", 0.2), result("oracle", 0.8))
    most, less = (verdicts(params, *ends, result("progressive", share))["oracle"] for share in (0.7, 0.3))
    assert (most.outcome, most.effect) == ("supported", pytest.approx(20))
    assert (less.outcome, less.effect) == ("contradicted", pytest.approx(-20))


def test_scores_that_mean_nothing_have_no_verdict(params: Params) -> None:
    smoke = params.model_copy(update={"report": params.report.model_copy(update={"mark": "smoke"})})
    found = verdicts(smoke, result("standard", 0.3), result("paired", 0.5))
    assert {claim.outcome for claim in found.values()} == {"undecided", "not run"}
    assert found["inpainting"].detail.startswith("No verdict")


def test_the_same_input_gives_the_same_claims(params: Params) -> None:
    given_results = [result("random", 0.5), mixed("paired", 20, 10)]
    assert render(list(verdicts(params, *given_results).values())) == render(
        list(verdicts(params, *given_results).values())
    )


def test_other_queries_are_an_error(params: Params) -> None:
    other = result("paired", 0.5)
    other.queries["image_id"] = "x" + other.queries["image_id"]
    with pytest.raises(ValueError, match="need the same queries"):
        verdicts(params, result("standard", 0.5), other)
    fewer = result("oracle", 0.8)
    fewer = Result("oracle", fewer.folder, fewer.scores, fewer.queries[fewer.queries["image_id"] != "0007"])
    with pytest.raises(ValueError, match="'0007' is not in all"):
        verdicts(params, result("baseline", 0.2), fewer, result("progressive", 0.5))


def test_text_and_json(params: Params) -> None:
    found = list(verdicts(params, result("standard", 0.3), result("paired", 0.5)).values())
    text = render(found)
    assert "SUPPORTED     inpainting: Inpainting that keeps the person" in text
    assert "+20.0 points of top-1, 95 % interval" in text
    assert text.endswith(f"{len(found) - 1} not run\n")
    data = json.loads(json.dumps(records(found), allow_nan=False))
    assert [row["effect"] for row in data if row["outcome"] == "not run"] == [None] * (len(found) - 1)
    assert set(data[0]) == set(Claim.__dataclass_fields__)


def test_the_papers_numbers_are_those_of_its_tables(params: Params) -> None:
    found = verdicts(params)
    a1 = paper_table("tableA1_ablation_prcc").set_index("row")
    for name, row, base, measure in (
        ("dlcr", "6", "1", "top1"),
        ("inpainting", "4", "2", "top1"),
        ("diffusion", "2", "1", "top1"),
        ("progressive-pairs", "5", "4", "top1"),
        ("refinement-top1", "6", "5", "top1"),
        ("refinement-map", "6", "5", "map"),
    ):
        a, b = a1.loc[row, measure], a1.loc[base, measure]
        assert found[name].paper.startswith(f"{a} against {b}, {float(a) - float(b):+.1f} (Table A1"), name
    t3 = paper_table("table3_and_a2_existing_methods_prcc").astype({"top1": float}).set_index(["model", "variant"])
    gains = t3.xs("stage 1", level=1)["top1"] - t3.xs("baseline", level=1)["top1"]
    assert f"{gains.min():+.1f} ({gains.idxmin()}) to {gains.max():+.1f} ({gains.idxmax()})" in found["models"].paper
    t4 = paper_table("table4_out_of_distribution").astype({"top1": float})
    gains = t4.pivot_table(index="evaluated_on", columns="model", values="top1").diff(axis="columns")["CAL + DLCR"]
    assert f"{gains.min():+.1f} ({gains.idxmin()}) to {gains.max():+.1f} ({gains.idxmax()})" in found["domains"].paper


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[i] for i in np.argsort(values, kind="stable")]
    if values:
        assert min(adjusted) == min(1.0, min(values) * len(values))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
