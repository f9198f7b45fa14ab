"""The browsers' data: what is drawn, votes that add up, gaps, and as much as fits."""

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import HOSTILE, make_pipeline

from dlcr.params import Params, load_params
from dlcr.reporting import browser
from dlcr.reporting.browser import Browsers, choose_samples, fit, gather, script_data
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


def test_variants_with_prompts_measures_and_reasons(browsers: Browsers) -> None:
    item = min(browsers.samples, key=lambda item: item["id"])
    first, last = item["variants"][0], item["variants"][-1]
    assert first["prompt"] == HOSTILE
    assert first["measures"] == dict.fromkeys(("change", "seam", "spread", "smoothness"), 0.5)
    assert browsers.pictures[first["picture"]][0] == f"{item['id']}, variant 1"
    assert (last["picture"], last["skipped"], last["measures"]) == (None, "empty mask", {})
    assert item["kind"] == "gaps"
    assert item["mask"]["status"] == "ok"
    variant = browsers.retrievals[0]["variants"][-1]
    assert (variant["picture"], variant["skipped"]) == (None, "empty mask")


def test_pictures_are_kept_once(browsers: Browsers) -> None:
    names = [name for name, _, _ in browsers.pictures]
    assert len(names) == len(set(names))
    assert all(uri.startswith("data:image/webp;base64,") for _, uri, _ in browsers.pictures)


def test_variants_below_the_gate_are_gaps(root: Path, params: Params, results: dict) -> None:
    strict = params.model_copy(update={"quality": params.quality.model_copy(update={"min_spread": 0.6})})
    samples = gather(root, strict, results).samples
    reasons = {variant["skipped"] for item in samples for variant in item["variants"]}
    assert reasons == {"quality: spread 0.5 < 0.6", "empty mask"}
    assert all(variant["picture"] is None for item in samples for variant in item["variants"])


def test_gaps(root: Path, params: Params, results: dict, browsers: Browsers, tmp_path: Path) -> None:
    assert gather(tmp_path, params, {}) == Browsers()  # no data
    without = gather(root, params, dict.fromkeys(results))
    assert (without.retrievals, len(without.samples)) == ([], len(browsers.samples))
    other = params.report.model_copy(update={"samples": "never-made"})
    assert gather(root, params.model_copy(update={"report": other}), results).samples == []


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
    pictures = draw(st.lists(st.tuples(names, names.map(lambda text: text * 20), names), min_size=1, max_size=8))
    places = st.integers(0, len(pictures) - 1)
    hits = st.lists(places.map(lambda place: [place, 0.5]), max_size=3)
    places = st.one_of(st.none(), places)
    part = st.fixed_dictionaries({"picture": places, "text": names, "hits": hits})
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
        used |= {hit[0] for item in first for part in item["parts"] for hit in part["hits"]}
    for place, picture in enumerate(kept.pictures):
        assert picture == (all_of_it.pictures[place] if place in used else ("", "", ""))
    assert fit(all_of_it, 10**9).samples == sorted(all_of_it.samples, key=lambda item: item["id"])


def test_more_fits_into_more_room(browsers: Browsers) -> None:
    counts = []
    for room in (2_000, 100_000, 200_000, 10_000_000):
        kept = fit(browsers, room)
        counts.append(len(kept.retrievals) + len(kept.samples))
        assert abs(len(kept.retrievals) - len(kept.samples)) <= 1 or room == 10_000_000
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[1] < counts[-1] == len(browsers.retrievals) + len(browsers.samples)
