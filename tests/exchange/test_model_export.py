"""`dlcr export-model`: what comes out is the run's model, in PyTorch, in a plain ONNX Runtime and on a hub."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from clones import export
from exchange.trained_runs import SIZE, write_run
from exchange.upload_hub import serve_uploads
from huggingface_hub import metadata_load
from PIL import Image
from typer.testing import CliRunner, Result

from dlcr.cli import app
from dlcr.evaluation.features import extract_features
from dlcr.exchange import model_export, onnx_files
from dlcr.exchange.model_export import write_model
from dlcr.params import load_params
from dlcr.reid import load_model
from dlcr.reporting.lineage import folder_md5

MODELS = ["cal-mini", "pcb-mini", "mgn-mini", "hpm-mini", "aim-mini", "ccfa-mini"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_run(tmp_path / "runs/mine/seed-0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["export-model", *words])


def made_up(count: int) -> list[np.ndarray]:
    """Pictures of any sizes."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (60 + 9 * n, 31 + 5 * n, 3), dtype=np.uint8) for n in range(count)]


@pytest.mark.parametrize("name", MODELS)
def test_a_plain_onnx_runtime_gives_the_features(tmp_path: Path, name: str) -> None:
    """By the card's recipe alone: resize as preprocessing.json says, and run; one picture or several."""
    write_run(tmp_path / "run", name)
    said = write_model(tmp_path / "run", tmp_path / "out", with_onnx=True)
    assert float(said.rpartition(" ")[2]) < 1e-5
    facts = json.loads((tmp_path / "out/preprocessing.json").read_text())
    height, width = facts["size"]["height"], facts["size"]["width"]
    kind = getattr(Image.Resampling, facts["resize"].upper())
    pictures = made_up(3)
    inputs = np.stack([np.asarray(Image.fromarray(picture).resize((width, height), kind)) for picture in pictures])
    session = onnxruntime.InferenceSession(tmp_path / "out" / facts["onnx"]["file"])
    model = load_model(tmp_path / "out")
    expected = extract_features(model, pictures, model.size, desc=None)
    for images in (inputs, inputs[:1]):
        found = session.run(None, {facts["onnx"]["input"]["name"]: images})[0]
        assert (found.dtype, list(found.shape)) == (np.float32, [len(images), facts["onnx"]["output"]["shape"][1]])
        np.testing.assert_allclose(found, expected[: len(images)], atol=1e-5)
    # the other description of the same, for whoever has the weights alone
    colours = (inputs / 255 - facts["mean"]) / facts["std"]
    tensor = torch.from_numpy(colours).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        by_hand = model(tensor) + model(tensor.flip(3))
    np.testing.assert_allclose(torch.nn.functional.normalize(by_hand), expected, atol=1e-5)


def test_the_weights_are_the_runs_own(place: Path) -> None:
    """An exported folder is a RUN of the other commands, without ONNX as well."""
    done = run("mine", "--to", "safetensors")
    assert done.exit_code == 0, done.exception
    out = place / "exported/mine/seed-0"
    assert "it is in exported/mine/seed-0" in done.stdout
    names = ["README.md", "config.json", "model.safetensors", "preprocessing.json", "provenance.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    for name in ("config.json", "model.safetensors"):
        assert (out / name).read_bytes() == (place / "runs/mine/seed-0" / name).read_bytes()
    assert "onnx" not in (out / "README.md").read_text()
    again = run("exported/mine/seed-0", "--to", "onnx", "--out", "again")
    assert again.exit_code == 0, again.exception
    assert (place / "again/model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_models_of_clips_have_weights_alone(place: Path) -> None:
    write_run(place / "runs/clips/seed-0", "c2d-mini")
    done = run("clips", "--to", "onnx")
    assert "a model of clips has no ONNX form here; `--to safetensors` exports it" in str(done.exception)
    assert not list(place.glob("exported/**/*.*"))
    assert run("clips", "--to", "safetensors").exit_code == 0
    assert json.loads((place / "exported/clips/seed-0/preprocessing.json").read_text())["frames"] == 8


def test_a_file_that_differs_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the colours' order or scale is another one in the graph."""
    monkeypatch.setattr(onnx_files, "normalise", lambda images: images.permute(0, 3, 1, 2).float() / 255)
    done = run("mine", "--to", "onnx", "--out", "out")
    assert re.search(r"differ from PyTorch's by up to \d\.\de-0[0-3], above 1e-04", str(done.exception))
    assert [path.name for path in place.iterdir()] == ["runs"]


def test_the_card_says_what_is_known(repository: Path, place: Path) -> None:
    """Scores and provenance of evaluations that dvc.lock says are of these weights; others are named, not shown."""
    (place / "runs/mine").rename(place / "runs/progressive")
    (place / "params.yaml").write_bytes((repository / "profiles/minicc.yaml").read_bytes())
    export(repository, place, "evaluations/progressive", "evaluations/progressive-on-night", "dvc.lock")
    lock = (place / "dvc.lock").read_text()
    assert run("progressive", "--to", "safetensors", "--out", "other").exit_code == 0
    text = (place / "other/README.md").read_text()
    assert "does not say that they are of these weights: progressive, progressive-on-night" in text
    assert "| progressive |" not in text
    theirs = re.search(r"path: runs/progressive\n\s+hash: md5\n\s+md5: (\w+\.dir)", lock)[1]
    (place / "dvc.lock").write_text(lock.replace(theirs, folder_md5(place / "runs/progressive")))
    assert run("progressive", "--to", "safetensors", "--out", "own").exit_code == 0
    text = (place / "own/README.md").read_text()
    scores = json.loads((place / "evaluations/progressive/scores.json").read_text())
    own, mean, std = scores["seeds"]["0"]["cc"], scores["mean"]["cc"], scores["std"]["cc"]
    cells = [f"{own['top1']:.1f}", f"{own['map']:.1f}"]
    cells += [f"{mean[key]:.1f} ± {std[key]:.1f}" for key in ("top1", "map")]
    assert f"| progressive | cc | {' | '.join(cells)} |" in text
    assert "- Generated set: inpainting" in text
    assert "Trained on minicc (MiniCC), with the generated set inpainting." in text
    kept = json.loads((place / "own/provenance.json").read_text())["evaluations"]
    assert kept["progressive"]["data"]["runs/progressive"] == folder_md5(place / "runs/progressive")
    assert "baseline" not in kept
    header = metadata_load(place / "own/README.md")
    assert header["library_name"] == "dlcr"
    assert header["pipeline_tag"] == "image-feature-extraction"


def test_the_example_of_the_card_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("mine", "--to", "onnx", "--out", "out").exit_code == 0
    picture = made_up(1)[0]
    Image.fromarray(picture).save(place / "out/x.png")
    monkeypatch.chdir(place / "out")
    examples = re.findall(r"```python\n(.*?)```", (place / "out/README.md").read_text(), re.DOTALL)
    names: dict = {"FILE": "x.png", "images": [picture]}
    exec(compile(examples[0].replace("FOLDER", "."), "README.md", "exec"), names)
    expected = names["features"]
    exec(compile(examples[1], "README.md", "exec"), names)
    np.testing.assert_allclose(names["features"], expected, atol=1e-5)
    assert names["picture"].size == SIZE[::-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine", "--to", "tflite"], "--to tflite: expected one of onnx, safetensors, hub"),
        (["theirs", "--to", "onnx"], "RUN theirs: no trained model; runs/ holds mine, nan"),
        (["mine", "--to", "onnx", "--out", "runs"], "runs: is there already"),
        (["mine", "--to", "hub"], "`--to hub` needs --repo owner/name"),
        (["mine", "--to", "onnx", "--repo", "me/model"], "nothing else takes it"),
        (["mine", "--to", "hub", "--repo", "me/model", "--out", "x"], "--out: `--to hub` keeps no folder"),
        (["mine", "--to", "hub", "--repo", "model"], "--repo model: expected owner/name"),
        (["mine", "--to", "hub", "--repo", "me/mo del"], "--repo me/mo del: Repo id must"),
        (["mine", "--to", "hub", "--repo", "me/model"], "me/model: cannot be pushed"),  # tests are offline
        (["nan", "--to", "onnx"], "are not finite"),
    ],
)
def test_mistakes_write_nothing(place: Path, words: list[str], message: str) -> None:
    write_run(place / "runs/nan/seed-0", spoil=True)
    done = run(*words)
    assert isinstance(done.exception, ValueError | OSError)
    assert message in str(done.exception)
    assert not (place / "exported/mine").exists()
    assert [path for path in place.rglob("*.part")] == []


def test_a_missing_package_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    done = run("mine", "--to", "onnx")
    assert str(done.exception) == "ONNX needs onnxruntime: pip install 'dlcr[onnx]'"
    assert run("mine", "--to", "safetensors").exit_code == 0


def test_private_runs_are_not_pushed(repository: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "params.yaml").write_bytes((repository / "profiles/ltcc.yaml").read_bytes())
    name = next(iter(load_params().private.runs))
    (place / "runs/mine").rename(place / "runs" / name)
    monkeypatch.setattr(model_export, "push", lambda *_: pytest.fail("it was pushed"))
    done = run(name, "--to", "hub", "--repo", "me/model")
    assert "is private in params.yaml, or made from what is; it is not pushed" in str(done.exception)


def test_it_is_pushed_to_a_hub(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_uploads("secret") as (address, repositories, created):
        # what HF_ENDPOINT and HF_HUB_OFFLINE set when the library is imported
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        for token in ("wrong", "secret"):
            monkeypatch.setenv("HF_TOKEN", token)
            done = run("mine", "--to", "hub", "--repo", "me/model")
            if token == "wrong":
                assert str(done.exception).startswith("me/model: cannot be pushed: Client error '401 Unauthorized'")
                assert repositories == {}
    assert done.exit_code == 0, done.exception
    assert f"it is at {address}/me/model/commit/" in done.stdout
    assert [(one["name"], one["organization"], one.get("visibility", "private")) for one in created] == [
        ("model", "me", "private")
    ]
    files = repositories["me/model"]
    assert {"model.onnx", "model.safetensors", "config.json", "README.md", "preprocessing.json"} <= files.keys()
    (place / "down").mkdir()
    for name, content in files.items():
        (place / "down" / name).write_bytes(content)
    pictures = made_up(2)
    ours, theirs = load_model("runs/mine/seed-0"), load_model("down")
    np.testing.assert_array_equal(*(extract_features(one, pictures, one.size, desc=None) for one in (ours, theirs)))
    assert not (place / "exported").exists()
