"""Whole small runs: outputs, resuming after SIGKILL with the same bytes, and runs that must stop."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from dlcr.reid import Recipe, load_model, train_run
from dlcr.reid.checkpoints import load_checkpoint
from dlcr.reid.models import base
from dlcr.runtime import determinism

RECIPE = Recipe(
    model="cal-mini",
    size=(32, 16),
    epochs=5,
    learning_rate=1e-3,
    weight_decay=5e-4,
    milestones=(2, 4),
    identities=2,
    images=2,
    mode="progressive",
    progressive_every=1,
    precision="bfloat16",
    settings={"clothes_from_epoch": 1},
)
KILLED = """
from pathlib import Path
import sys
from dlcr.reid import Recipe, train_run
from dlcr.runtime import determinism
determinism.set_up(1)
recipe = eval(sys.argv[1], {"Recipe": Recipe})
train_run("r", recipe, Path("data/toy"), Path("generated/toyset"), [3], Path("runs/r"))
"""


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    determinism.set_up(1)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_run_leaves_its_outputs_only(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy(skipped=((0, 0), (1, 0), (2, 0)))
    facts = train_run("r", RECIPE, dataset, generated, [0, 1], tmp_path / "runs/r")
    folder = tmp_path / "runs/r/seed-0"
    assert sorted(_bytes(folder)) == ["config.json", "history.csv", "model.safetensors"]
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert history["learning_rate"].tolist() == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    assert history["variants"].tolist() == [1, 1, 2, 3, 3]
    assert history["replaced"].tolist() == [1, 1, 1, 1, 1]  # image 0 has no variant at all
    assert history["adversarial"].isna().tolist() == [True, False, False, False, False]
    assert set(facts) == {"epoch_seconds", "images_per_second", "peak_memory_mb", "seconds"}
    assert not any((tmp_path / ".dlcr/checkpoints").iterdir())
    assert (tmp_path / ".dlcr/timings/train@r.json").is_file()
    assert _bytes(folder)["model.safetensors"] != _bytes(tmp_path / "runs/r/seed-1")["model.safetensors"]

    model = load_model(folder)
    assert model.size == (32, 16)
    assert not model.training
    assert model(torch.zeros(2, 3, 32, 16)).shape == (2, model.neck.num_features)


@pytest.mark.parametrize("mode", ["none", "concat", "paired"])
def test_every_mode_trains(make_toy, tmp_path: Path, mode: str) -> None:
    dataset, generated = make_toy()
    train_run("r", replace(RECIPE, mode=mode, epochs=2, k=2), dataset, generated, [0], tmp_path / "runs/r")
    history = pd.read_csv(tmp_path / "runs/r/seed-0/history.csv")
    assert history["variants"].tolist() == [0 if mode == "none" else 2] * 2
    assert history["identity"].notna().all()


def test_only_the_clothes_head_keeps_its_rate(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Adam, *args: object) -> object:
        rates.append((len(self.param_groups[0]["params"]) == 1, self.param_groups[0]["lr"]))
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    dataset, generated = make_toy()
    train_run("r", replace(RECIPE, milestones=(1,), epochs=2), dataset, generated, [0], tmp_path / "runs/r")
    assert {rate for clothes, rate in rates if clothes} == {1e-3}
    assert sorted({rate for clothes, rate in rates if not clothes}) == pytest.approx([1e-4, 1e-3])


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bytes(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    recipe = replace(RECIPE, epochs=40)
    arguments = [sys.executable, "-c", KILLED, repr(recipe)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not (found := list(tmp_path.glob(".dlcr/checkpoints/*/seed-3.pt"))) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(torch.load(found[0], weights_only=True)["history"])
    assert 0 < done < 40
    facts = train_run("r", recipe, dataset, generated, [3], tmp_path / "runs/resumed")
    assert facts["epoch_seconds"] > 0
    assert "seconds" not in facts  # of the whole training this call knows nothing
    train_run("r", recipe, dataset, generated, [3], tmp_path / "runs/whole")
    assert _bytes(tmp_path / "runs/resumed/seed-3") == _bytes(tmp_path / "runs/whole/seed-3")


@pytest.mark.slow
def test_processes_give_the_same_bytes_as_one(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    train_run("r", RECIPE, dataset, generated, [0, 1], tmp_path / "runs/one")
    determinism.set_up(2)
    train_run("r", RECIPE, dataset, generated, [0, 1], tmp_path / "runs/two")
    for seed in (0, 1):
        assert _bytes(tmp_path / f"runs/one/seed-{seed}") == _bytes(tmp_path / f"runs/two/seed-{seed}")


def test_a_loss_that_is_no_number_stops_the_run(make_toy, tmp_path: Path) -> None:
    class Broken(base.ReidModel):
        def __init__(self, subjects: int, clothes: list[int]) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def train_step(self, batch: base.Batch, epoch: float, step: base.Step) -> dict[str, float]:
            step("main", self.weight * (torch.nan if epoch == 1 else 1))
            return {"loss": 1.0}

    dataset, generated = make_toy()
    base.register_model("broken")(Broken)
    try:
        with pytest.raises(
            ValueError, match=r"the loss of 'main' is nan \(seed 7, epoch 1, batch of .*\.png variant \d"
        ) as info:
            train_run(
                "r",
                replace(RECIPE, model="broken", settings={}),
                dataset,
                generated,
                [7],
                tmp_path / "runs/r",
            )
    finally:
        del base._REGISTRY["broken"]
    assert str(info.value).count(".png") == 8
    assert not (tmp_path / "runs").exists()


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
        train_run("r", replace(RECIPE, **changes), dataset, generated, [0], tmp_path / "runs/r")


def test_subjects_with_one_image_train(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy((1, 1, 1))
    train_run("r", replace(RECIPE, epochs=1), dataset, generated, [0], tmp_path / "runs/r")
    assert (tmp_path / "runs/r/seed-0/model.safetensors").is_file()


def test_loading_what_is_not_there_or_another_model(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy()
    train_run("r", replace(RECIPE, epochs=1), dataset, generated, [0], tmp_path / "runs/r")
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


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seed-0.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"seed-0.pt: damaged checkpoint"):
        load_checkpoint(path, base.ReidModel(), {})
