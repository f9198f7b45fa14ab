"""The page: self-contained, safe against hostile texts, readable by everyone, small enough."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_page import params, whole

from dlcr.params import Params
from dlcr.reporting import page as page_module
from dlcr.reporting.browser import Browsers
from dlcr.reporting.build import mark_committed, table_files
from dlcr.reporting.page import FIGURES, LIMIT, Page, anchor, claim_rows, render, table_of
from dlcr.reporting.parts import Cell, Claim

__all__ = ["params", "whole"]  # fixtures

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
def document(whole: Page) -> Document:
    return Document(render(whole))


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


def test_every_link_leads_somewhere(document: Document, whole: Page) -> None:
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in document.all("a")]
    files = {path for table in whole.tables.values() for path in table_files(table)} | {"provenance.json"}
    files |= {f"figures/{name}.svg" for name in whole.pictures}
    assert {link for link in links if not link.startswith("#")} == files
    assert all(link[1:] in ids for link in links if link.startswith("#"))
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


def test_a_mark_behind_brackets_stays_with_the_number(whole: Page) -> None:
    sources = {cell.source for cell in whole.tables["a1"].view["Difference"] if isinstance(cell, Cell)}
    marked = mark_committed(whole.tables["a1"], sources)
    cell = table_of(marked)["rows"][0][4]
    assert (cell["text"], cell["detail"]) == ("+2.0 †", "1.0 to 3.0; p = 0.020")


def test_what_was_not_run_is_said(params: Params, whole: Page) -> None:
    bare = replace(whole, pictures={}, claims=[], browsers=Browsers(), counts={}, provenance={})
    shown = " ".join("".join(Document(render(bare)).shown).split())
    assert (
        f"Nothing to show: it needs an evaluation on {params.report.dataset}, and its images in this workspace" in shown
    )
    assert f"Nothing to show: the set “{params.report.samples}” is not in this workspace" in shown
    assert "Not drawn, as what they show was not run, or is not in this workspace" in shown
    assert f"brings it): {', '.join(FIGURES.values())}." in shown
    assert "Share of the oracle’s gain: not run" in shown
    gaps = whole.tables["a1"].numbers.assign(top1=np.nan, top1_std=np.nan, top1_difference=np.nan)
    tables = whole.tables | {"a1": replace(whole.tables["a1"], numbers=gaps)}
    cards = [item["value"] for item in page_module.headlines(replace(whole, tables=tables))]
    assert cards == ["not run"] * 4


def test_the_pipeline_is_drawn_with_the_method(whole: Page) -> None:
    assert "The pipeline</h3>" not in render(whole).decode()
    content = render(
        replace(whole, pipeline="<svg xmlns='http://www.w3.org/2000/svg'><title>stages</title></svg>")
    ).decode()
    assert "title%3Estages" in content
    assert content.count("<h3>The pipeline</h3>") == 1
    assert content.index('id="method"') < content.index("<h3>The pipeline</h3>") < content.index('id="overview"')


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
    many = [(f"p{number}", uri, "") for number in range(400)]  # 24 MB
    bare = whole.browsers.retrievals[1] | {"kind": "failed", "ranked": [], "variants": [], "votes": {}}
    items = [bare | {"id": f"q{number:03d}", "picture": number} for number in range(400)]
    large = replace(whole, browsers=Browsers(many, items))
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
    assert sum(image["src"].startswith("data:image/svg") for image in Document(content).all("img")) == 2


numbers = st.one_of(st.just(float("nan")), st.floats(-200, 200))


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=5))
def test_claims_are_drawn_within_their_line(found: list[tuple[float, float, float]]) -> None:
    claims = [
        Claim(str(at), "", "", "undecided", effect, low, high, 0.5, 4.2, "points", "", "", [])
        for at, (effect, low, high) in enumerate(found)
    ]
    for row in claim_rows(claims, {}):
        strip = row["strip"]
        if strip is None:
            assert np.isnan(row["claim"].effect) or all(np.nan_to_num(values).any() == 0 for values in found)
            continue
        assert all(4 <= value <= 96 for value in strip.values())
        assert (strip["at"] - 50) * row["claim"].effect >= 0  # zero is in the middle


def test_a_factor_is_not_drawn_beside_points() -> None:
    factor = Claim("speed", "", "", "supported", 6.6, np.nan, np.nan, np.nan, np.nan, "times as many", "", "", [])
    row = claim_rows([factor], {})[0]
    assert (row["effect"], row["detail"], row["strip"]) == ("6.6 times as many", "", None)


def test_parts_that_were_not_run_have_a_badge(whole: Page) -> None:
    claim = replace(whole.claims[0], sources=["ran", "did-not", "unknown"])
    known = {"ran": {"state": "complete", "run": "r"}, "did-not": {"state": "not run", "run": "r"}}
    row = claim_rows([claim], known)[0]
    assert [source["missing"] for source in row["sources"]] == [False, True, False]
    content = render(replace(whole, claims=[claim], provenance={"evaluations": known})).decode()
    assert '<span class="badge not-run">1 of 3 parts not run</span>' in content
    assert '<h4>did-not</h4><span class="badge not-run">not run</span>' in content
    assert '<h4>ran</h4><span class="badge complete">complete</span>' in content
    assert content.count('class="badge') == 3


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
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "right", "wrong", "doubt", "cited"])
def test_contrast(document: Document, scheme: int, ground: str, ink: str) -> None:
    """AA: at least 4.5 for text, in both schemes; whatever stands on whatever."""
    colours = schemes(document.texts["style"][0])[scheme]
    light, dark = sorted((luminance(colours[ground]), luminance(colours[ink])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_colours_come_from_the_schemes(document: Document) -> None:
    style = re.sub(r":root \{.*?\}", "", document.texts["style"][0], flags=re.S)
    assert not re.findall(r"#[0-9a-f]{3,8}\b", style)
