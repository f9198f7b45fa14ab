"""Nothing is trained twice: seeds grow like K, in another clone too, and a stopped run keeps what it has."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
from reid.test_training import RECIPE, RUN, Stopped, but, facts_of, file_bytes, forget, train_toy

from dlcr.reid import seed, train
from dlcr.reid.train import train_run
from dlcr.runtime import determinism
from dlcr.runtime.earlier import EarlierFile


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    determinism.set_up(1)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds whose epochs are trained from here on, once each."""
    seeds: list[int] = []
    train_epoch = seed._train_epoch

    def noted(job: seed.Job, *arguments: object) -> tuple[float, float]:
        seeds.extend([job.seed] if job.seed not in seeds else [])
        return train_epoch(job, *arguments)

    monkeypatch.setattr(seed, "_train_epoch", noted)
    return seeds


def test_seeds_grow(make_toy, tmp_path: Path, trained: list[int], capsys: pytest.CaptureFixture) -> None:
    """Only new seeds are trained, and a seed's bytes do not depend on which others there are."""
    dataset, generated = make_toy()
    recipe, output = but(RECIPE, epochs=2), tmp_path / "runs/r"
    train_toy(recipe, dataset, generated, [0, 1], output)
    two = file_bytes(output)
    shutil.rmtree(output)  # as DVC does before it runs a stage
    train_toy(recipe, dataset, generated, [3, 0, 1, 2], output)
    assert trained == [0, 1, 3, 2]
    assert two.items() <= file_bytes(output).items()
    assert "seconds" not in facts_of(tmp_path)
    four = file_bytes(output)
    shutil.rmtree(output)
    train_toy(recipe, dataset, generated, [1, 3], output)
    assert len(trained) == 4
    assert file_bytes(output) == {name: data for name, data in four.items() if name[:6] in ("seed-1", "seed-3")}
    assert "r: no seed to train, 2 taken from the store" in capsys.readouterr().out
    forget(tmp_path)
    shutil.rmtree(output)
    train_toy(recipe, dataset, generated, [2], output)
    assert file_bytes(output / "seed-2") == {
        name.removeprefix("seed-2/"): data for name, data in four.items() if name.startswith("seed-2/")
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda recipe, run: (but(recipe, learning_rate=2e-3), run),
        lambda recipe, run: (recipe, but(run, k=2)),
        lambda recipe, run: (but(recipe, settings={"clothes_from_epoch": 0}), run),
    ],
)
def test_other_settings_train_anew(make_toy, tmp_path: Path, trained: list[int], change) -> None:
    dataset, generated = make_toy()
    recipe, run = but(RECIPE, epochs=1), RUN
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r", run)
    trained.clear()
    recipe, run = change(recipe, run)
    train_toy(recipe, dataset, generated, [0], tmp_path / "runs/r", run)
    assert trained == [0]


def test_a_damaged_seed_is_trained_again(make_toy, tmp_path: Path, trained: list[int]) -> None:
    dataset, generated = make_toy()
    recipe, output = but(RECIPE, epochs=1), tmp_path / "runs/r"
    train_toy(recipe, dataset, generated, [0], output)
    whole = file_bytes(output)
    weights = (output / "seed-0/model.safetensors").stat().st_ino
    kept = next(path for path in (tmp_path / ".dlcr/store/objects").rglob("*") if path.stat().st_ino == weights)
    shutil.rmtree(output)
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    trained.clear()
    with pytest.warns(UserWarning, match="damaged or missing, it will be made again"):
        train_toy(recipe, dataset, generated, [0], output)
    assert trained == [0]
    assert file_bytes(output) == whole


def test_what_dvc_kept_is_taken(make_toy, tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """In another clone the store is empty, but DVC's cache has what dvc.lock names, and the code is the same."""
    dataset, generated = make_toy()
    recipes = {"one": but(RECIPE, epochs=1), "two": but(RECIPE, epochs=2)}
    output, cache = tmp_path / "runs/r", tmp_path / "cache"
    train_run("r", RUN, recipes, dataset, generated, [0], output)
    whole = file_bytes(output)
    shutil.move(output, cache)
    forget(tmp_path)
    kept = {name: EarlierFile(cache / name, hashlib.md5(data).hexdigest()) for name, data in whole.items()}
    monkeypatch.setattr(train, "earlier_files", lambda folder: kept)
    trained.clear()
    train_run("r", RUN, recipes, dataset, generated, [0], output)
    assert (trained, file_bytes(output)) == ([], whole)
    forget(tmp_path)
    shutil.rmtree(output)
    recipes["two"] = but(RECIPE, epochs=3)  # what it says of itself is another
    train_run("r", RUN, recipes, dataset, generated, [0, 1], output)
    assert trained == [1, 0]
    assert len(pd.read_csv(output / "two/seed-0/history.csv")) == 3


def test_stopped_ablations_keep_what_was_trained(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the second of two, the first one's outputs are written again without an epoch of training."""
    dataset, generated = make_toy()
    recipes = {"one": but(RECIPE, epochs=2), "two": but(RECIPE, epochs=1)}
    work = (RUN, recipes, dataset, generated, [0], tmp_path / "runs/r")
    trained, train_epoch = [], seed._train_epoch

    def counted(job: seed.Job, *arguments: object) -> tuple[float, float]:
        trained.append(job.output.name)
        if trained.count("two") == 1:
            raise Stopped
        return train_epoch(job, *arguments)

    monkeypatch.setattr(seed, "_train_epoch", counted)
    with pytest.raises(Stopped):
        train_run("r", *work)
    shutil.rmtree(tmp_path / "runs")  # as DVC does before it runs a stage
    trained.append("two")  # stop no more
    train_run("r", *work)
    assert trained == ["one", "one", "two", "two", "two"]
    assert not (tmp_path / ".dlcr/timings/train@r.json").exists()  # of the whole training this call knows nothing
    assert "seconds" not in facts_of(tmp_path, "r.two")
    forget(tmp_path)
    for name, recipe in recipes.items():
        train_toy(recipe, dataset, generated, [0], tmp_path / "runs" / name)
        assert file_bytes(tmp_path / "runs/r" / name / "seed-0") == file_bytes(tmp_path / "runs" / name / "seed-0")
    assert not list((tmp_path / ".dlcr/checkpoints").iterdir())
