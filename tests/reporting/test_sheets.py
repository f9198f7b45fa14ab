"""Which images the figures show: by rule, never a crash where something was not made."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import HOSTILE, make_data, make_evaluation, make_set

from dlcr.reporting import sheets
from dlcr.reporting.results import Result, load_result
from dlcr.reporting.sheets import CATEGORIES, categories, choose_first, choose_retrievals

WAYS = {"colour": "colour", "standard": "standard", "inpainting": "inpainting"}


@pytest.fixture
def manifest(tmp_path: Path) -> pd.DataFrame:
    manifest = make_data(tmp_path, "toy")
    make_set(tmp_path, "inpainting", manifest)
    return manifest


def ranking(hits: dict[str, bool]) -> pd.DataFrame:
    rows = [
        {"query": query, "rank": rank, "correct": hit if rank == 1 else True}
        for query, hit in hits.items()
        for rank in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def test_retrievals_follow_the_rule() -> None:
    names = [f"q{number}" for number in range(8)]
    table = categories(
        ranking(dict.fromkeys(names, False)), ranking({name: name in ("q1", "q3", "q5") for name in names})
    )
    assert table["category"].tolist() == ["failed", "fixed", "failed", "fixed", "failed", "fixed", "failed", "failed"]
    subjects = dict(zip(names, "abbbccde", strict=True))
    chosen = [("fixed", "q1"), ("fixed", "q5"), ("failed", "q0"), ("failed", "q2"), ("failed", "q4")]
    assert choose_retrievals(table, subjects) == chosen


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.tuples(st.booleans(), st.booleans()), min_size=1))
@settings(max_examples=40, deadline=None)
def test_a_category_says_who_was_right(truth: dict[str, tuple[bool, bool]]) -> None:
    tables = [ranking({query: hits[side] for query, hits in truth.items()}) for side in (0, 1)]
    found = categories(*tables).set_index("query")["category"].to_dict()
    names = {(False, True): "fixed", (True, False): "broken", (False, False): "failed", (True, True): ""}
    assert found == {query: names[hits] for query, hits in truth.items()}
    chosen = choose_retrievals(categories(*tables), {query: query[0] for query in truth})
    for name in CATEGORIES:
        subjects = [query[0] for category, query in chosen if category == name]
        assert len(subjects) == len(set(subjects)) <= sheets.PER_CATEGORY


def hits(result: Result, kind: str) -> np.ndarray:
    """Of the first seed, by query; the made-up rankings agree with these."""
    rows = result.queries.query(f"seed == 0 and setting == 'cc' and kind == '{kind}'")
    return rows.sort_values("image_id")["rank"].to_numpy() == 1


def test_retrievals_show_the_first_of_both_rankings(tmp_path: Path, manifest: pd.DataFrame) -> None:
    ids, gallery = (manifest[manifest["split"] == split] for split in ("query", "gallery"))
    for name, top1 in (("base", 0.3), ("dlcr", 0.7)):
        make_evaluation(tmp_path / name, ids["image_id"].tolist(), gallery, manifest, top1, [0])
    before, after = load_result(tmp_path / "base"), load_result(tmp_path / "dlcr")
    counts = sheets.retrieval_counts(before, after)
    assert counts["queries"] == len(ids)
    assert counts["fixed"] == int((~hits(before, "plain") & hits(after, "refined")).sum()) > 0
    lines = sheets.load_retrievals(tmp_path, "toy", before, after)
    assert {line.category for line in lines} == {name for name in CATEGORIES if counts[name]}
    for line in lines:
        assert len(line.before) == len(line.after) == sheets.TOP
        assert (line.before[0][1], line.after[0][1]) == {"fixed": (False, True), "broken": (True, False)}.get(
            line.category, (False, False)
        )
    assert sheets.retrieval_counts(None, after) == {}
    assert sheets.load_retrievals(tmp_path, "toy", before, None) == []
    assert sheets.load_retrievals(tmp_path, "elsewhere", before, after) == []


def test_the_first_image_of_the_first_subjects(manifest: pd.DataFrame) -> None:
    shuffled = manifest.sample(frac=1, random_state=0)
    assert choose_first(shuffled, "train", 2) == ["train/00/00.png", "train/01/00.png"]
    assert choose_first(shuffled, "val", 2) == []


def test_samples_skip_what_falls_short(tmp_path: Path, manifest: pd.DataFrame) -> None:
    lines = sheets.load_samples(tmp_path, "toy", "inpainting", {})
    assert [line.image_id for line in lines] == [f"train/{number:02d}/00.png" for number in range(sheets.SAMPLES)]
    assert [variant is None for variant in lines[0].variants] == [False, False, False, True]  # the last was skipped
    strict = sheets.load_samples(tmp_path, "toy", "inpainting", {"spread": 0.6})
    assert all(variant is None for line in strict for variant in line.variants)
    assert sheets.load_samples(tmp_path, "toy", "absent", {}) == []


def test_ways_show_the_same_outfits(tmp_path: Path, manifest: pd.DataFrame) -> None:
    assert sheets.load_expansions(tmp_path, "toy", {"inpainting": "absent"}, {}) == []
    make_set(tmp_path, "standard", manifest, variants=2)  # its last, the second, is skipped
    lines = sheets.load_expansions(tmp_path, "toy", WAYS, {})
    assert len(lines) == 1  # the made-up outfits of an image are one text: only the first image has two
    for line in lines:
        assert line.variants["colour"] == ["not run"] * len(line.prompts)
        assert all(isinstance(image, np.ndarray) for image in line.variants["inpainting"])
    first = lines[0]
    assert first.prompts == [HOSTILE, "Red striped shirt| Green trousers| White boots"]
    assert isinstance(first.variants["standard"][0], np.ndarray)
    assert first.variants["standard"][1] == "skipped"
    strict = sheets.load_expansions(tmp_path, "toy", WAYS, {"spread": 0.6})
    assert strict == []
