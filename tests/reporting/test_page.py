"""The page: self-contained, safe against hostile texts, readable by everyone, small enough; driven in Chromium."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import PROGRAM, Browser, chromium
from hypothesis import given
from hypothesis import strategies as st

from dlcr.params import Params, load_params
from dlcr.reporting import page as page_module
from dlcr.reporting.browser import Browsers, thumbnail
from dlcr.reporting.page import FIGURES, LIMIT, Page, anchor, claim_rows, render, table_of
from dlcr.reporting.parts import Cell, Claim, Picture, Table

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028{{ 7 * 7 }} & \"'"
VOID = {"meta", "link", "img", "br", "input", "line", "circle"}


class Document(HTMLParser):
    """A page's elements as (tag, attributes), the texts inside style and script, and whether every element is closed
    by its own end."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.shown: list[str] = []
        self.open: list[str] = []
        self.feed(content.decode())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data
            if self.open[-1] not in ("script", "style"):
                self.shown.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml")


@pytest.fixture(scope="module")
def whole(params: Params) -> Page:
    return make_page(params)


@pytest.fixture(scope="module")
def document(whole: Page) -> Document:
    return Document(render(whole))


def make_page(params: Params) -> Page:
    """A small page with one of everything, some of it hostile, some of it missing."""
    sources = {key: row.evaluation for key, row in params.report.tables["a1"].items()}
    rows = {row: {"top1": 40.0 + place, "top1_std": 1.5} for place, row in enumerate(["1", "4", "6", "oracle"])}
    numbers = pd.DataFrame([{"row": row, **values} for row, values in rows.items()])
    for column, value in (("low", 10.0), ("high", 14.0), ("difference", 12.3), ("p", 0.0004)):
        numbers[f"top1_{column}" if column in ("difference", "p") else f"top1_difference_{column}"] = value
    numbers["top1_p"], numbers["paper_top1"] = 0.0004, [55.2, 62.9, 66.5, np.nan]
    mark = params.report.mark
    view = pd.DataFrame(
        {
            "Row": ["1", "2"],
            "Data": ["none", HOSTILE],
            "Paper top-1": [Cell("55.2", "paper"), Cell("55.7", "paper")],
            "This run top-1": [Cell("40.0 ± 1.5", mark, sources["1"]), Cell("not run", "not run")],
            "95 % interval top-1": [Cell("35.0 to 45.0", mark, sources["1"]), "–"],
            "Difference": [Cell("+2.0 (1.0 to 3.0; p = 0.020)", mark, "some/ablation"), None],
        }
    )
    a1 = Table("a1", "Table A1: what each part adds", numbers, view, [HOSTILE])
    tables = {
        "a1": a1,
        "t3": replace(a1, name="t3", title="Table 3", notes=[], group="Methods and models"),
        "quality": replace(a1, name="quality", title="Quality", notes=[], group=""),
        "wall": replace(a1, name="wall", title="Wall time", folder="timings"),
        "new": Table("new", "A table of no group", pd.DataFrame(), pd.DataFrame(columns=["Row"])),
    }
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><path d="M0 0h40v20z"/></svg>'
    pictures = {
        name: Picture(name, "svg", f"Title of {name}", svg, f"Alt of {name} {HOSTILE}", HOSTILE)
        for name in ("a1", "fig-a3", "fig-a4")
    }
    claim = Claim(
        "c1", HOSTILE, HOSTILE, "supported", 4.0, 1.0, 7.0, 0.01, "points of top-1", HOSTILE, "", ["a-claims-own"]
    )
    gap = replace(claim, name="c2", outcome="not run", effect=np.nan, low=np.nan, high=np.nan, p=np.nan, sources=[])
    facts = {"run": HOSTILE, "dataset": None, "seeds": [0, 1], "data": {HOSTILE: "md5"}, "stages": [{"seconds": 1.5}]}
    return Page(
        params=params,
        tables=tables,
        pictures=pictures,
        claims=[claim, replace(claim, name="c3", outcome="contradicted", effect=-4.0, low=-7.0, high=-1.0), gap],
        provenance={"git": {"revision": "abc"}, "evaluations": {sources["1"]: facts}},
        shares={},
        stages={},
        counts={"fixed": 4, "broken": 1, "failed": 0, "queries": 9},
        browsers=make_browsers(),
    )


def make_browsers(queries: int = 4) -> Browsers:
    """Queries of which every second was fixed, and two samples; the first of both is hostile."""
    image = thumbnail(np.full((48, 24, 3), 90, np.uint8))
    pictures = [(HOSTILE, image)] + [(f"picture {number}", image) for number in range(1, 6)]

    def hit(right: bool) -> dict:
        return {"picture": 1, "subject": HOSTILE, "similarity": 0.5, "right": right}

    vote = {"picture": 2, "subject": "7", "similarity": 0.5, "vote": 0.8, "counted": True}
    retrievals = [
        {
            "id": HOSTILE if number == 0 else f"q{number}",
            "kind": "fixed" if number % 2 else "right",
            "picture": 0,
            "subject": "7",
            "clothes": "7-1",
            "camera": "C",
            "before": [hit(number % 2 == 0), hit(False)],
            "after": [hit(True), hit(False)],
            "sources": [
                {"variant": -1, "picture": 0, "prompt": "", "skipped": "", "votes": [vote, vote | {"counted": False}]},
                {"variant": 0, "picture": 3, "prompt": HOSTILE, "skipped": "", "votes": []},
                {"variant": 1, "picture": None, "prompt": "x", "skipped": HOSTILE, "votes": []},
            ],
            "scores": [{"subject": "7", "picture": 2, "score": 0.8, "query": 0.8, "right": True}] if number else [],
        }
        for number in range(queries)
    ]
    variant = {"picture": 4, "prompt": HOSTILE, "clothes": HOSTILE, "skipped": "", "measures": {"change": 0.25}}
    facts = {"picture": 5, "subject": "8", "clothes": "8-1", "camera": "A"}
    gone = variant | {"picture": None, "skipped": "empty mask", "measures": {}}
    samples = [
        {"id": "s0", "kind": "gaps", **facts, "mask": {"picture": None, "status": "not run"}, "variants": [gone]},
        {
            "id": "s1",
            "kind": "complete",
            **facts,
            "mask": {"picture": 5, "status": "ok", "area": 0.25},
            "variants": [variant] * 3,
        },
    ]
    return Browsers(pictures, retrievals, samples)


def test_nothing_is_loaded_from_anywhere(document: Document) -> None:
    loaded = [
        attributes[key] for _, attributes in document.elements for key in ("src", "srcset", "data") if key in attributes
    ]
    assert loaded
    assert all(source.startswith("data:image/") for source in loaded)
    assert [link["href"] for link in document.all("link")] == ["data:,"]
    assert not re.search(r"url\(|@import", document.texts["style"][0])
    assert not re.search(
        r"fetch|XMLHttpRequest|import\(|\beval\b|innerHTML|outerHTML|document\.write", document.texts["script"][1]
    )


def test_policy_lets_only_our_style_and_script_through(document: Document) -> None:
    policies = [item["content"] for item in document.all("meta") if item.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policies[0].split(";"))
    for directive, text in (("style-src", document.texts["style"][0]), ("script-src", document.texts["script"][1])):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"
    assert (allowed["default-src"], allowed["img-src"]) == ("'none'", "data:")
    assert not [
        key for _, attributes in document.elements for key in attributes if key == "style" or key.startswith("on")
    ]


def test_hostile_texts_stay_texts(document: Document, whole: Page) -> None:
    assert len(document.all("script")) == 2
    assert not any(image["src"] == "x" for image in document.all("img"))
    assert "".join(document.shown).count("<script>alert(1)</script>") >= 8
    data = json.loads(document.texts["script"][0])
    assert data["retrievals"] == whole.browsers.retrievals
    assert data["pictures"] == [list(picture) for picture in whole.browsers.pictures]
    assert "49" not in "".join(document.texts["p"])  # no template within a text


def test_every_link_leads_somewhere(document: Document) -> None:
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in document.all("a")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert {f"#{anchor(name)}" for name in ("some/ablation", "a-claims-own")} <= set(links)  # which have no record
    assert "nothing is recorded of it" in "".join(document.shown)
    labels = [
        attributes[key]
        for _, attributes in document.elements
        for key in ("for", "aria-labelledby")
        if key in attributes
    ]
    assert set(labels) <= set(ids)


def test_structure_for_screen_readers(document: Document) -> None:
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(len(document.all(tag)) == 1 for tag in ("main", "header", "nav", "footer"))
    assert document.all("html")[0]["lang"] == "en"
    assert len(document.all("caption")) == len(document.all("table"))
    assert all("scope" in heading for heading in document.all("th"))
    assert all("alt" in image for image in document.all("img"))
    assert all(item.get("aria-label") for _, item in document.elements if item.get("role") in ("region", "group"))
    statuses = [item for _, item in document.elements if item.get("role") == "status"]
    assert [item["aria-live"] for item in statuses] == ["polite", "polite"]
    assert document.elements[document.elements.index(("body", {})) + 1] == ("a", {"class": "skip", "href": "#main"})


def test_cells_by_mark_with_links_and_what_stands_below(whole: Page) -> None:
    table = table_of(whole.tables["a1"])
    assert table["columns"] == ["Row", "Data", "Paper top\u20111", "This run top\u20111", "Difference"]
    first, second = table["rows"]
    mark, source = whole.params.report.mark, whole.params.report.evaluation("a1/1")
    assert first[3] == {"text": "40.0 ± 1.5", "detail": "35.0 to 45.0", "kind": mark, "href": f"#{anchor(source)}"}
    assert first[4] == {
        "text": "+2.0",
        "detail": "1.0 to 3.0; p = 0.020",
        "kind": mark,
        "href": "#evaluation-some--ablation",
    }
    assert first[2] == {"text": "55.2", "detail": "", "kind": "paper", "href": ""}
    assert second[3] == {"text": "not run", "detail": "", "kind": "not-run", "href": ""}
    assert second[4]["text"] == "–"


def test_what_was_not_run_is_said(params: Params, whole: Page) -> None:
    bare = replace(whole, pictures={}, claims=[], browsers=Browsers(), counts={}, provenance={})
    shown = " ".join("".join(Document(render(bare)).shown).split())
    assert "Not run: it needs the evaluations of rows 1 and 6." in shown
    assert f"Not run: the set “{params.report.samples}” has not been made." in shown
    assert f"Not drawn, as what they show was not run: {', '.join(FIGURES.values())}." in shown
    assert "Share of the oracle’s gain: not run" in shown
    gaps = whole.tables["a1"].numbers.assign(top1=np.nan, top1_std=np.nan, top1_difference=np.nan)
    tables = whole.tables | {"a1": replace(whole.tables["a1"], numbers=gaps)}
    cards = [item["value"] for item in page_module.headlines(replace(whole, tables=tables))]
    assert cards == ["not run"] * 4


def test_smoke_is_marked(whole: Page) -> None:
    def marked(mark: str) -> str:
        report = whole.params.report.model_copy(update={"mark": mark})
        return " ".join(
            Document(render(replace(whole, params=whole.params.model_copy(update={"report": report})))).shown
        )

    assert "these scores mean nothing" in marked("smoke")
    assert "mean nothing" not in marked("measured")


def test_private_pictures_are_said_to_be_left_out(whole: Page) -> None:
    private = whole.params.private.model_copy(update={"datasets": whole.params.datasets})
    params = whole.params.model_copy(update={"private": private})
    content = render(replace(whole, params=params, pictures={}, browsers=Browsers())).decode()
    assert content.count("may not be redistributed") == 3
    assert "data:image/" not in content


def test_same_bytes_for_the_same_input(whole: Page) -> None:
    assert render(whole) == render(whole)


def test_page_is_never_larger_than_its_limit(whole: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "data:image/webp;base64," + "A" * 60_000
    many = [(f"p{number}", uri) for number in range(400)]  # 24 MB
    items = [whole.browsers.retrievals[1] | {"id": f"q{number:03d}", "picture": number} for number in range(400)]
    large = replace(whole, browsers=Browsers(many, items, []))
    content = render(large)
    assert LIMIT - 200_000 < len(content) < LIMIT
    assert len(json.loads(Document(content).texts["script"][0])["retrievals"]) > 200

    monkeypatch.setattr(page_module, "LIMIT", 20_000)
    with pytest.raises(ValueError, match="without its browsers, expected less than 20000"):
        render(large)


def test_figures_beyond_their_share_are_named_only(whole: Page) -> None:
    large = replace(whole.pictures["fig-a3"], content=b"0" * 4_000_000)
    pictures = {"fig-a3": large, "fig-a4": replace(large, name="fig-a4"), "schedule": whole.pictures["a1"]}
    content = render(replace(whole, pictures=pictures))
    assert len(content) < LIMIT
    shown = " ".join("".join(Document(content).shown).split())
    assert "Too large for this page: see figures/fig-a4.svg" in shown
    assert len([image for image in Document(content).all("img")]) == 2


numbers = st.one_of(st.just(float("nan")), st.floats(-200, 200))


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=5))
def test_claims_are_drawn_within_their_line(found: list[tuple[float, float, float]]) -> None:
    claims = [
        Claim(str(at), "", "", "undecided", effect, low, high, 0.5, "points", "", "", [])
        for at, (effect, low, high) in enumerate(found)
    ]
    for row in claim_rows(claims):
        strip = row["strip"]
        if strip is None:
            assert np.isnan(row["claim"].effect) or all(np.nan_to_num(values).any() == 0 for values in found)
            continue
        assert all(4 <= value <= 96 for value in strip.values())
        assert (strip["at"] - 50) * row["claim"].effect >= 0  # zero is in the middle


def test_a_factor_is_not_drawn_beside_points() -> None:
    factor = Claim("speed", "", "", "supported", 6.6, np.nan, np.nan, np.nan, "times as many", "", "", [])
    row = claim_rows([factor])[0]
    assert (row["effect"], row["detail"], row["strip"]) == ("6.6 times as many", "", None)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def schemes(style: str) -> list[dict[str, str]]:
    """The colours of the light and of the dark scheme."""
    return [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("ground", ["paper", "card", "shade", "hatch"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "right", "wrong", "doubt"])
def test_contrast(document: Document, scheme: int, ground: str, ink: str) -> None:
    """AA: at least 4.5 for text, in both schemes; whatever stands on whatever."""
    colours = schemes(document.texts["style"][0])[scheme]
    light, dark = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_colours_come_from_the_schemes(document: Document) -> None:
    style = re.sub(r":root \{.*?\}", "", document.texts["style"][0], flags=re.S)
    assert set(re.findall(r"#[0-9a-f]{3,8}\b", style)) == {"#fff"}  # below figures, which are drawn on white


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory):
    if PROGRAM is None:
        pytest.skip("needs chromium or chrome")
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture(scope="module")
def file(whole: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_bytes(render(whole))
    return path


def status(tab: Browser, name: str = "retrievals") -> str:
    return tab.run(f"document.querySelector('#{name}-browser .status').textContent")


@pytest.mark.slow
def test_nothing_is_wrong_in_a_browser(tab: Browser, file: Path) -> None:
    for dark in (False, True):
        tab.open(file, dark=dark)
        assert tab.complaints() == []  # no error, no blocked style or script, no request
        ground = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == dark
    assert "<script>alert(1)</script>" in status(tab)
    assert tab.run("document.querySelectorAll('main script, main img[src=x]').length") == 0
    assert "{{ 7 * 7 }}" in tab.run(
        "document.querySelector('#samples-browser .shown').textContent + document.body.textContent"
    )


@pytest.mark.slow
def test_choosing_by_mouse_and_keyboard(tab: Browser, file: Path) -> None:
    tab.open(file)
    assert status(tab).startswith("1 of 4")
    tab.run("document.querySelector('#retrievals-browser [data-step=\"1\"]').focus()")
    tab.press("ArrowRight")
    assert status(tab) == f"2 of 4: q1, person 7. Baseline wrong (person {HOSTILE}), DLCR right (person {HOSTILE})."
    assert tab.run("document.querySelector('#retrievals-choice').value") == "q1"
    tab.press("Enter")
    assert status(tab).startswith("3 of 4: q2")
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    tab.press("ArrowLeft")
    assert status(tab).startswith("4 of 4: q3")  # round the end
    tab.run("document.querySelector('#retrievals-browser input[value=fixed]').click()")
    assert status(tab).startswith("1 of 2: q1")
    assert tab.run("[...document.querySelectorAll('#retrievals-choice option')].map(o => o.value).join()") == "q1,q3"
    tab.run("document.querySelector('#retrievals-choice').selectedIndex = 1")
    tab.run("document.querySelector('#retrievals-choice').dispatchEvent(new Event('change'))")
    assert status(tab).startswith("2 of 2: q3")
    shown = tab.run("document.querySelector('#retrievals-browser .shown').innerText")
    for text in ("✓ right", "✗ wrong", "+0.80", "Final scores", "The query itself", "Variant 2"):
        assert text in shown
    # arrows among the radio buttons stay theirs
    tab.run("document.querySelector('#retrievals-browser input:checked').focus()")
    tab.press("ArrowRight")
    assert tab.run("document.activeElement.value") == "right"
    assert status(tab).startswith("1 of 2: </script>")
    # tab reaches the choice from the first button
    tab.run("document.querySelector('#samples-browser [data-step=\"-1\"]').focus()")
    tab.press("Tab")
    assert tab.run("document.activeElement.id") == "samples-choice"
    assert status(tab, "samples") == "1 of 2: s0, person 8. 1 variants, 1 not made or dropped."


@pytest.mark.slow
def test_a_number_leads_to_its_provenance(tab: Browser, file: Path, whole: Page) -> None:
    tab.open(file)
    target = anchor(whole.params.report.evaluation("a1/1"))
    tab.run(f"document.querySelector('#a1 ~ .scroll a[href=\"#{target}\"]').click()")
    tab.run("new Promise(done => setTimeout(done, 100))")
    assert tab.run(f"document.getElementById('{target}').open") is True
    assert tab.run("document.activeElement.parentElement.id") == target
    assert 0 <= tab.run("document.activeElement.getBoundingClientRect().top") < 900


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_sideways_scrolling(tab: Browser, file: Path, width: int) -> None:
    tab.open(file, width=width, height=800)
    tab.run("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert tab.run("document.documentElement.scrollWidth") <= tab.run("document.documentElement.clientWidth")
    assert len(tab.screenshot()) > 10_000


@pytest.mark.slow
def test_without_script(tab: Browser, file: Path) -> None:
    tab.open(file, script=False)
    found = tab.call("DOM.getDocument", depth=-1)["root"]
    text = json.dumps(found)
    assert "Choosing a query needs JavaScript" in text
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    names = [node["name"]["value"] for node in tree if not node["ignored"] and "name" in node]
    assert "Table A1: what each part adds" in names
    assert "Retrieval browser" in names  # its heading
    assert "Previous query" not in names  # controls that would do nothing are not there


@pytest.mark.slow
def test_everything_to_be_operated_has_a_name(tab: Browser, file: Path) -> None:
    tab.open(file)
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "combobox", "radio", "region", "table", "image", "group"}
    unnamed = [
        node
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in roles - {"group"}
        and not node.get("name", {}).get("value", "").strip()
    ]
    assert unnamed == []
    names = [node["name"]["value"] for node in tree if not node["ignored"] and node["role"]["value"] == "button"]
    assert {"Previous query", "Next query", "Previous image", "Next image"} <= set(names)
