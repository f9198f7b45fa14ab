"""Whole small runs: outputs, resuming after SIGKILL with the same bytes, and runs that must stop."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from reid.test_models import OWN
from safetensors.torch import load_file, save_file

from dlcr.data import load_manifest, save_manifest
from dlcr.params import Recipe, Run
from dlcr.reid import load_model, pixels, seed, train
from dlcr.reid.checkpoints import Progress
from dlcr.reid.models import base
from dlcr.reid.samples import load_samples
from dlcr.reid.train import train_run
from dlcr.runtime import determinism

RECIPE = Recipe(
    model="cal-mini",
    size=(32, 16),
    epochs=5,
    learning_rate=1e-3,
    weight_decay=5e-4,
    milestones=[2, 4],
    identities=2,
    images=2,
    progressive_every=1,
    precision="bfloat16",
    settings={"clothes_from_epoch": 1},
)
RUN = Run(dataset="toy", recipe="cal-mini", code="dlcr/reid/models", generated="toyset", mode="progressive")
KILLED = """
from pathlib import Path
import sys
from dlcr.params import Run, Recipe
from dlcr.reid import seed
from dlcr.reid.train import train_run
from dlcr.runtime import determinism
determinism.set_up(1)
seed.SAVE_SECONDS = 0.0
run, recipe = Run.model_validate_json(sys.argv[1]), Recipe.model_validate_json(sys.argv[2])
train_run("r", run, {"": recipe}, Path("data/toy"), Path("generated/toyset"), [3], Path("runs/r"))
"""


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    determinism.set_up(1)


def but(section: Recipe | Run, **changes: object) -> Recipe | Run:
    """A section with some of its values otherwise."""
    return section.model_copy(update=changes)


def train_toy(
    recipe: Recipe, dataset: Path, generated: Path, seeds: list[int], output: Path, run: Run = RUN, **others: object
) -> None:
    """`train_run` of one recipe, under the name r."""
    train_run("r", run, {"": recipe}, dataset, generated, seeds, output, **others)


def facts_of(root: Path, name: str = "r") -> dict[str, float]:
    """What was measured of a run; not where, and what that cost."""
    found = json.loads((root / f".dlcr/timings/train@{name}.json").read_text())
    return {key: value for key, value in found.items() if key not in ("stage", "name", "machine", "core_hours")}


def forget(root: Path) -> None:
    """Nothing that was trained is taken again."""
    shutil.rmtree(root / ".dlcr/store")


def file_bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_run_leaves_its_outputs_only(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy(skipped=((0, 0), (1, 0), (2, 0)))
    train_toy(RECIPE, dataset, generated, [0, 1], tmp_path / "runs/r")
    facts = facts_of(tmp_path)
    folder = tmp_path / "runs/r/seed-0"
    curves = [f"live/plots/metrics/{name}.tsv" for name in ("adversarial", "clothes", "identity", "learning_rate")]
    curves += ["live/plots/metrics/replaced.tsv", "live/plots/metrics/variants.tsv"]
    assert sorted(file_bytes(folder)) == [
        "config.json",
        "history.csv",
        "live/metrics.json",
        *curves,
        "model.safetensors",
    ]
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert history["learning_rate"].tolist() == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    assert history["variants"].tolist() == [1, 1, 2, 3, 3]
    assert history["replaced"].tolist() == [1, 1, 1, 1, 1]  # image 0 has no variant at all
    assert history["adversarial"].isna().tolist() == [True, False, False, False, False]
    assert set(facts) == {"epoch_seconds", "images_per_second", "waiting", "peak_memory_mb", "seconds"}
    assert 0 <= facts["waiting"] < 1
    assert not any((tmp_path / ".dlcr/checkpoints").iterdir())
    assert file_bytes(folder)["model.safetensors"] != file_bytes(tmp_path / "runs/r/seed-1")["model.safetensors"]

    model = load_model(folder)
    assert model.size == (32, 16)
    assert not model.training
    assert model(torch.zeros(2, 3, 32, 16)).shape == (2, model.neck.num_features)


@pytest.mark.parametrize("mode", ["none", "concat", "paired"])
def test_every_mode_trains(make_toy, tmp_path: Path, mode: str) -> None:
    dataset, generated = make_toy()
    run = but(RUN, mode=mode, k=2)
    train_toy(but(RECIPE, epochs=2), dataset, generated, [0], tmp_path / "runs/r", run)
    history = pd.read_csv(tmp_path / "runs/r/seed-0/history.csv")
    assert history["variants"].tolist() == [0 if mode == "none" else 2] * 2
    assert history["identity"].notna().all()


@pytest.mark.parametrize("mode", ["none", "progressive"])
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("pcb-mini", {"triplet_weight": 1.0}),
        ("hpm-mini", {"triplet_weight": 1.0}),
        ("mgn-mini", {"margin": 0.3}),
        ("aim-mini", {"clothes_from_epoch": 1}),
        ("ccfa-mini", {"phase_2_from": 1, "phase_3_from": 2}),
    ],
)
def test_every_model_trains_and_loads(make_toy, tmp_path: Path, model: str, settings: dict, mode: str) -> None:
    dataset, generated = make_toy()
    # in smaller maps oneDNN's bfloat16 convolution of stride 2 leaves numbers out where one column is left
    recipe = but(RECIPE, model=model, settings=settings, epochs=3, size=(48, 24))
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r", but(RUN, mode=mode))
    folder = tmp_path / "runs/r/seed-0"
    history = pd.read_csv(folder / "history.csv")
    assert np.isfinite(history["identity"].dropna()).all()
    assert history["identity"].notna().tolist() == [True, model != "ccfa-mini", True]
    features = load_model(folder)(torch.zeros(2, 3, 48, 24))
    assert features.ndim == 2
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("model", "steps"), [("c2d-mini", ("mirror",)), ("cal-mini", ("crop", "mirror", "erase"))])
def test_a_model_is_trained_with_its_own_augmentation(
    make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, steps: tuple[str, ...]
) -> None:
    asked, resized = set(), set()
    draw, augment, resize = seed.draw, seed.augment, pixels.resize
    monkeypatch.setattr(seed, "draw", lambda *arguments: asked.add(arguments[2]) or draw(*arguments))
    monkeypatch.setattr(seed, "augment", lambda *arguments: asked.add(arguments[3]) or augment(*arguments))
    monkeypatch.setattr(pixels, "resize", lambda *arguments: resized.add(arguments[2]) or resize(*arguments))
    dataset, generated = make_toy((16, 16, 16))
    manifest = load_manifest(dataset)
    tracklet = np.where(manifest["split"] == "train", manifest["subject"] + "-" + manifest["clothes"], "g")
    save_manifest(manifest.assign(tracklet=tracklet, frame=np.arange(len(manifest))), dataset / "manifest.parquet")
    recipe = but(RECIPE, model=model, settings={"clothes_from_epoch": 1}, epochs=1)
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r")
    assert asked == {steps}
    assert resized == {model == "c2d-mini"}  # bicubic


def test_clips_of_tracklets_train(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy((16, 16, 16), skipped=((0, 3), (1, 5)))
    manifest = load_manifest(dataset)
    tracklet = np.where(manifest["split"] == "train", manifest["subject"] + "-" + manifest["clothes"], "g")
    save_manifest(manifest.assign(tracklet=tracklet, frame=np.arange(len(manifest))), dataset / "manifest.parquet")
    recipe = but(RECIPE, model="c2d-mini", settings={"clothes_from_epoch": 1}, epochs=2)
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r")
    assert load_model(tmp_path / "runs/r/seed-0").frames == 8
    samples = load_samples(dataset, generated, "paired", frames=8)
    layers, rows = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1])
    for number in range(20):
        single = seed._clips(samples, layers, rows, 8, np.random.default_rng(number))
        pair = seed._clips(samples, np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1]), 8, np.random.default_rng(number))
        assert np.array_equal(pair[:2], pair[2:])
        for layer, image in [*zip(layers, single, strict=True), (1, pair[2]), (2, pair[3])]:
            assert layer == 0 or samples.made[layer - 1, image].all()


def test_only_the_clothes_head_keeps_its_rate(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Adam, *args: object) -> object:
        rates.append((len(self.param_groups[0]["params"]) == 1, self.param_groups[0]["lr"]))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    dataset, generated = make_toy()
    train_toy(but(RECIPE, milestones=[1], epochs=2), dataset, generated, [0], tmp_path / "runs/r")
    assert {rate for clothes, rate in rates if clothes} == {1e-3}
    assert sorted({rate for clothes, rate in rates if not clothes}) == pytest.approx([1e-4, 1e-3])


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    recipe = but(RECIPE, epochs=15)
    arguments = [sys.executable, "-c", KILLED, RUN.model_dump_json(), recipe.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not (found := list(tmp_path.glob(".dlcr/checkpoints/*/seed-3.pt"))) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = torch.load(found[0], weights_only=True)["progress"]
    assert len(done["history"]) < 15
    assert done["history"] or done["steps"]
    train_toy(recipe, dataset, generated, [3], tmp_path / "runs/resumed")
    facts = facts_of(tmp_path)
    assert facts["epoch_seconds"] > 0
    assert "seconds" not in facts  # of the whole training this call knows nothing
    forget(tmp_path)
    train_toy(recipe, dataset, generated, [3], tmp_path / "runs/whole")
    assert file_bytes(tmp_path / "runs/resumed/seed-3") == file_bytes(tmp_path / "runs/whole/seed-3")


@pytest.mark.slow
def test_processes_give_the_same_bytes_as_one(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, generated = make_toy()
    train_toy(RECIPE, dataset, generated, [0, 1], tmp_path / "runs/one")
    forget(tmp_path)
    monkeypatch.delenv("DLCR_WORKERS")
    monkeypatch.setattr(determinism, "core_count", lambda: 2)
    train_toy(RECIPE, dataset, generated, [0, 1], tmp_path / "runs/two")
    for folder in ("seed-0", "seed-1"):
        assert file_bytes(tmp_path / "runs/one" / folder) == file_bytes(tmp_path / "runs/two" / folder)


class Stopped(Exception):
    """Raised where a run is to end, as if it were killed there."""


@pytest.mark.parametrize("accumulate", [1, 2])
def test_stopped_after_any_step_it_ends_with_the_same_bytes(
    make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    dataset, generated = make_toy((8, 8))
    recipe = but(RECIPE, epochs=2, accumulate=accumulate)
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/whole")
    forget(tmp_path)
    monkeypatch.setattr(seed, "SAVE_SECONDS", 0.0)
    saved, stops = 0, []
    save = seed.save_checkpoint

    def save_and_stop(path: Path, model: base.ReidModel, optimizers: dict, progress: Progress) -> None:
        save(path, model, optimizers, progress)
        stops.append((len(progress.history), progress.steps))
        raise Stopped

    monkeypatch.setattr(seed, "save_checkpoint", save_and_stop)
    for _ in range(40):
        try:
            train_toy(recipe, dataset, generated, [0], tmp_path / "runs/stopped")
            break
        except Stopped:
            saved += 1
    expected = [(epoch, step) for epoch in (0, 1) for step in range(accumulate, 4, accumulate)] + [(1, 0), (2, 0)]
    assert sorted(stops) == sorted(expected)
    assert saved == len(expected)
    assert file_bytes(tmp_path / "runs/stopped/seed-0") == file_bytes(tmp_path / "runs/whole/seed-0")


def test_pixels_from_the_shards_give_the_same_bytes_as_the_cache(
    make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, generated = make_toy()
    train_toy(RECIPE, dataset, generated, [0], tmp_path / "runs/cached")
    forget(tmp_path)
    monkeypatch.setattr(train, "fits", lambda *_: False)
    train_toy(RECIPE, dataset, generated, [0], tmp_path / "runs/decoded")
    assert file_bytes(tmp_path / "runs/cached/seed-0") == file_bytes(tmp_path / "runs/decoded/seed-0")


def test_the_best_epoch_on_validation_is_kept(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    scores, weights = iter([0.2, 0.6, 0.6, 0.1, 0.5]), []

    def validate(model: base.ReidModel) -> float:
        assert model.size == (32, 16)
        weights.append(model.identity_head.weight.detach().clone())
        model.eval()
        return next(scores)

    train_toy(RECIPE, dataset, generated, [0], tmp_path / "runs/r", validate=validate)
    folder = tmp_path / "runs/r/seed-0"
    config = json.loads((folder / "config.json").read_text())
    assert (config["epoch"], config["selected"]) == (1, "validation")
    assert torch.equal(load_file(folder / "model.safetensors")["identity_head.weight"], weights[1])
    assert pd.read_csv(folder / "history.csv")["validation"].tolist() == [0.2, 0.6, 0.6, 0.1, 0.5]


def test_warm_up_rises_to_the_rate(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    recipe = but(RECIPE, warmup=3, milestones=[4])
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r")
    rates = pd.read_csv(tmp_path / "runs/r/seed-0/history.csv")["learning_rate"]
    assert rates.tolist() == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-4])


@pytest.mark.usefixtures("own_models")
def test_a_model_of_ones_own_trains_and_loads(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    own = tmp_path / "own.py"
    own.write_text(OWN)
    recipe = but(RECIPE, model="own", settings={})
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r", but(RUN, code=str(own)))
    own.unlink()
    del base._REGISTRY["own"], sys.modules[f"dlcr_own_{hashlib.sha256(OWN.encode()).hexdigest()}"]
    with pytest.raises(ValueError, match=r"no model named 'own'.*model.py is run only for a run whose `code` names"):
        load_model(tmp_path / "runs/r/seed-0")
    assert load_model(tmp_path / "runs/r/seed-0", run_code=True)(torch.zeros(1, 3, 32, 16)).shape == (1, 48)


def test_a_loss_that_is_no_number_stops_the_run(make_toy, tmp_path: Path) -> None:
    class Broken(base.ReidModel):
        def __init__(self, subjects: int, clothes: list[int]) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

            self.body = torch.nn.Identity()

        def train_step(self, maps: base.Maps, batch: base.Batch, epoch: int, step: base.Step) -> dict[str, float]:
            step(self.weight * (torch.nan if epoch == 1 else 1), "main")
            return {"loss": 1.0}

    dataset, generated = make_toy()
    recipe = but(RECIPE, model="broken", settings={})
    base.register_model("broken")(Broken)
    try:
        with pytest.raises(
            ValueError, match=r"the loss of 'main' is nan \(seed 7, epoch 1, batch of .*\.png variant \d"
        ) as info:
            train_toy(recipe, dataset, generated, [7], tmp_path / "runs/r")
    finally:
        del base._REGISTRY["broken"]
    assert str(info.value).count(".png") == 8
    assert not (tmp_path / "runs/r/seed-7/model.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identities": 4}, "batches of 4 identities need as many subjects, the training set has 3"),
        ({"model": "cla"}, "no model named 'cla'"),
        ({"settings": {"smooth": 1}}, "unknown setting 'smooth'"),
    ],
)
def test_impossible_recipes(make_toy, tmp_path: Path, changes: dict, message: str) -> None:
    dataset, generated = make_toy()
    with pytest.raises(ValueError, match=message):
        train_toy(but(RECIPE, **changes), dataset, generated, [0], tmp_path / "runs/r")


def test_loading_what_is_not_there_or_another_model(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    train_toy(but(RECIPE, epochs=1), dataset, generated, [0], tmp_path / "runs/r")
    folder = tmp_path / "runs/r/seed-0"
    weights, config = folder / "model.safetensors", folder / "config.json"
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if name != "neck.weight"}, weights)
    with pytest.raises(ValueError, match=r"model.safetensors: not the weights of a 'cal-mini' model: .*neck.weight"):
        load_model(folder)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model.safetensors: not the weights"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors: no such file"):
        load_model(folder)
    weights.touch()
    config.write_text('{"model": "cal-mini"}')
    with pytest.raises(ValueError, match=r"config.json: not the description of a trained model"):
        load_model(folder)
