"""What was made with other values than params.yaml has is no result of it: of another profile, or before an edit."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from made_up import make_data, make_evaluation

from dlcr.params import load_params
from dlcr.reporting.lineage import folder_md5, lineages, other_keys
from dlcr.reporting.provenance import provenance
from dlcr.reporting.results import load_results
from dlcr.reporting.survey import load_scores, load_survey
from dlcr.runtime.timing import load_all

KEYS = ("k", "seeds", "minicc", "inpaint", "discriminate", "runs.progressive", "evaluations.progressive")


@pytest.fixture
def project(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One evaluation and a survey, as DVC made them with profile minicc."""
    shutil.copy(repository / "profiles" / "minicc.yaml", tmp_path / "params.yaml")
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    manifest = make_data(tmp_path / "made", "minicc")
    queries, gallery = (manifest[manifest["split"] == split] for split in ("query", "gallery"))
    make_evaluation(tmp_path / "evaluations/progressive", queries["image_id"].tolist(), gallery, manifest, 0.5, [0, 1])
    kept = {key: content[key] if key in content else content[key.split(".")[0]]["progressive"] for key in KEYS}
    stages = {
        "refine-eval@progressive": {
            "deps": [{"path": "runs/progressive", "md5": "r"}],
            "params": {"params.yaml": {key: kept[key] for key in KEYS if key.startswith("evaluations")}},
            "outs": [{"path": "evaluations/progressive", "md5": folder_md5(tmp_path / "evaluations/progressive")}],
        },
        "train@progressive": {
            "params": {"params.yaml": {key: kept[key] for key in KEYS if not key.startswith("evaluations")}},
            "outs": [{"path": "runs/progressive", "md5": "r"}],
        },
        "survey": {"params": {"params.yaml": {"minicc": kept["minicc"]}}, "outs": surveyed(tmp_path)},
    }
    text = yaml.safe_dump({"stages": stages})
    assert "1.0e-07" in text
    (tmp_path / "dvc.lock").write_text(text.replace("1.0e-07", "1e-07"))  # as DVC writes it
    monkeypatch.chdir(tmp_path)
    return tmp_path


def surveyed(root: Path) -> list[dict]:
    """A survey, and how dvc.lock knows it."""
    (root / "reports").mkdir()
    contents = {"sets": {"datasets": {"minicc": {}}, "sets": {}}, "stages": {}}
    for name, content in contents.items():
        (root / "reports" / f"{name}.json").write_text(json.dumps(content))
    paths = [f"reports/{name}.json" for name in contents]
    return [{"path": path, "md5": hashlib.md5((root / path).read_bytes()).hexdigest()} for path in paths]


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new, 1))


def test_what_params_yaml_says_is_a_result(project: Path) -> None:
    params = load_params()
    assert lineages(project, params)["progressive"].others == []
    assert load_results(project, params)["progressive"] is not None
    assert load_survey(project)["datasets"] == {"minicc": {}}
    assert load_scores(project) == {}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("\nk: 10\n", "\nk: 20\n", "k"),
        ("steps: 4\n", "steps: 5\n", "inpaint"),
        ("weight_decay: 1.0e-7", "weight_decay: 1.0e-6", "discriminate"),
        ("generated: inpainting, mode: progressive}", "generated: inpainting, mode: paired}", "runs.progressive"),
        ("run: progressive, queries", "run: baseline, queries", "evaluations.progressive"),
    ],
)
def test_an_edit_makes_it_another_ones(project: Path, old: str, new: str, key: str) -> None:
    edit(project, old, new)
    params = load_params()
    assert load_results(project, params)["progressive"] is None
    said = provenance(project, params, load_all())["evaluations"]["progressive"]["stale"]
    assert f"It was made with another {key} than params.yaml has." in said


def test_other_seeds_measure_the_same(project: Path) -> None:
    edit(project, "seeds: [0, 1, 2, 3, 4, 5, 6, 7]", "seeds: [0, 1]")
    assert load_results(project, load_params())["progressive"].scores["seeds"].keys() == {"0", "1"}


def test_another_profiles_numbers_are_not_shown(project: Path, repository: Path) -> None:
    for name in ("smoke", "prcc"):
        shutil.copy(repository / "profiles" / f"{name}.yaml", project / "params.yaml")
        assert load_results(project, load_params())["progressive"] is None
        assert load_survey(project) == {"datasets": {}, "sets": {}}
    assert other_keys(project, "survey") == ["minicc"]


def test_a_set_that_was_added_says_nothing_against_the_others(project: Path) -> None:
    lock, made = (yaml.safe_load((project / name).read_text()) for name in ("dvc.lock", "params.yaml"))
    lock["stages"]["survey"]["params"]["params.yaml"]["generated"] = made["generated"]
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    edit(project, "\ngenerated:\n", "\ngenerated:\n  another: {<<: *set, kind: colour}\n")
    assert other_keys(project, "survey") == []
    edit(project, "  colour: {<<: *set, kind: colour}", "  colour: {<<: *set, kind: colour, k: 3}")
    assert other_keys(project, "survey") == ["generated"]


def test_what_dvc_did_not_run_is_taken_as_it_is(project: Path) -> None:
    edit(project, "\nk: 10\n", "\nk: 20\n")
    (project / "dvc.lock").unlink()
    assert load_results(project, load_params())["progressive"] is not None


def test_nor_is_it_where_a_run_by_hand_came_after_dvc(project: Path, repository: Path) -> None:
    shutil.copy(repository / "profiles" / "prcc.yaml", project / "params.yaml")
    path = project / "evaluations/progressive/scores.json"
    path.write_text(path.read_text() + "\n")
    (project / "reports" / "sets.json").write_text(json.dumps({"datasets": {"prcc": {}}, "sets": {}}))
    assert load_results(project, load_params())["progressive"] is not None
    assert load_survey(project)["datasets"] == {"prcc": {}}


def test_names_may_have_dots(project: Path) -> None:
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    lock["stages"]["train@progressive"]["params"]["params.yaml"] = {"runs.a.b": {"mode": "none"}, "runs.gone": 1}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    params = load_params()
    edit(project, "\nruns:\n", "\nruns:\n  a.b: {mode: none}\n")
    assert lineages(project, params)["progressive"].others == ["runs.gone"]


def test_an_evaluation_of_models_that_were_trained_again_came_with_the_repository(project: Path) -> None:
    """As GEFF's rows after `make demo`: their models are there, and are others."""
    (project / "runs" / "progressive").mkdir(parents=True)
    assert load_results(project, load_params())["progressive"].here
    lock = (project / "dvc.lock").read_text()
    written = "outs:\n    - md5: r\n      path: runs/progressive"
    assert lock.count(written) == 1
    (project / "dvc.lock").write_text(lock.replace(written, written.replace("md5: r", "md5: s")))
    assert not load_results(project, load_params())["progressive"].here
