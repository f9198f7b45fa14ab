"""The page: one self-contained HTML file made from `templates/`; no network, pictures inside.

Texts of models are untrusted: the template escapes everything that it is given, the script writes text only, and the
page's content security policy lets nothing run or load but the style and the script that it was made with.
"""

import re
from base64 import b64encode
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import yaml
from markupsafe import Markup

from dlcr.params import Params, file_content
from dlcr.reporting.browser import Browsers, fit, script_data
from dlcr.reporting.cells import probability
from dlcr.reporting.claim_texts import effect
from dlcr.reporting.departures import departures
from dlcr.reporting.formats import interval, is_gap, number, signed, spread
from dlcr.reporting.method import method_steps
from dlcr.reporting.paper import ORACLE
from dlcr.reporting.parts import Cell, Claim, Picture, Table
from dlcr.reporting.rankings import RIGHT
from dlcr.reporting.rendering import environment
from dlcr.reporting.sheets import CATEGORIES, private_item

LIMIT, PICTURES = 15_000_000, 6_000_000
"""Bytes: the page has fewer, its figures at most so many. The browsers show what then still fits."""
ALIGNMENT = {"words": "words", "upper": "upper", "lower": "lower", "footwear": "footwear", "all": "any item"}
GROUPS = ("What each part contributes", "Methods and models", "Prompts", "Data and domains", "Everything")
"""Headings of the tables; Table A1, the headline, stands on top."""
FIGURES = {
    "cmc": "the CMC curves",
    "fig-1": "Figure 1 (left)",
    "fig-a3": "Figure A3",
    "fig-a4": "Figure A4",
    "fig-a5": "Figure A5",
    "fig-a6": "Figure A6",
    "fig-a7": "Figure A7",
    "fig-a8": "Figure A8",
    "schedule": "the progressive schedule",
    "training": "the training losses",
}
"""What the page says is missing where it is. `a1`, the headline, stands on top."""
INTERVAL = "95 % interval"
LONG = 24
"""Characters from which on a text needs a wide column."""
VERDICTS = {"supported": "✓", "contradicted": "✗", "undecided": "?", "not run": "–"}
KINDS = {**CATEGORIES, RIGHT: "both right"}
COMPARED = {"fixed": "wrong, then right", "broken": "right, then wrong", "failed": "both wrong", RIGHT: "both right"}
"""The kinds of a query between any two rankings."""


@dataclass(frozen=True)
class Page:
    """What the page shows.

    tables and pictures by name, in the order of the page. provenance: as in provenance.json. shares: as from
    `oracle.gain_shares`. stages: scores of the single stages, {} without known truth. counts: queries by category of
    `sheets.CATEGORIES`, and all `queries`; {} where rows 1 and 6 were not run. committed: evaluations that came
    with the repository, where others were made here. pipeline: its picture as SVG, if any.
    """

    params: Params
    tables: dict[str, Table]
    pictures: dict[str, Picture]
    claims: list[Claim]
    provenance: dict[str, Any]
    shares: dict
    stages: dict
    counts: dict
    browsers: Browsers
    committed: set[str] = field(default_factory=set)
    pipeline: str = ""


def render(page: Page) -> bytes:
    """The page as UTF-8 HTML of less than `LIMIT` bytes; the browsers hold as much as leaves it so.

    Raises ValueError if tables and texts alone are larger.
    """
    room = LIMIT - len(_render(page, Browsers()))
    content = _render(page, fit(page.browsers, room))
    if len(content) >= LIMIT:
        raise ValueError(f"the page has {len(content)} bytes without its browsers, expected less than {LIMIT}")
    return content


def _render(page: Page, browsers: Browsers) -> bytes:
    templates = environment()
    templates.tests["structured"] = _structured
    style, script = (
        (files("dlcr.reporting") / "templates" / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    params, report = page.params, page.params.report
    tables = {name: table_of(table) for name, table in page.tables.items()}
    text = templates.get_template("page.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script),
        report=report,
        private=private_item(params),
        method=method_steps(page.browsers),
        pipeline=page.pipeline and svg_uri(page.pipeline.encode()),
        headlines=headlines(page),
        share=_share_sentence(page.shares),
        claims=claim_rows(page.claims, page.provenance.get("evaluations", {}), page.committed),
        committed=len(page.committed),
        verdicts=[(name, sign, sum(claim.outcome == name for claim in page.claims)) for name, sign in VERDICTS.items()],
        headline=tables.get("a1"),
        groups=grouped(tables),
        quality=tables.get("quality"),
        timings=[table for table in tables.values() if table["folder"] == "timings"],
        pictures=picture_rows(page.pictures),
        not_drawn=[title for name, title in FIGURES.items() if name not in page.pictures],
        browsers=browsers,
        data=script_data(browsers),
        kinds=KINDS,
        compared=COMPARED,
        counts=page.counts,
        stages=stage_rows(page.stages),
        provenance={key: value for key, value in page.provenance.items() if key != "evaluations"},
        evaluations=evaluation_rows(page),
        parameters=yaml.safe_dump(file_content(params), sort_keys=False, allow_unicode=True, width=100),
        departures=departures(params),
    )
    return text.encode()


def _structured(value: object) -> bool:
    """Whether a fact of the provenance needs lines of its own: a mapping, or a list of mappings, that is not empty."""
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def policy(style: str, script: str) -> str:
    """The content security policy that lets this style and this script through, and pictures inside the page."""
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def anchor(evaluation: str) -> str:
    """The ID of an evaluation's provenance on the page."""
    return "evaluation-" + evaluation.replace("/", "--")


def table_of(table: Table) -> dict[str, Any]:
    """A table for the template: its rows hold dicts of text, detail (what stands below), kind and href.

    A column of 95 % intervals goes below its numbers: the page is narrower than a CSV file.
    """
    view = table.view
    intervals = {name.replace(INTERVAL, "This run", 1): name for name in view.columns if name.startswith(INTERVAL)}
    below = {number: name for number, name in intervals.items() if number in view.columns}
    columns = [name for name in view.columns if name not in below.values()]
    return {
        "name": table.name,
        "title": table.title,
        "folder": table.folder,
        "group": table.group,
        "notes": [*table.notes, *(["Below a number of this run: its 95 % interval."] if below else [])],
        "columns": [name.replace("top-1", "top\u20111") for name in columns],
        "rows": [
            [_cell(row[name], row[below[name]] if name in below else "") for name in columns]
            for row in view.to_dict("records")
        ],
    }


def _cell(value: object, below: object = "") -> dict[str, str]:
    """A number's interval and p value, which it has in brackets, go below it; a mark behind them stays with it."""
    text = "–" if is_gap(value) else str(value)
    if not isinstance(value, Cell):
        return {"text": text, "detail": "", "kind": "text" if len(text) > LONG else "", "href": ""}
    parts = re.fullmatch(r"([^()]+) \((.+)\)([^()]*)", text)
    detail = parts[2] if parts else str(below)
    return {
        "text": parts[1] + parts[3] if parts else text,
        "detail": "" if detail in ("–", text) else detail,
        "kind": value.mark.replace(" ", "-"),
        "href": f"#{anchor(value.source)}" if value.source else "",
    }


def grouped(tables: dict[str, dict]) -> list[tuple[str, list[dict]]]:
    """(heading, tables) of the section of tables, without the headline; a group without tables is left out."""
    shown = [table for name, table in tables.items() if table["folder"] == "tables" and name != "a1"]
    found = {heading: [table for table in shown if table["group"] == heading] for heading in GROUPS}
    return [(heading, group) for heading, group in found.items() if group]


def headlines(page: Page) -> list[dict[str, str]]:
    """The numbers on top of the page: label, value, detail, href; "not run" where there is none."""
    rows = page.tables["a1"].numbers.set_index("row").to_dict("index")
    base, full, bound = rows["1"], rows["6"], rows[ORACLE]
    share = page.shares.get("top1", {})
    source = {key: f"#{anchor(row.evaluation)}" for key, row in page.params.report.tables.get("a1", {}).items()}
    shown = [
        (
            "Baseline top-1",
            spread(base["top1"], base["top1_std"]),
            f"row 1; paper {number(base['paper_top1'])} on PRCC",
            source.get("1", ""),
        ),
        (
            "DLCR top-1",
            spread(full["top1"], full["top1_std"]),
            f"row 6, everything on; paper {number(full['paper_top1'])} on PRCC",
            source.get("6", ""),
        ),
        ("Gain in top-1", signed(full["top1_difference"], gap="not run"), _gain_detail(base, full), "#a1"),
        (
            "Share of the oracle’s gain",
            "not run" if is_gap(share.get("share")) else f"{100 * share['share']:.0f}\u00a0%",
            f"row 5; the oracle reaches {number(bound['top1'])}",
            source.get(ORACLE, ""),
        ),
    ]
    return [dict(zip(("label", "value", "detail", "href"), item, strict=True)) for item in shown]


def _gain_detail(base: dict, full: dict) -> str:
    paper = signed(full["paper_top1"] - base["paper_top1"])
    if is_gap(full["top1_difference"]):
        return f"paper {paper}"
    ends = interval(full["top1_difference_low"], full["top1_difference_high"])
    return f"95 % interval {ends}, {probability(full['top1_p'])}; paper {paper}"


def _share_sentence(shares: dict) -> str:
    if not shares:
        return "Share of the oracle’s gain: not run (it needs rows 1, 5 and the oracle)."
    parts = []
    for measure, title in (("top1", "top-1"), ("map", "mAP")):
        share = shares[measure]
        if is_gap(share["share"]):
            parts.append(f"{title}: undefined, as the oracle gains nothing here")
            continue
        ends = interval(100 * share["low"], 100 * share["high"], 0, gap="undetermined")
        parts.append(f"{title}: {100 * share['share']:.0f} % (95 % interval {ends})")
    return (
        "Share of the oracle’s gain that inpainting reaches, (row 5 − row 1) / (oracle − row 1): "
        + "; ".join(parts)
        + "."
    )


def claim_rows(claims: list[Claim], known: Mapping[str, Any], committed: Container[str] = ()) -> list[dict[str, Any]]:
    """Claims for the template: the claim, its sign, its numbers in words, its interval drawn (`strip`), and how many of
    its sources were not run (`missing`), by the provenance that is `known` of each; `committed` as in `Page`."""
    points = [claim for claim in claims if claim.unit.startswith("points")]  # what has its zero where nothing changes
    reach = max((abs(end) for claim in points for end in _ends(claim)), default=0.0)
    return [
        {
            "claim": claim,
            "verdict": claim.outcome.replace(" ", "-"),
            "sign": VERDICTS[claim.outcome],
            "effect": "–" if is_gap(claim.effect) else effect(claim.effect, claim.unit),
            "detail": ", ".join(_certainty(claim)),
            "strip": _strip(claim, reach) if claim in points else None,
            "sources": sources,
            "missing": sum(source["missing"] for source in sources),
        }
        for claim, sources in ((claim, [_source(name, known, committed) for name in claim.sources]) for claim in claims)
    ]


def _source(name: str, known: Mapping[str, Any], committed: Container[str]) -> dict[str, Any]:
    missing = known.get(name, {}).get("state") == "not run"
    return {"name": name, "href": f"#{anchor(name)}", "missing": missing, "committed": name in committed}


def _ends(claim: Claim) -> list[float]:
    return [value for value in (claim.effect, claim.low, claim.high) if not is_gap(value)]


def _certainty(claim: Claim) -> list[str]:
    ends = [] if is_gap(claim.low) else [f"95 % interval {interval(claim.low, claim.high)}"]
    ends += [] if is_gap(claim.p) else [probability(claim.p)]
    return ends + ([] if is_gap(claim.smallest) else [f"smallest effect found {claim.smallest:.1f}"])


def _strip(claim: Claim, reach: float) -> dict[str, float] | None:
    """Places of the effect and its interval on a line from 0 to 100 whose middle is zero; None for a gap."""
    if is_gap(claim.effect) or reach <= 0:
        return None
    low, high = (claim.effect if is_gap(end) else end for end in (claim.low, claim.high))
    return {
        name: round(50 + 46 * value / reach, 1) for name, value in (("low", low), ("at", claim.effect), ("high", high))
    }


def picture_rows(pictures: dict[str, Picture]) -> dict[str, dict[str, str]]:
    """Pictures for the template, by name; those beyond `PICTURES` bytes in all have no `uri`."""
    left, found = PICTURES, {}
    for name, picture in pictures.items():
        uri = svg_uri(picture.content)
        if len(uri) > left:
            uri = ""
        left -= len(uri)
        found[name] = {
            "name": name,
            "title": picture.title,
            "alt": picture.alt,
            "caption": picture.caption,
            "file": f"{picture.folder}/{picture.name}.svg",
            "uri": uri,
        }
    return found


def svg_uri(content: bytes) -> str:
    """An SVG file as a data URI: escaped, which for lines and numbers is shorter than base64."""
    return "data:image/svg+xml," + quote(" ".join(content.decode().split("\n")), safe=" !$'()*+,-./:;=?@[]_{|}~")


def evaluation_rows(page: Page) -> list[dict[str, Any]]:
    """What a link of a number leads to: every evaluation that has provenance, or that a number or claim names."""
    known = page.provenance.get("evaluations", {})
    cells = (value for table in page.tables.values() for value in table.view.to_numpy(dtype=object).ravel())
    named = {value.source for value in cells if isinstance(value, Cell) and value.source}
    named |= {name for claim in page.claims for name in claim.sources}
    named |= {row.evaluation for row in page.params.report.tables.get("a1", {}).values()}
    return [
        {"name": name, "id": anchor(name), "facts": known.get(name), "state": known.get(name, {}).get("state")}
        for name in sorted({*known, *named})
    ]


def stage_rows(stages: dict) -> list[dict[str, str]]:
    """Stage scores as lines: stage, score, value, basis. A gap has no key in reports/stages.json."""
    if not stages:
        return []
    rows = []

    def add(stage: str, score: str, value: float, basis: str) -> None:
        percent = number(value, gap="–") + ("" if is_gap(value) else "\u00a0%")
        rows.append({"stage": stage, "score": score, "value": percent, "basis": basis})

    for split, item in stages["masks"].items():
        basis = f"{item['images']} images, {item['empty']} without a mask"
        add("parse", f"mask IoU of the clothes, split {split}", item.get("iou"), basis)
    for stage, name, title in (("describe", "descriptions", "descriptions"), ("summarize", "outfits", "outfit texts")):
        item = stages[name]
        for part in ("upper", "lower", "footwear", "all"):
            where = "in all parts" if part == "all" else f"for {part}"
            add(stage, f"{title} equal to the truth {where}", item.get(part), f"{item['texts']} texts")
    item = stages["variants"]
    basis = f"{item['variants']} variants, {item['skipped']} skipped"
    add("inpaint", "variants with every pixel outside the mask unchanged", item.get("outside_identical"), basis)
    item = stages["prompt_alignment"]
    basis = f"{item['images']} sampled variants, {item['items']} visible items in all"
    for part, what in ALIGNMENT.items():
        add("inpaint", f"prompt read back from the variant, {what}", item.get(part), basis)
        if "bound" in item:
            add("inpaint", f"the same from the truth within the same masks, {what}", item["bound"].get(part), basis)
    for name, bands in stages.get("discriminators", {}).items():
        for times, accuracy in bands.items():
            what = f"{name}: held-out images told from generated ones at t = {times}"
            add("discriminate", what, accuracy, "half of each; 50\u00a0% is chance")
    return rows
