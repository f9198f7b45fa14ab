"""Where numbers come from: the chain of stages in dvc.lock, and everything that can be wrong with it."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from dlcr.params import Params, load_params
from dlcr.reporting.lineage import folder_md5
from dlcr.reporting.provenance import provenance, provenance_rows

NOTHING_TIMED = pd.DataFrame(columns=["stage", "name"])
MACHINE = {"cpu": "CPU", "cores": 8, "threads": 2, "memory_gb": 16.0, "gpu": None, "python": "3.12", "torch": "2"}


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params("profiles/minicc.yaml")


def stage(deps: dict[str, str], outs: dict[str, str], params: dict | None = None, image: str | None = None) -> dict:
    return {
        "cmd": "python",
        "deps": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in deps.items()],
        "params": {"params.yaml": params or {}, "containers/images.yaml": {"reid" if image else "vision": image}},
        "outs": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in outs.items()],
    }


def pipeline() -> dict:
    """The stages behind evaluation `progressive`, and others; each output's hash is its name's."""
    data, masks, made = {"data/minicc": "d"}, {"masks/minicc": "m"}, {"generated/inpainting": "g"}
    texts, outfits = {"descriptions/minicc.parquet": "t"}, {"outfits/minicc.parquet": "o"}
    queries = {"generated/queries-minicc": "q"}
    sources = {"discriminators/none": "n", "models/mini/inpainter": "w", "dlcr/inpainting": "i"}
    return {
        "pretrain": stage({"dlcr/pretrain": "old"}, {"models/mini/inpainter": "other"}),
        "prepare@minicc": stage({"dlcr/data": "c"}, data, {"minicc": {"seed": 0}}),
        "parse@minicc": stage(data, masks, {"parse": {"batch": 1}}),
        "describe@minicc": stage(data, texts, {"seed": 0}),
        "summarize@minicc": stage(texts, outfits, {"seed": 0}),
        "inpaint@inpainting": stage(data | masks | outfits | sources, made, {"k": 10, "seed": 0}),
        "inpaint@queries-minicc": stage(data | masks | outfits | sources, queries, {"seed": 0}),
        "train@progressive": stage(
            data | made | {"dlcr/reid": "r"}, {"runs/progressive": "p"}, {"seeds": [0, 1]}, "sha256:1"
        ),
        "train@baseline": stage(data | {"generated/none": "z"}, {"runs/baseline": "b"}, {"seeds": [0, 1]}),
        "refine-eval@progressive": stage(
            data | queries | {"faces/none": "z", "runs/progressive": "p", "dlcr/reid": "r", "mine.py": "x"},
            {"evaluations/progressive": "e"},
            {"evaluations.progressive": {"run": "progressive"}},
            "sha256:1",
        ),
    }


def project(root: Path, stages: dict, name: str = "progressive") -> Path:
    """A repository with a dvc.lock and an evaluation, whose hash in dvc.lock is put right."""
    (root / "evaluations" / name).mkdir(parents=True)
    (root / "evaluations" / name / "scores.json").write_text("{}")
    for item in stages.values():
        for out in item["outs"]:
            if out["path"] == f"evaluations/{name}":
                out["md5"] = folder_md5(root / "evaluations" / name)
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))
    return root


def entry(root: Path, params: Params, timings: pd.DataFrame = NOTHING_TIMED, name: str = "progressive") -> dict:
    found = provenance(root, params, timings)
    json.dumps(found, allow_nan=False)
    return found["evaluations"][name]


def test_the_whole_chain(tmp_path: Path, params: Params) -> None:
    found = entry(project(tmp_path, pipeline()), params)
    assert (found["state"], found["gaps"], found["stale"]) == ("complete", [], [])
    assert set(found["stages"]) == set(pipeline()) - {"pretrain", "train@baseline"}
    assert (found["run"], found["dataset"], found["model"], found["seeds"]) == (
        "progressive",
        "minicc",
        "cal-mini",
        params.seeds,
    )
    assert found["parameters"]["k"] == 10
    assert found["parameters"]["evaluations.progressive"] == {"run": "progressive"}
    assert found["images"] == {"reid": "sha256:1", "vision": None}
    assert found["code"] == {"dlcr/reid": "r", "mine.py": "x", "dlcr/inpainting": "i", "dlcr/data": "c"}
    assert found["data"]["generated/inpainting"] == "g"
    assert found["data"]["models/mini/inpainter"] == "w"
    assert found["data"]["evaluations/progressive"] == folder_md5(tmp_path / "evaluations/progressive")


@pytest.mark.parametrize(
    ("name", "part", "path", "reason"),
    [
        ("inpaint@inpainting", "outs", "generated/inpainting", "train@progressive read another generated/inpainting"),
        (
            "prepare@minicc",
            "outs",
            "data/minicc",
            "refine-eval@progressive read another data/minicc than prepare@minicc",
        ),
        ("parse@minicc", "deps", "data/minicc", "parse@minicc had another data/minicc than a later stage"),
        ("train@progressive", "deps", "dlcr/reid", "train@progressive had another dlcr/reid than a later stage"),
        ("refine-eval@progressive", "outs", "evaluations/progressive", "is not what refine-eval@progressive wrote"),
    ],
)
def test_a_broken_chain_is_stale(tmp_path: Path, params: Params, name: str, part: str, path: str, reason: str) -> None:
    root = project(tmp_path, stages := pipeline())
    next(item for item in stages[name][part] if item["path"] == path)["md5"] = "changed"
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    found = provenance(root, params, NOTHING_TIMED)
    assert found["evaluations"]["progressive"]["state"] == "stale"
    assert any(reason in text for text in found["evaluations"]["progressive"]["stale"])
    row = next(row for row in provenance_rows(found) if row["Evaluation"] == "progressive")
    assert row["State"].startswith("stale: ")


def test_parameters_that_changed_between_stages_are_stale(tmp_path: Path, params: Params) -> None:
    stages = pipeline()
    stages["describe@minicc"]["params"]["params.yaml"]["seed"] = 7
    found = entry(project(tmp_path, stages), params)
    assert (found["state"], found["stale"]) == ("stale", ["describe@minicc had another seed than a later stage."])


def test_what_dvc_did_not_run_is_a_gap(tmp_path: Path, params: Params) -> None:
    stages = pipeline()
    del stages["parse@minicc"]
    found = entry(project(tmp_path, stages), params)
    assert (found["state"], found["gaps"]) == ("incomplete", ["dvc.lock has no stage for masks/minicc."] * 2)
    (tmp_path / "dvc.lock").unlink()
    found = entry(tmp_path, params)
    assert (found["state"], found["gaps"]) == (
        "incomplete",
        ["dvc.lock has no stage for evaluations/progressive."],
    )
    assert entry(tmp_path, params, name="baseline")["state"] == "not run"
    rows = {row["Evaluation"]: row for row in provenance_rows(provenance(tmp_path, params, NOTHING_TIMED))}
    assert (rows["baseline"]["State"], rows["baseline"]["Cost"]) == ("not run", "not recorded")


def test_imported_sets_have_no_stage(tmp_path: Path, params: Params) -> None:
    stages = pipeline()
    del stages["inpaint@inpainting"]
    imported = params.model_copy(update={"imported": {"inpainting": None}})
    assert entry(project(tmp_path, stages), imported)["state"] == "complete"


def test_private_stages_and_those_of_other_profiles(tmp_path: Path, params: Params) -> None:
    stages = pipeline()
    other = stage({"data/minicc": "elsewhere"}, {"data/minicc": "elsewhere"})
    stages = {
        "private-prepare@minicc": other,
        "private-refine-eval@progressive": stage({}, {"evaluations/private/progressive": "e"}),
    } | stages
    found = entry(project(tmp_path, stages), params)
    assert found["state"] == "complete"
    assert "refine-eval@progressive" in found["stages"]
    assert not [name for name in found["stages"] if name.startswith("private-")]
    private = params.private.model_copy(update={"evaluations": {"progressive": params.evaluations["progressive"]}})
    found = entry(tmp_path, params.model_copy(update={"private": private}))
    assert "private-refine-eval@progressive" in found["stages"]


def test_ablations_share_the_stage_of_their_run(tmp_path: Path, params: Params) -> None:
    name = "ccfa-ablations"
    run = params.evaluations[name].run
    stages = {
        f"train@{run}": stage({"dlcr/reid": "r"}, {f"runs/{run}": "a"}),
        f"refine-eval@{name}": stage({f"runs/{run}": "a"}, {f"evaluations/{name}": "e"}),
    }
    root = tmp_path
    (root / "evaluations" / name / "no-sta").mkdir(parents=True)
    (root / "evaluations" / name / "no-sta" / "scores.json").write_text("{}")
    stages[f"refine-eval@{name}"]["outs"][0]["md5"] = folder_md5(root / "evaluations" / name)
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    timings = pd.DataFrame(
        [
            {"stage": "train", "name": run, "seconds": 100.0, "machine": MACHINE, "core_hours": 2.0},
            {"stage": "train", "name": f"{run}.no-sta", "seconds": 10.0, "machine": MACHINE, "core_hours": 0.2},
            {"stage": "refine-eval", "name": name, "seconds": 5.0, "machine": MACHINE, "core_hours": 0.1},
        ]
    )
    found = entry(root, params, timings, f"{name}/no-sta")
    assert (found["state"], found["run"]) == ("complete", f"{run}/no-sta")
    assert {stage: facts["core_hours"] for stage, facts in found["stages"].items()} == {
        f"refine-eval@{name}": 0.1,
        f"train@{run}": 0.2,
    }
    assert entry(root, params, timings, f"{name}/no-cciu")["state"] == "not run"


def test_hardware_and_cost(tmp_path: Path, params: Params) -> None:
    root = project(tmp_path, pipeline())
    gpu = MACHINE | {"gpu": "Some GPU"}
    rows = [
        {"stage": "train", "name": "progressive", "seconds": 10.0, "machine": gpu, "gpu_hours": 1.5},
        {"stage": "inpaint", "name": "queries-minicc", "seconds": 10.0, "machine": MACHINE, "core_hours": 2.0},
    ]
    found = provenance(root, params, pd.DataFrame(rows))
    stages = found["evaluations"]["progressive"]["stages"]
    assert stages["train@progressive"] == {"seconds": 10.0, "machine": gpu, "core_hours": None, "gpu_hours": 1.5}
    assert stages["inpaint@queries-minicc"]["core_hours"] == 2.0
    assert stages["parse@minicc"] == dict.fromkeys(("seconds", "machine", "core_hours", "gpu_hours"))
    row = next(row for row in provenance_rows(found) if row["Evaluation"] == "progressive")
    assert row["Cost"] == "at least 2 CPU core hours, 1.5 GPU hours"
    assert row["Hardware"] == (
        "CPU, 2 of 8 cores, 16 GB, Python 3.12, PyTorch 2; Some GPU, CPU, 2 of 8 cores, 16 GB, Python 3.12, PyTorch 2"
    )
    names = [name.split("@") for name in stages]
    every = [
        {"stage": kind, "name": name, "seconds": 1.0, "core_hours": 0.5, "machine": MACHINE} for kind, name in names
    ]
    row = next(
        row
        for row in provenance_rows(provenance(root, params, pd.DataFrame(every)))
        if row["Evaluation"] == "progressive"
    )
    assert row["Cost"] == f"{0.5 * len(every):.2g} CPU core hours"


def test_git(tmp_path: Path, params: Params) -> None:
    assert provenance(tmp_path, params, NOTHING_TIMED)["git"] is None
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    assert provenance(tmp_path, params, NOTHING_TIMED)["git"] is None  # nothing is committed yet
    (tmp_path / "reports").mkdir()
    for name in ("code.py", "dvc.lock", "reports/a.md"):
        (tmp_path / name).write_text("stages: {}\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert provenance(tmp_path, params, NOTHING_TIMED)["git"] == {"revision": git("rev-parse", "HEAD"), "changed": []}
    for name in ("code.py", "dvc.lock", "reports/a.md"):
        (tmp_path / name).write_text("stages: {}\n# changed\n")
    assert provenance(tmp_path, params, NOTHING_TIMED)["git"]["changed"] == ["code.py"]


@pytest.mark.parametrize(
    ("text", "reason"), [("stages: [", "not YAML"), ("[]", "expected a mapping"), ("a: 1", "expected")]
)
def test_a_lock_that_is_none(tmp_path: Path, params: Params, text: str, reason: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(ValueError, match=rf"dvc\.lock: {reason}"):
        provenance(tmp_path, params, NOTHING_TIMED)


def test_folders_are_hashed_as_dvc_does(tmp_path: Path) -> None:
    tree = Tree()
    for name in ("b.txt", "a/c.txt", "a-d.txt", "a/b/é.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        tree.add(tuple(name.split("/")), None, HashInfo("md5", hashlib.md5(name.encode()).hexdigest()))
    tree.digest()
    assert folder_md5(tmp_path) == tree.hash_info.value
