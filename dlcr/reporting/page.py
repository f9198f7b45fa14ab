"""The page: one self-contained HTML file made from `templates/page.html.j2`; no network, no script, images
inside.

Texts of models are untrusted: the template escapes everything that it is given.
"""

from base64 import b64encode
from dataclasses import dataclass

import jinja2
import pandas as pd
import yaml

from dlcr.params import Params, file_content
from dlcr.reporting import views
from dlcr.reporting.departures import departures
from dlcr.reporting.figures import Retrieval, Sample
from dlcr.reporting.formats import interval, is_gap, number, signed, spread
from dlcr.reporting.paper import DISAGREEMENTS, ORACLE
from dlcr.reporting.sheets import CATEGORIES, RETRIEVAL_RULE, SAMPLE_RULE

ALIGNMENT = {"words": "words", "upper": "upper", "lower": "lower", "footwear": "footwear", "all": "any item"}
MIME = {"svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Page:
    """What the page shows: tables as `dlcr.reporting.tables` makes them, those of `compared` as text already, `files`
    of the report with its figures."""

    params: Params
    a1: pd.DataFrame
    shares: dict
    settings: pd.DataFrame
    compared: dict[str, pd.DataFrame]
    quality: pd.DataFrame
    stages: dict
    samples: list[Sample]
    retrievals: list[Retrieval]
    counts: dict
    a5: pd.DataFrame
    a6: pd.DataFrame
    wall: pd.DataFrame
    files: dict[str, bytes]
    notes: dict[str, list[str]]


def render(page: Page) -> bytes:
    """The page as UTF-8 HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dlcr.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = page.a1.to_dict("records")
    text = environment.get_template("page.html.j2").render(
        dataset=page.params.report.dataset,
        generated=page.params.report.samples,
        private=page.params.report.dataset in page.params.private.datasets,
        headlines=headlines(page),
        a1=[_a1_row(row) for row in rows],
        not_run=[row["row"] for row in rows if is_gap(row["top1"])],
        notes=page.notes,
        disagreements=DISAGREEMENTS,
        share=_share_sentence(page.shares),
        samples=page.samples,
        sample_rule=SAMPLE_RULE,
        retrievals=page.retrievals,
        retrieval_rule=RETRIEVAL_RULE,
        counts=page.counts,
        categories=CATEGORIES,
        stages=_stage_rows(page.stages),
        settings=_table(views.view_settings(page.settings)),
        compared={name: _table(view) for name, view in page.compared.items()},
        quality=_table(views.view_quality(page.quality)),
        a5=_table(views.view_a5(page.a5)),
        a6=_table(views.view_a6(page.a6)),
        wall=_table(views.view_wall(page.wall)),
        departures=departures(page.params),
        parameters=yaml.safe_dump(file_content(page.params), sort_keys=False, allow_unicode=True, width=100),
        images={name: _data_uri(name, content) for name, content in page.files.items() if name.startswith("figures/")},
    )
    return text.encode()


def headlines(page: Page) -> list[dict[str, str]]:
    """The numbers on top of the page: label, value, detail; "not run" where there is none."""
    rows = page.a1.set_index("row").to_dict("index")
    base, full, bound = rows["1"], rows["6"], rows[ORACLE]
    share = page.shares.get("top1", {})
    shown = [
        (
            "Baseline top-1",
            spread(base["top1"], base["top1_std"]),
            f"row 1; paper {number(base['paper_top1'])} on PRCC",
        ),
        (
            "DLCR top-1",
            spread(full["top1"], full["top1_std"]),
            f"row 6, everything on; paper {number(full['paper_top1'])} on PRCC",
        ),
        ("Gain in top-1", signed(full["top1_difference"], gap="not run"), _gain_detail(base, full)),
        (
            "Share of the oracle’s gain",
            "not run" if is_gap(share.get("share")) else f"{100 * share['share']:.0f}\u00a0%",
            f"row 5; the oracle reaches {number(bound['top1'])}",
        ),
    ]
    return [dict(zip(("label", "value", "detail"), item, strict=True)) for item in shown]


def _gain_detail(base: dict, full: dict) -> str:
    paper = signed(full["paper_top1"] - base["paper_top1"])
    if is_gap(full["top1_difference"]):
        return f"paper {paper}"
    ends = interval(full["top1_difference_low"], full["top1_difference_high"])
    return f"95 % interval {ends}, {views.probability(full['top1_p'])}; paper {paper}"


def _a1_row(row: dict) -> dict:
    """One line of the page's Table A1: what it is, and for each measure paper, this run, interval,
    difference."""
    extras = {
        "llm_prompts": "LLM prompts",
        "progressive_learning": "progressive",
        "prediction_refinement": "refined",
    }
    cells = []
    for measure in ("top1", "map"):
        difference = signed(row[f"{measure}_difference"])
        ends = interval(row[f"{measure}_difference_low"], row[f"{measure}_difference_high"], gap="")
        cells.append(
            {
                "paper": number(row[f"paper_{measure}"], gap="–"),
                "run": spread(row[measure], row[f"{measure}_std"]),
                "interval": interval(row[f"{measure}_low"], row[f"{measure}_high"], gap=""),
                "difference": difference,
                "detail": f"{ends}; {views.probability(row[f'{measure}_p'])}" if ends else "",
            }
        )
    return {
        "row": row["row"],
        "data": row["generated_data"],
        "run": not is_gap(row["top1"]),
        "oracle": row["row"] == ORACLE,
        "extras": [text for key, text in extras.items() if row[key] == "yes"],
        "measures": cells,
    }


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


def _stage_rows(stages: dict) -> list[dict[str, str]]:
    """Stage scores as lines: stage, score, value, basis."""
    if not stages:
        return []
    rows = []

    def add(stage: str, score: str, value: float, basis: str) -> None:
        rows.append(
            {
                "stage": stage,
                "score": score,
                "value": number(value, gap="–") + ("" if is_gap(value) else "\u00a0%"),
                "basis": basis,
            }
        )

    for split, item in stages["masks"].items():
        add(
            "parse",
            f"mask IoU of the clothes, split {split}",
            item["iou"],
            f"{item['images']} images, {item['empty']} without a mask",
        )
    for stage, name, title in (
        ("describe", "descriptions", "descriptions"),
        ("summarize", "outfits", "outfit texts"),
    ):
        item = stages[name]
        for part in ("upper", "lower", "footwear", "all"):
            where = "in all parts" if part == "all" else f"for {part}"
            add(stage, f"{title} equal to the truth {where}", item[part], f"{item['texts']} texts")
    item = stages["variants"]
    add(
        "inpaint",
        "variants with every pixel outside the mask unchanged",
        item["outside_identical"],
        f"{item['variants']} variants, {item['skipped']} skipped",
    )
    item = stages["prompt_alignment"]
    basis = f"{item['images']} sampled variants, {item['items']} visible items in all"
    for part, what in ALIGNMENT.items():
        add("inpaint", f"prompt read back from the variant, {what}", item[part], basis)
        if "bound" in item:
            add("inpaint", f"the same from the truth within the same masks, {what}", item["bound"][part], basis)
    for name, bands in stages["discriminators"].items():
        for times, accuracy in bands.items():
            what = f"{name}: held-out images told from generated ones at t = {times}"
            add("discriminate", what, accuracy, "half of each; 50\u00a0% is chance")
    return rows


def _table(view: pd.DataFrame) -> dict[str, list]:
    return {"columns": list(view.columns), "rows": view.to_numpy(dtype=object).tolist()}


def _data_uri(name: str, content: bytes) -> str:
    return f"data:{MIME[name.rsplit('.', 1)[1]]};base64,{b64encode(content).decode()}"
