"""Stage survey: what was made is counted and scored; what was not made has no number."""

import json
from pathlib import Path

import pytest
from made_up import make_pipeline

from dlcr.params import load_params
from dlcr.reporting import scores
from dlcr.reporting.survey import load_scores, load_survey
from stages import survey


@pytest.fixture
def project(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up data and sets, without evaluations, and a describer that always answers the same."""
    profile = repository / "profiles" / "minicc.yaml"
    params = load_params(profile)
    make_pipeline(tmp_path, params, missing=tuple(params.evaluations))
    (tmp_path / "reports" / "sets.json").unlink()
    (tmp_path / "params.yaml").write_bytes(profile.read_bytes())
    monkeypatch.setattr(scores, "load_describer", lambda model: model)
    monkeypatch.setattr(scores, "describe", lambda describer, images, question, **settings: ["red shirt"] * len(images))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_was_made_is_counted_and_scored(project: Path) -> None:
    survey.main()
    found, stages = load_survey(project), load_scores(project)
    assert set(found["datasets"]) == {"minicc", "minicc-night", "minicc-crowd"}
    minicc = found["datasets"]["minicc"]
    assert (minicc["original_images"], minicc["subjects"], minicc["queries"]) == (24, 6, 24)
    assert minicc["images_of_subjects"] == [4] * 6
    made = found["sets"]["inpainting"]
    assert (made["variants"], made["generated_images"], made["not_made"], made["dropped"]) == (96, 72, 24, 0)
    assert made["reasons"] == {"empty mask": 24}
    assert made["change_50"] == 0.5
    assert "vlm" not in found["sets"]  # not made
    assert stages["masks"]["train"]["iou"] == 100
    assert "discriminators" not in stages


def test_the_same_bytes_twice(project: Path) -> None:
    files = [project / "reports" / name for name in ("sets.json", "stages.json")]
    survey.main()
    before = [path.read_bytes() for path in files]
    survey.main()
    assert [path.read_bytes() for path in files] == before


def test_the_gate_decides_what_counts(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("min_spread: 0.0", "min_spread: 0.6"))
    survey.main()
    made = load_survey(project)["sets"]["inpainting"]
    assert (made["generated_images"], made["dropped"]) == (0, 72)


@pytest.mark.parametrize(
    ("content", "said"), [("{", "not readable as JSON"), ("[]", "expected a mapping, found list"), ("{}", "the keys")]
)
def test_a_damaged_survey_is_named(project: Path, content: str, said: str) -> None:
    (project / "reports" / "sets.json").write_text(content)
    with pytest.raises(ValueError, match=rf"sets\.json: .*{said}"):
        load_survey(project)
    assert load_scores(project) == {}
    (project / "reports" / "stages.json").write_text(json.dumps({"masks": {}}))
    assert load_scores(project) == {"masks": {}}
