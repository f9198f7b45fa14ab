"""What may not be passed on is in no picture and no text of the report, whatever section of `private` it stands in."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_up import make_pipeline, make_set
from made_up_page import make_page
from test_figures import histories, tables

from dlcr.data import load_manifest
from dlcr.params import Imported, Items, Params, load_params
from dlcr.reporting.browser import Browsers, gather
from dlcr.reporting.figures import pictures
from dlcr.reporting.page import render
from dlcr.reporting.results import Result, load_results
from dlcr.reporting.sheets import private_item

SHOWN = {
    "datasets": "minicc",
    "descriptions": "minicc",
    "outfits": "minicc",
    "discriminators": "minicc",
    "generated": "inpainting",
    "imported": "released",
    "faces": "minicc",
    "runs": "progressive",
    "evaluations": "baseline",
}
"""By section an item that what the report pictures is, or is made from."""
IMAGES = {"fig-1", "fig-a3", "fig-a4", "fig-a5"}
TEXTS = ("Red striped shirt", "train/00/00.png", "query/00/00.png", "data:image/webp", "data:image/png")
"""A prompt, image IDs, and how pictures of people stand in the page."""


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    """Profile minicc, with a guided set of samples, an imported set among the ways, and faces in the baseline."""
    params = load_params(repository / "profiles" / "minicc.yaml")
    guided = params.generated["inpainting"].model_copy(update={"discriminator": "minicc"})
    baseline = params.evaluations["baseline"].model_copy(update={"faces": "minicc"})
    report = params.report.model_copy(update={"ways": params.report.ways | {"colour": "released"}})
    return params.model_copy(
        update={
            "generated": params.generated | {"inpainting": guided},
            "imported": {"released": Imported(dataset="minicc")},
            "evaluations": params.evaluations | {"baseline": baseline},
            "report": report,
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    open_faces = params.evaluations["baseline"].model_copy(update={"faces": "none"})  # else it has no features
    evaluations = {"baseline": open_faces, "progressive": params.evaluations["progressive"]}
    make_pipeline(root, params.model_copy(update={"evaluations": evaluations}))
    make_set(root, "released", load_manifest(root / "data" / "minicc"))
    return root


@pytest.fixture(scope="module")
def results(root: Path, params: Params) -> dict[str, Result | None]:
    return load_results(root, params)


def page_of(root: Path, params: Params, results: dict) -> tuple[set[str], Browsers, str]:
    """The names of the figures, the browsers, and the page with both."""
    drawn, browsers = pictures(root, params, results, tables(), histories(), None), gather(root, params, results)
    page = render(replace(make_page(params), pictures=drawn, browsers=browsers)).decode()
    return set(drawn), browsers, page


def with_private(params: Params, section: str, name: str) -> Params:
    item = {name: getattr(params, section)[name]}
    return params.model_copy(update={"private": params.private.model_copy(update={section: item})})


def test_what_is_public_is_shown(root: Path, params: Params, results: dict) -> None:
    drawn, browsers, page = page_of(root, params, results)
    assert drawn > IMAGES
    assert browsers.retrievals
    assert browsers.samples
    assert all(text in page for text in TEXTS)
    assert "may not be redistributed" not in page


def test_every_section_of_private_is_tried() -> None:
    assert set(SHOWN) == set(Items.model_fields)


@pytest.mark.parametrize("section", list(SHOWN))
def test_nothing_private_is_pictured_or_told(root: Path, params: Params, results: dict, section: str) -> None:
    drawn, browsers, page = page_of(root, with_private(params, section, SHOWN[section]), results)
    assert drawn == {"a1", "cmc", "fig-a8", "training"}
    assert browsers == Browsers()
    assert not [text for text in TEXTS if text in page]
    assert page.count("may not be redistributed") == 3


@pytest.mark.parametrize(("section", "name"), [("generated", "crowd"), ("runs", "k-20"), ("datasets", "minicc-crowd")])
def test_what_is_not_pictured_may_be_private(params: Params, section: str, name: str) -> None:
    assert private_item(with_private(params, section, name)) == ""


def test_an_item_is_private_by_what_it_is_made_from(params: Params) -> None:
    private = with_private(params, "descriptions", "minicc")
    for section, name in (
        ("descriptions", "minicc"),
        ("outfits", "minicc"),
        ("generated", "inpainting"),
        ("discriminators", "minicc"),  # the samples and their discriminator are made from each other here
        ("generated", "queries-minicc"),
        ("runs", "progressive"),
        ("evaluations", "progressive"),
        ("evaluations", "ccfa-progressive"),
    ):
        assert private.is_private(section, name), (section, name)
        assert not params.is_private(section, name)
    for section, name in (
        ("datasets", "minicc"),
        ("generated", "none"),
        ("generated", "never-made"),
        ("runs", "baseline"),
    ):
        assert not private.is_private(section, name), (section, name)
    assert with_private(params, "runs", "ccfa-ablations").is_private("evaluations", "ccfa-ablations/normal")
    assert with_private(params, "imported", "released").is_private("generated", "released")
