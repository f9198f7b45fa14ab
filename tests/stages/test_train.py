"""The stage's command: what it takes from params.yaml, and one line for a run that cannot be."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from dlcr.data import IMAGE_SCHEMA, encode_png, load_manifest, save_manifest, write_shard
from dlcr.params import Quality, Recipe, Run
from dlcr.runtime.stage import run_stage
from stages import train

ENTRY = {
    "model": "cal-mini", "settings": {"clothes_from_epoch": 0}, "size": (32, 16), "epochs": 1, "learning_rate": 1e-3,
    "weight_decay": 0.0, "milestones": [], "identities": 2, "images": 2, "progressive_every": 1, "precision": "float32",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data/toy (two subjects with two images each) and the empty set generated/none."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    ids = [f"{i // 2}/{i}.png" for i in range(4)]
    rows = {
        "image_id": ids, "subject": [i[0] for i in ids], "clothes": ids, "camera": "A", "split": "train",
        "tracklet": "", "frame": 0, "width": 16, "height": 32,
    }  # fmt: skip
    save_manifest(pd.DataFrame(rows), Path("data/toy/manifest.parquet"))
    image = encode_png(np.zeros((32, 16, 3), np.uint8))
    columns = {"image_id": ids, "image": [image] * 4}
    write_shard(Path("data/toy/images/images-00000.arrow"), columns, IMAGE_SCHEMA, {"dataset": "toy"})
    Path("generated/none").mkdir(parents=True)
    run = {
        "dataset": "toy",
        "recipe": "small",
        "code": "dlcr/reid/models",
        "generated": "none",
        "mode": "none",
        "k": None,
        "seeds": None,
    }
    params = SimpleNamespace(
        seeds=[5],
        quality=Quality(**dict.fromkeys(Quality.model_fields, 0.0) | {"alignment": False}),
        recipes={
            "small": Recipe(**ENTRY),
            "wide": Recipe(**{**ENTRY, "identities": 3}),
            "best": Recipe(**{**ENTRY, "epochs": 2, "select": "validation"}),
            "own": Recipe(**{**ENTRY, "model": "own", "settings": {}}),
            "two": Recipe(**{**ENTRY, "ablations": {"same": {}, "smooth": {"smoothing": 0.5}}}),
        },
        runs={
            "plain": Run(**run),
            "own-seeds": Run(**{**run, "seeds": [8]}),
            "wide": Run(**{**run, "recipe": "wide"}),
            "paired": Run(**{**run, "mode": "paired"}),
            "best": Run(**{**run, "recipe": "best"}),
            "own": Run(**{**run, "recipe": "own", "code": "own.py"}),
            "lost": Run(**{**run, "dataset": "lost"}),
            "two": Run(**{**run, "recipe": "two"}),
        },
    )
    monkeypatch.setattr(train, "load_params", lambda: params)


def test_a_run_with_ablations_trains_each_instead(tmp_path: Path) -> None:
    """Their folders, and in each what a run with these settings gives."""
    for name in ("two", "plain"):
        result = CliRunner().invoke(train.app, [name])
        assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "runs/two").iterdir()) == ["same", "smooth"]
    whole, same, smooth = (tmp_path / "runs" / path / "seed-5" for path in ("plain", "two/same", "two/smooth"))
    for file in ("model.safetensors", "config.json", "history.csv"):
        assert (same / file).read_bytes() == (whole / file).read_bytes() != b""
        assert (same / file).read_bytes() != (smooth / file).read_bytes()
    assert json.loads((smooth / "config.json").read_text())["settings"]["smoothing"] == 0.5


@pytest.mark.parametrize(("name", "seed"), [("plain", 5), ("own-seeds", 8)])
def test_a_run_trains_its_seeds(name: str, seed: int) -> None:
    result = CliRunner().invoke(train.app, [name])
    assert result.exit_code == 0, result.output
    assert [path.name for path in Path("runs", name).iterdir()] == [f"seed-{seed}"]
    config = json.loads(Path(f"runs/{name}/seed-{seed}/config.json").read_text())
    assert config["model"] == "cal-mini"
    assert config["clothes"] == [0, 0, 1, 1]
    assert config["size"] == [32, 16]


def test_the_best_epoch_on_validation_identities() -> None:
    manifest = load_manifest(Path("data/toy"))
    more = manifest.assign(
        image_id="val/" + manifest["image_id"], subject="v" + manifest["subject"], clothes="v" + manifest["clothes"],
        split=["val_query", "val_gallery"] * 2, camera=["C", "A"] * 2,
    )  # fmt: skip
    both = pd.concat([manifest, more])
    save_manifest(both, Path("data/toy/manifest.parquet"))
    image = encode_png(np.zeros((32, 16, 3), np.uint8))
    columns = {"image_id": sorted(both["image_id"]), "image": [image] * 8}
    write_shard(Path("data/toy/images/images-00000.arrow"), columns, IMAGE_SCHEMA, {"dataset": "toy"})
    result = CliRunner().invoke(train.app, ["best"])
    assert result.exit_code == 0, result.output
    config = json.loads(Path("runs/best/seed-5/config.json").read_text())
    assert config["selected"] == "validation"
    scores = pd.read_csv("runs/best/seed-5/history.csv")["validation"]
    assert scores.between(0, 1).all()
    assert config["epoch"] == scores.argmax()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wide", "error: batches of 3 identities need as many subjects, the training set has 2"),
        ("paired", "error: generated/none: the set is empty, mode 'paired' needs variants"),
        ("lost", "error: data/lost: no such manifest"),
        ("best", "error: data/toy: no images of splits val, or val_query and val_gallery, to validate on; use last"),
        ("own", "error: own.py: no such file; expected a Python file that registers a model"),
        (
            "unknown",
            "error: params.yaml: runs has no 'unknown'; it has best, lost, own, own-seeds, paired, plain, two, wide",
        ),
    ],
)
def test_impossible_runs_are_one_line(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["train", name])
    with pytest.raises(SystemExit) as info:
        run_stage(train.app)
    assert info.value.code == 1
    assert capsys.readouterr().err.splitlines() == [message]
    assert not Path("runs").exists()
