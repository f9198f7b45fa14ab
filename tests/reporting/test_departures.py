"""What the report says differs from the paper: true of the profiles, with the right source of every number."""

from pathlib import Path

import pytest

from dlcr.params import load_params
from dlcr.reporting.departures import ALWAYS, departures

PROFILES = [
    "minicc",
    "smoke",
    "prcc",
    "prcc-models",
    "prcc-sdxl",
    "prcc-klein",
    "paper",
    "ltcc",
    "ccvid",
    "vc-clothes",
    "last",
]


def settings(repository: Path, profile: str) -> dict[str, dict]:
    found = departures(load_params(repository / "profiles" / f"{profile}.yaml"))
    assert found["always"] == ALWAYS
    return {row["name"]: row for row in found["settings"]}


def test_profile_prcc_differs_in_parser_and_seeds_alone(repository: Path) -> None:
    rows = settings(repository, "prcc")
    assert [name for name, row in rows.items() if not row["same"]] == ["human parser", "training seeds"]


def test_numbers_name_where_they_stand(repository: Path) -> None:
    """The inpainting settings stand in Sec. 16; the paper has neither the guidance scale nor the temperature."""
    paper = {name: row["paper"] for name, row in settings(repository, "prcc").items()}
    assert paper["denoising steps"] == "50 (Sec. 16)"
    assert paper["generated size"] == "768 x 256 (Sec. 16)"
    assert paper["denoising steps of queries"] == "10 (Sec. 16)"
    assert paper["generated size of queries"] == "384 x 128 (Sec. 16: half)"
    assert paper["guidance scale"] == "7.5 (release only)"
    assert paper["describer's temperature"] == "0.2 (release only)"
    for path in (repository / "profiles").iterdir():
        for line in path.read_text().splitlines():
            assert "Sec. 9" not in line, (path.name, line)
            assert "Sec. 4" not in line or "steps" not in line, (path.name, line)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_its_own(repository: Path, profile: str) -> None:
    rows = settings(repository, profile)
    parser = rows["human parser"]
    assert not parser["same"]
    assert ("segformer" in parser["run"]) == (profile not in ("minicc", "smoke"))


def test_a_profile_without_query_variants_says_so(repository: Path) -> None:
    params = load_params(repository / "profiles" / "prcc.yaml")
    rows = {key: row for key, row in params.report.tables["a1"].items() if key != "6"}
    params = params.model_copy(update={"report": params.report.model_copy(update={"tables": {"a1": rows}})})
    found = {row["name"]: (row["run"], row["same"]) for row in departures(params)["settings"]}
    assert found["generated size of queries"] == found["l, variants a query"] == ("not run", False)


@pytest.mark.parametrize(
    "said",
    [
        "In refinement the query and each of its variants vote once",
        "with its bars: Gray shirt| Blue jeans| Black shoes",
        "Lanczos' filter",
        "the mean of what its encoder says",
        "Standard diffusion (Table A1, row 2) is image to image by the inpainting model",
        "parse with SegFormer",
    ],
)
def test_decisions_that_hold_everywhere_are_said(said: str) -> None:
    assert said in " ".join(ALWAYS)
