"""The whole report on made-up data: files, gaps, the same bytes twice, hostile texts."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from made_up import make_pipeline

from dlcr.params import Params, load_params
from dlcr.reporting import build, publish, scores
from dlcr.reporting.sheets import categories, choose_retrievals

NO_TIMINGS = pd.DataFrame(columns=["stage", "name"])
TIMINGS = pd.DataFrame(
    [
        {"stage": "train", "name": "progressive", "epoch_seconds": 3.4},
        {"stage": "parse", "name": "minicc", "seconds": 12.0, "images_per_second": 65.0},
    ]
)


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    params = load_params(repository / "params.yaml")
    return params.model_copy(update={"report": params.report.model_copy(update={"bootstrap": 50})})


@pytest.fixture(autouse=True)
def _fake_describer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "load_describer", lambda model: model)
    monkeypatch.setattr(scores, "describe", lambda describer, images, question, **settings: ["red shirt"] * len(images))


class Checker(HTMLParser):
    """Counts what a page must have or must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.slow
def test_report_of_a_made_up_pipeline(tmp_path: Path, params: Params) -> None:
    make_pipeline(tmp_path, params, missing=("standard",))
    files = build(tmp_path, params, TIMINGS)
    again = build(tmp_path, params, NO_TIMINGS)
    hashed = [name for name in files if not name.startswith("timings/") and name != "index.html"]
    assert [name for name in hashed if files[name] != again[name]] == []  # same bytes, and no times in them
    assert {
        "metrics.json",
        "tables/a1.csv",
        "tables/a1.md",
        "tables/a3.csv",
        "tables/a4.md",
        "tables/quality.csv",
        "tables/settings.csv",
        "figures/a1.svg",
        "figures/samples.png",
        "figures/retrievals.png",
        "plots/top1.csv",
        "plots/training/progressive.csv",
    } <= set(hashed)
    for name in hashed:
        assert not re.search(rb"<dc:date>|tEXtSoftware|tIME", files[name])

    metrics = json.loads(files["metrics.json"])
    assert "row2" not in metrics["tables"]["a1"]
    assert metrics["tables"]["a1"]["row5"]["top1"] > metrics["tables"]["a1"]["row1"]["top1"]
    assert metrics["stages"]["masks"]["train"]["iou"] == 100
    assert b"| not run |" in files["tables/a1.md"]

    quality = pd.read_csv(io.BytesIO(files["tables/quality.csv"])).set_index("set")
    assert quality.loc["inpainting", ["variants", "not_made", "dropped"]].tolist() == [96, 24, 0]
    assert quality.loc["inpainting", "change_50"] == 0.5

    page = files["index.html"].decode()
    assert len(page) < 5_000_000
    assert "Not run: row 2." in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    checker = Checker()
    checker.feed(page)
    images = [attributes for tag, attributes in checker.tags if tag == "img"]
    assert len(images) == 4
    assert all(item["alt"] and item["src"].startswith("data:image/") for item in images)
    assert all("scope" in attributes for tag, attributes in checker.tags if tag == "th")
    links = [attributes["href"] for tag, attributes in checker.tags if tag == "a"]
    targets = {attributes.get("id") for _, attributes in checker.tags}
    assert all(link.startswith("#") and link[1:] in targets for link in links)


def test_what_the_quality_gate_drops_is_counted(tmp_path: Path, params: Params) -> None:
    make_pipeline(tmp_path, params, missing=tuple(params.evaluations))
    strict = params.model_copy(update={"quality": params.quality.model_copy(update={"min_spread": 0.6})})
    files = build(tmp_path, strict, NO_TIMINGS)
    quality = pd.read_csv(io.BytesIO(files["tables/quality.csv"])).set_index("set")
    assert quality.loc["oracle", ["not_made", "dropped"]].tolist() == [24, 72]
    assert quality.loc["oracle", "reasons"] == "empty mask 24, quality: spread 72"
    assert "quality: spread 72" in files["index.html"].decode()


def test_report_of_nothing_but_data(tmp_path: Path, params: Params) -> None:
    make_pipeline(tmp_path, params, missing=tuple(params.evaluations))
    files = build(tmp_path, params, NO_TIMINGS)
    metrics = json.loads(files["metrics.json"])
    assert "tables" not in metrics  # a gap is no zero
    assert "figures/retrievals.png" not in files
    assert files["tables/a1.md"].count(b"not run") >= 14
    assert "Not run: it needs the evaluations of rows 1 and 6." in files["index.html"].decode()


def test_no_picture_of_a_private_dataset(tmp_path: Path, params: Params) -> None:
    """The report is in Git: what may not be redistributed must not get there."""
    make_pipeline(tmp_path, params, missing=("standard",))
    private = params.private.model_copy(update={"datasets": params.datasets})
    files = build(tmp_path, params.model_copy(update={"private": private}), NO_TIMINGS)
    assert sorted(name for name in files if name.startswith("figures/")) == ["figures/a1.svg", "figures/training.svg"]
    assert files["index.html"].decode().count("Left out: minicc may not be redistributed.") == 2
    assert "data:image/png" not in files["index.html"].decode()
    assert json.loads(files["metrics.json"])["retrievals"]["queries"] > 0
    assert b"No pictures: minicc may not be redistributed." in files["tables/a1.md"]


def test_publish_leaves_no_older_files(tmp_path: Path) -> None:
    publish({"tables/a.csv": b"1", "plots/training/x.csv": b"2", "index.html": b"3"}, tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / ".gitignore").write_text("/x")
    page = publish({"tables/b.csv": b"1", "index.html": b"4"}, tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"tables/b.csv", "index.html", "figures/.gitignore"}
    assert page.read_bytes() == b"4"


def test_retrievals_follow_the_rule() -> None:
    def ranking(hits: dict[str, bool]) -> pd.DataFrame:
        rows = [
            {"query": query, "rank": rank, "correct": hit if rank == 1 else True}
            for query, hit in hits.items()
            for rank in (1, 2)
        ]
        return pd.DataFrame(rows)

    names = [f"q{number}" for number in range(8)]
    table = categories(
        ranking(dict.fromkeys(names, False)), ranking({name: name in ("q1", "q3", "q5") for name in names})
    )
    assert table["category"].tolist() == [
        "failed",
        "fixed",
        "failed",
        "fixed",
        "failed",
        "fixed",
        "failed",
        "failed",
    ]
    subjects = dict(zip(names, "abbbccde", strict=True))
    assert choose_retrievals(table, subjects) == [
        ("fixed", "q1"),
        ("fixed", "q5"),
        ("failed", "q0"),
        ("failed", "q2"),
        ("failed", "q4"),
    ]
