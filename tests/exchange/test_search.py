"""`dlcr search`: matches in the order of their definition, a page that is one safe file, a table of everything."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exchange.trained_runs import write_pictures, write_run
from reporting.chromium import PROGRAM, chromium
from typer.testing import CliRunner, Result

from dlcr.cli import app
from dlcr.evaluation.labels import Labels
from dlcr.evaluation.refinement import refine
from dlcr.evaluation.sides import Side
from dlcr.exchange import commands, search, search_page
from dlcr.exchange.variants import dress, open_wardrobe, read_outfits

HOSTILE = "<img src=x onerror=alert(1)>&\"'.png"
OUTFITS = ["Red shirt| Blue jeans| White shoes", "Gray <b>coat| Black skirt| Brown boots"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a trained run, queries and a gallery that shows two of them again."""
    write_run(tmp_path / "runs/mine/seed-0")
    write_pictures(tmp_path / "asked", ["a.png", "b.png", HOSTILE])
    write_pictures(tmp_path / "there", [f"p{n // 2}/{n}.png" for n in range(8)], seed=1)
    for name, copy in (("a.png", "p0/0.png"), (HOSTILE, "p3/7.png")):
        (tmp_path / "there" / copy).write_bytes((tmp_path / "asked" / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["search", "mine", "asked", "there", *words])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "matches.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def labels(subjects: np.ndarray) -> Labels:
    return Labels(subjects, np.zeros(len(subjects), int), np.zeros(len(subjects), int))


def made_up(seed: int) -> tuple[Side, Side, np.ndarray]:
    """Five queries, a gallery of four people with equal pictures among them, and three variants of each query."""
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(12, 6)).astype(np.float32)
    gallery[7] = gallery[2]
    query = (gallery[rng.integers(0, 12, 5)] + 0.7 * rng.normal(size=(5, 6))).astype(np.float32)
    variants = (query[:, None] + rng.normal(size=(5, 3, 6))).astype(np.float32)
    variants[1] = np.nan
    return Side(query, labels(np.full(5, -1))), Side(gallery, labels(np.arange(12) % 4)), variants


def cosine(query: Side, gallery: Side) -> np.ndarray:
    units = [side.features.astype(float) for side in (query, gallery)]
    units = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in units]
    return np.round(units[0] @ units[1].T, 12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top", [1, 4, 12])
def test_ranks_are_those_of_the_definition(seed: int, top: int) -> None:
    """By similarity; refined, by the place of the person in S, then by similarity. Equal ones: the lower row first."""
    query, gallery, variants = made_up(seed)
    similarity = cosine(query, gallery)
    plain = np.lexsort((np.broadcast_to(np.arange(12), similarity.shape), -similarity))
    found = search.rank(query, gallery, top)
    np.testing.assert_array_equal(found.images, plain[:, :top])
    np.testing.assert_allclose(found.similarities, np.take_along_axis(similarity, plain, 1)[:, :top])
    assert np.isnan(found.votes).all()

    refined = refine(query.features, variants, gallery.features, query.labels, gallery.labels, 3, "general")
    people, moved = gallery.labels.subjects, search.rank(query, gallery, top, refined)
    for row in range(5):
        votes = {s: v for s, v in zip(refined.subjects[row], refined.scores[row], strict=True) if s >= 0}
        place = {subject: number for number, subject in enumerate(votes)}
        order = sorted(range(12), key=lambda g, row=row, p=place: (p.get(people[g], 99), -similarity[row, g], g))
        assert moved.images[row].tolist() == order[:top]
        for image, vote, before in zip(moved.images[row], moved.votes[row], moved.before[row], strict=True):
            assert vote == votes[people[image]] if people[image] in votes else np.isnan(vote)
            rank = plain[row].tolist().index(image) + 1
            assert before == (rank if rank <= top else 0)


def test_the_page_and_the_table(place: Path) -> None:
    (place / "there/broken.png").write_text("no picture")
    done = run("--top", "3", "--out", "out")
    assert done.exit_code == 0, done.exception
    expected = "the best 3 of 8 pictures for 3 queries, by runs/mine/seed-0; 1 pictures could not be read"
    assert f"out/index.html: {expected}" in done.stdout
    table = rows(place / "out")
    assert [(row["query"], row["rank"]) for row in table[:9]] == [
        (name, str(rank)) for name in (HOSTILE, "a.png", "b.png") for rank in (1, 2, 3)
    ]
    assert [(table[at]["match"], table[at]["similarity"]) for at in (0, 3)] == [
        ("p3/7.png", "1.000000"),
        ("p0/0.png", "1.000000"),
    ]
    assert table[9]["match"] == "broken.png"
    assert table[9]["problem"].startswith("not a readable image")
    assert len(table) == 10
    page = (place / "out/index.html").read_text()
    assert HOSTILE not in page
    assert (
        page.count("&lt;img src=x onerror=alert(1)&gt;&amp;&#34;&#39;.png") == 3
    )  # list, heading, text of the picture
    assert page.count('src="data:image/webp;base64,') == 3 * (1 + 3)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    assert "default-src &#39;none&#39;" in page


def test_a_single_query_and_more_matches_than_there_are(place: Path) -> None:
    words = ["search", "mine", "asked/b.png", "there", "--top", "50"]
    assert CliRunner().invoke(app, words).exit_code == 0
    table = rows(place / "matches")
    assert [row["query"] for row in table] == ["b.png"] * 8
    assert sorted(row["match"] for row in table) == [f"p{n // 2}/{n}.png" for n in range(8)]


def test_the_page_has_a_limit_and_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_page, "PICTURES", 9)
    assert run("--top", "3").exit_code == 0
    page = (place / "matches/index.html").read_text()
    assert "shows the first 2 queries" in page
    assert page.count("<article") == 2
    assert len(rows(place / "matches")) == 9


def refining(monkeypatch: pytest.MonkeyPatch, picture: str, empty: str) -> None:
    """Queries are dressed as a picture of the gallery, but for one, whose clothes were not found."""
    from dlcr.data import decode_rgb

    def dressed(wardrobe: object, pictures: dict) -> tuple[dict, dict]:
        shape = decode_rgb(Path(picture).read_bytes(), picture)
        return {name: [shape] * 2 for name in pictures if name != empty}, {empty: "empty mask of the clothes"}

    wardrobe = type("Made", (), {"outfits": OUTFITS})()
    monkeypatch.setattr(commands, "open_wardrobe", lambda *_: wardrobe)
    monkeypatch.setattr(search, "dress", dressed)


def test_variants_decide_the_refined_order(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two variants that look like the gallery's p2/4.png outvote the query, for which another picture is the best."""
    refining(monkeypatch, "there/p2/4.png", "b.png")
    words = ["--parser", "P", "--inpainter", "I", "--outfit", OUTFITS[0], "--outfit", OUTFITS[1], "-m", "8"]
    done = run(*words, "--people", "--top", "4")
    assert done.exit_code == 0, done.exception
    assert "warning: queries: b.png is not refined: empty mask of the clothes" in done.stderr
    table = rows(place / "matches")
    own = {name: [row for row in table if row["query"] == name] for name in ("a.png", "b.png")}
    assert {row["match"].split("/")[0] for row in own["a.png"][:2]} == {"p2"}
    assert own["a.png"][2]["match"] == "p0/0.png"
    assert own["a.png"][2]["rank_before"] == "1"
    assert own["a.png"][0]["votes"] == own["a.png"][1]["votes"] > own["a.png"][2]["votes"]
    assert own["b.png"][-1]["problem"] == "empty mask of the clothes"
    page = (place / "matches/index.html").read_text()
    assert page.count("The query in other clothes") == 2
    assert "Gray &lt;b&gt;coat" in page
    assert "<b>coat" not in page
    if PROGRAM is None:
        pytest.skip("no Chromium here")
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        for options in ({}, {"dark": True}, {"width": 400}):
            browser.open(place / "matches/index.html", **options)
            assert browser.complaints() == []
            assert browser.run("document.documentElement.scrollWidth <= innerWidth")
            assert browser.run("[...document.images].filter(i => i.loading != 'lazy').every(i => i.naturalWidth == 30)")
        stops = []
        for _ in range(8):
            browser.press("Tab")
            stops.append(browser.run("document.activeElement.getAttribute('href') || document.activeElement.tagName"))
        assert stops[:2] == ["#results", "SUMMARY"]
        assert {"#q1", "#q2", "#q3"} <= set(stops)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parser", "P"], "refinement needs both --parser and --inpainter"),
        (["--outfit", "Red shirt"], "--outfits and --outfit are for refinement"),
        (["--parser", "P", "--inpainter", "I"], "refinement needs outfits: --outfits FILE, one a line"),
        (["--parser", "P", "--inpainter", "I", "--outfits", "asked/a.png"], "asked/a.png: expected a text file"),
        (["--parser", "no", "--inpainter", "I", "--outfit", "Red shirt"], "no"),
        (["--top", "0"], "--top and -m must be at least 1"),
        (["--out", "asked"], "asked: is there already"),
    ],
)
def test_mistakes_write_nothing(place: Path, words: list[str], message: str) -> None:
    before = sorted(path.name for path in place.iterdir())
    done = run(*words)
    assert isinstance(done.exception, ValueError | OSError)
    assert message in str(done.exception)
    assert sorted(path.name for path in place.iterdir()) == before


def test_an_error_at_the_end_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr(search_page, "render", fail)
    before = sorted(path.name for path in place.iterdir())
    assert str(run().exception) == "No space left on device"
    assert sorted(path.name for path in place.iterdir()) == before


def test_outfits_of_a_file_and_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "outfits.txt").write_text("\ufeffA| B\n\n  C| D \nA| B\n", encoding="utf-8")
    assert read_outfits(tmp_path / "outfits.txt", ["E| F", "C| D"]) == ["A| B", "C| D", "E| F"]


@pytest.mark.slow
def test_real_models_dress_the_clothes_alone(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small parser and inpainter, with params.yaml's settings: each outfit gives another picture, whose pixels
    outside the clothes stay, and which does not depend on the other pictures; one without clothes is told."""
    from dlcr.minicc import benchmark_scenes, render

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((repository / "profiles/minicc.yaml").read_bytes())
    models = [str(repository / "models/mini" / name) for name in ("parser", "inpainter")]
    wardrobe = open_wardrobe(*models, ["Red shirt| Blue jeans| White shoes", "Gray coat| Black skirt| Black boots"], 0)
    pictures = {f"{n}.png": render(scene).image for n, scene in enumerate(benchmark_scenes(train_subjects=2)[:2])}
    made, skipped = dress(wardrobe, pictures)
    assert list(made) == ["0.png", "1.png"]
    assert skipped == {}
    for name, variants in made.items():
        assert len(variants) == 2
        changed = [(variant != pictures[name]).any(axis=2) for variant in variants]
        assert all(0.02 < where.mean() < 0.6 for where in changed)
        assert (variants[0] != variants[1]).any()
    alone, _ = dress(wardrobe, {"1.png": pictures["1.png"]})
    difference = np.abs(alone["1.png"][0].astype(int) - made["1.png"][0].astype(int))
    assert difference.max() <= 2  # the last bits of the networks' arithmetic
    strict = replace(wardrobe, parse={**wardrobe.parse, "min_area": 0.9})
    assert dress(strict, pictures) == ({}, dict.fromkeys(pictures, "empty mask of the clothes"))
