"""The page driven in Chromium: no error and no request, by mouse, by keyboard, without script, for screen readers."""

import json
import re
from pathlib import Path

import pytest
from chromium import PROGRAM, Browser, chromium
from made_up_page import HOSTILE, params, whole

from dlcr.reporting.page import Page, anchor, render

__all__ = ["params", "whole"]  # fixtures


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
    assert status(tab) == "2 of 4: q1, person 7. With seed 0: base wrong, part/one right."
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
def test_any_two_rankings_with_any_seed(tab: Browser, file: Path) -> None:
    tab.open(file)
    counts = "[...document.querySelectorAll('#retrievals-browser .count')].map(part => part.textContent).join()"
    choose = """((name, at) => {
      const select = document.querySelector(`#retrievals-browser [name=${name}]`);
      select.selectedIndex = at;
      select.dispatchEvent(new Event("change"));
    })"""
    offered = "[...document.querySelector('#retrievals-browser [name=left]').options].map(one => one.text).join('|')"
    assert tab.run(offered) == f"base, plain (Table A1, row 1)|part/one, refined|{HOSTILE}, plain (Table A1, oracle)"
    assert tab.run(counts) == "4,2,0,0,2"  # all, fixed, broken, failed, both right
    tab.run(f"{choose}('seed', 1)")
    assert tab.run(counts) == "4,0,0,0,0"  # the second ranking has no seed 1
    assert status(tab).endswith("With seed 1: base wrong, part/one not there.")
    tab.run(f"{choose}('seed', 0); {choose}('left', 1); {choose}('right', 0)")
    assert tab.run(counts) == "4,0,2,0,2"
    shown = "document.querySelector('#retrievals-browser .shown').innerText"
    assert "How the votes fell: part/one, refined" in tab.run(shown)  # whichever side is refined
    tab.run(f"{choose}('left', 0); {choose}('right', 2)")
    assert tab.run(counts) == "4,2,0,0,1"
    assert "How the votes fell" not in tab.run(shown)
    assert "Not among its queries." in tab.run(shown)
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_link_leads_to_a_query(tab: Browser, file: Path) -> None:
    tab.open(file)
    tab.run("document.querySelector('#retrievals-browser input[value=right]').click()")
    tab.run("location.hash = 'query=q3&left=part/one:refined&right=base:plain&seed=0'")
    tab.run("new Promise(done => setTimeout(done, 100))")
    assert status(tab) == "4 of 4: q3, person 7. With seed 0: part/one right, base wrong."
    assert 0 <= tab.run("document.querySelector('#retrievals-browser').getBoundingClientRect().top") < 900
    link = tab.run("document.querySelector('#retrievals-browser .link').hash")
    tab.run("document.querySelector('#retrievals-browser [data-step=\"1\"]').click()")
    hostile = tab.run("document.querySelector('#retrievals-browser .link').hash")
    tab.open(file)
    for hash_, found in ((link, "4 of 4: q3, person 7."), (hostile, "1 of 4: </script>")):
        tab.run(f"location.hash = {json.dumps(hash_)}")
        tab.run("new Promise(done => setTimeout(done, 100))")
        assert status(tab).startswith(found)
        assert "part/one right, base" in status(tab)
    tab.run("location.hash = 'query=elsewhere&seed=9&left=nothing'")
    tab.run("new Promise(done => setTimeout(done, 100))")
    assert status(tab) == "elsewhere is not among the 4 on this page."
    assert tab.complaints() == []


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
def test_a_heading_sorts_its_table(tab: Browser, file: Path) -> None:
    tab.open(file)
    column = "[...document.querySelectorAll('#a1 ~ .scroll tbody tr')].map(row => row.cells[0].innerText).join()"
    state = "document.querySelector('#a1 ~ .scroll thead th').getAttribute('aria-sort')"
    assert tab.run(column) == "1,2"
    tab.run("document.querySelector('#a1 ~ .scroll thead button').focus()")
    for expected in ((None, "1,2"), ("ascending", "1,2"), ("descending", "2,1"), (None, "1,2")):
        assert (tab.run(state), tab.run(column)) == expected
        tab.press("Enter")
    # times by seconds, thousands, signs, texts after numbers, and gaps last in both directions
    texts = ["3 min 05 s", "1,200.5", "–", "-4.0", "+2.0 points", "a10", "a9", "7 / 8", "62 s"]
    order = f"""(down) => {{
      const cells = {json.dumps(texts)}.map((text) => make("td", {{}}, text, make("small", {{}}, "99 below")));
      return cells.sort((a, b) => compare(sortKey(a), sortKey(b), down)).map((cell) => cell.firstChild.textContent);
    }}"""
    rising = ["-4.0", "+2.0 points", "7 / 8", "62 s", "3 min 05 s", "1,200.5", "a9", "a10"]
    assert tab.run(f"({order})(false)") == [*rising, "–"]
    assert tab.run(f"({order})(true)") == [*rising[::-1], "–"]


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
