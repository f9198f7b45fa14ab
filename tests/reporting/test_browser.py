"""The browsers' data: what is drawn, votes that add up, gaps, and as much as fits."""

import json
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import HOSTILE, make_pipeline
from PIL import Image

from dlcr.params import Params, load_params
from dlcr.reporting import browser
from dlcr.reporting.browser import Browsers, choose_queries, choose_samples, fit, gather, script_data, thumbnail
from dlcr.reporting.results import Result, load_result

ROWS = ("1", "6")


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A pipeline of which only what the browsers show was run."""
    root = tmp_path_factory.mktemp("pipeline")
    make_pipeline(
        root, params, missing=tuple(set(params.evaluations) - {params.report.evaluation(f"a1/{row}") for row in ROWS})
    )
    return root


@pytest.fixture(scope="module")
def results(root: Path, params: Params) -> dict[str, Result | None]:
    names = [params.report.evaluation(f"a1/{row}") for row in ROWS]
    return {name: load_result(root / "evaluations" / name, name) for name in names}


@pytest.fixture(scope="module")
def browsers(root: Path, params: Params, results: dict) -> Browsers:
    return gather(root, params, results)


def test_every_query_with_both_rankings(browsers: Browsers, root: Path, params: Params) -> None:
    rankings = pd.read_parquet(root / "evaluations" / params.report.evaluation("a1/6") / "rankings.parquet")
    assert {item["id"] for item in browsers.retrievals} == set(rankings["query"])
    for item in browsers.retrievals:
        wanted = rankings[(rankings["query"] == item["id"]) & rankings["refined"]].sort_values("rank")
        assert [browsers.pictures[hit["picture"]][0] for hit in item["after"]] == wanted["gallery"].tolist()
        assert [hit["right"] for hit in item["after"]] == wanted["correct"].tolist()
        first = (item["before"][0]["right"], item["after"][0]["right"])
        kinds = {(False, True): "fixed", (True, False): "broken", (False, False): "failed", (True, True): "right"}
        assert item["kind"] == kinds[first]


def test_votes_add_up_to_the_scores(browsers: Browsers, params: Params) -> None:
    for item in browsers.retrievals:
        assert [source["variant"] for source in item["sources"]] == list(range(-1, len(item["sources"]) - 1))
        assert all(len(source["votes"]) == params.refine.m for source in item["sources"])
        counted = [vote for source in item["sources"] for vote in source["votes"] if vote["counted"]]
        own = [vote for vote in item["sources"][0]["votes"] if vote["counted"]]
        assert {score["subject"] for score in item["scores"]} == {vote["subject"] for vote in counted}
        assert item["scores"] == sorted(item["scores"], key=lambda score: -score["score"])
        for score in item["scores"]:
            for votes, key in ((counted, "score"), (own, "query")):
                total = sum(vote["vote"] for vote in votes if vote["subject"] == score["subject"])
                assert score[key] == pytest.approx(total, abs=0.001 * len(votes))  # each is rounded
            assert score["right"] == (score["subject"] == item["subject"])


def test_variants_with_prompts_measures_and_reasons(browsers: Browsers) -> None:
    item = min(browsers.samples, key=lambda item: item["id"])
    first, last = item["variants"][0], item["variants"][-1]
    assert first["prompt"] == HOSTILE
    assert first["measures"] == dict.fromkeys(("change", "seam", "spread", "smoothness"), 0.5)
    assert browsers.pictures[first["picture"]][0] == f"{item['id']}, variant 1"
    assert (last["picture"], last["skipped"], last["measures"]) == (None, "empty mask", {})
    assert item["kind"] == "gaps"
    assert item["mask"]["status"] == "ok"
    source = browsers.retrievals[0]["sources"][-1]
    assert (source["picture"], source["skipped"]) == (None, "empty mask")


def test_pictures_are_kept_once(browsers: Browsers) -> None:
    names = [name for name, _ in browsers.pictures]
    assert len(names) == len(set(names))
    assert all(uri.startswith("data:image/webp;base64,") for _, uri in browsers.pictures)


def test_variants_below_the_gate_are_gaps(root: Path, params: Params, results: dict) -> None:
    strict = params.model_copy(update={"quality": params.quality.model_copy(update={"min_spread": 0.6})})
    samples = gather(root, strict, results).samples
    reasons = {variant["skipped"] for item in samples for variant in item["variants"]}
    assert reasons == {"quality: spread 0.5 < 0.6", "empty mask"}
    assert all(variant["picture"] is None for item in samples for variant in item["variants"])


def test_gaps(root: Path, params: Params, results: dict, browsers: Browsers, tmp_path: Path) -> None:
    assert gather(tmp_path, params, {}) == Browsers()  # no data
    without = gather(root, params, results | {params.report.evaluation("a1/6"): None})
    assert (without.retrievals, len(without.samples)) == ([], len(browsers.samples))
    other = params.report.model_copy(update={"samples": "never-made"})
    assert gather(root, params.model_copy(update={"report": other}), results).samples == []


def test_votes_that_were_not_recorded_are_gaps(
    root: Path, params: Params, results: dict, browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "load_votes", lambda result: None)
    items = gather(root, params, results).retrievals
    assert [item["id"] for item in items] == [item["id"] for item in browsers.retrievals]
    assert all(item["scores"] == [] and item["sources"][0]["votes"] == [] for item in items)
    assert len(items[0]["sources"]) > 1  # the variants are there all the same


def test_votes_file_is_checked(tmp_path: Path, results: dict, params: Params) -> None:
    result = results[params.report.evaluation("a1/1")]
    assert browser.load_votes(Result(result.name, tmp_path, result.metrics, result.queries)) is None
    pd.DataFrame({"query": ["a"]}).to_parquet(tmp_path / "votes.parquet")
    with pytest.raises(ValueError, match=r"votes\.parquet: no column variant, rank, .*; it has query"):
        browser.load_votes(Result(result.name, tmp_path, result.metrics, result.queries))


@pytest.mark.parametrize(("height", "width", "size"), [(96, 48, (48, 96)), (768, 256, (43, 128)), (300, 1, (1, 128))])
def test_thumbnails_are_small(height: int, width: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    uri = thumbnail(image)
    assert Image.open(BytesIO(b64decode(uri.partition(",")[2]))).size == size


def test_queries_of_each_category_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"query": [f"q{number:03d}" for number in range(400)], "category": ["fixed"] + [""] * 399})
    monkeypatch.setattr(browser, "QUERIES", 10)
    chosen = choose_queries(table, 3)
    assert len(chosen) == 10
    assert [category for _, category in chosen].index("fixed") <= 1  # rare, and not lost
    assert chosen == choose_queries(table.sample(frac=1, random_state=0), 3)  # whatever the order of the file
    assert chosen != choose_queries(table, 4)


def test_samples_of_each_subject_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = ["a"] * 90 + ["b"] * 5 + ["c"]
    images = pd.DataFrame({"image_id": [f"{number:02d}" for number in range(96)], "subject": subjects})
    monkeypatch.setattr(browser, "SAMPLES", 5)
    chosen = choose_samples(images, 1)
    assert sorted(chosen["subject"]) == ["a", "a", "b", "b", "c"]
    assert chosen["image_id"].is_unique


@st.composite
def some_browsers(draw: st.DrawFn) -> Browsers:
    names = st.text(alphabet="ab<&'\"é\u2028", max_size=6)
    pictures = draw(st.lists(st.tuples(names, names.map(lambda text: text * 20)), min_size=1, max_size=8))
    places = st.one_of(st.none(), st.integers(0, len(pictures) - 1))
    part = st.fixed_dictionaries({"picture": places, "text": names})
    item = st.fixed_dictionaries({"id": names, "picture": places, "parts": st.lists(part, max_size=3)})
    return Browsers(pictures, draw(st.lists(item, max_size=5)), draw(st.lists(item, max_size=5)))


@given(some_browsers(), st.integers(400, 3000))
@settings(max_examples=200, deadline=None)
def test_what_fits_is_whole_and_no_larger(all_of_it: Browsers, room: int) -> None:
    kept = fit(all_of_it, room)
    text = script_data(kept)
    assert len(text.encode()) <= room
    assert "<" not in text
    assert json.loads(text)["pictures"] == [list(picture) for picture in kept.pictures]
    used = set()
    for kind in ("retrievals", "samples"):
        first = getattr(all_of_it, kind)[: len(getattr(kept, kind))]
        assert getattr(kept, kind) == sorted(first, key=lambda item: item["id"])
        used |= {part["picture"] for item in first for part in (item, *item["parts"])}
    for place, picture in enumerate(kept.pictures):
        assert picture == (all_of_it.pictures[place] if place in used else ("", ""))
    assert fit(all_of_it, 10**9).samples == sorted(all_of_it.samples, key=lambda item: item["id"])


def test_more_fits_into_more_room(browsers: Browsers) -> None:
    counts = []
    for room in (2_000, 100_000, 200_000, 10_000_000):
        kept = fit(browsers, room)
        counts.append(len(kept.retrievals) + len(kept.samples))
        assert abs(len(kept.retrievals) - len(kept.samples)) <= 1 or room == 10_000_000
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[1] < counts[-1] == len(browsers.retrievals) + len(browsers.samples)
