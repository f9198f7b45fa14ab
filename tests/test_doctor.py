"""`dlcr doctor`: each thing that a stage needs, there and missing, with what to do."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from hubs import publish
from huggingface_hub import constants
from safetensors.torch import save_file
from typer.testing import CliRunner

from dlcr import doctor
from dlcr.cli import app
from dlcr.data import save_manifest
from dlcr.doctor import Finding
from dlcr.params import Params, load_params, weight_names
from dlcr.runtime.weights import NETWORK, PIPELINE, download_command

IMAGE = "sha256:" + 32 * "ab"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without images, an empty cache of models, and programs of this test alone first on PATH."""
    root = tmp_path / "dlcr"
    (root / "containers").mkdir(parents=True)
    record(root, None)
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path / "nvidiactl")
    monkeypatch.chdir(root)
    return root


def record(root: Path, image: str | None) -> None:
    content = dict.fromkeys(doctor.FAMILIES, image)
    (root / "containers" / "images.yaml").write_text(yaml.safe_dump(content))


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def profile(repository: Path, name: str) -> Params:
    return load_params(repository / "profiles" / f"{name}.yaml")


def states(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.subject, finding.state) for finding in found]


# --- engines


def test_an_unknown_engine(root: Path) -> None:
    (found,) = doctor.check_engine("lxc", root)
    assert (found.state, found.found) == ("problem", "DLCR_ENGINE=lxc")
    assert "none, docker, podman or apptainer" in found.advice


def test_without_an_engine_the_python_on_path_counts(root: Path, tmp_path: Path) -> None:
    program(tmp_path / "programs" / "python", f'exec {sys.executable} "$@"')
    assert states(list(doctor.check_engine("none", root))) == [("engine", "ok")]
    program(tmp_path / "programs" / "python", "echo torch diffusers")
    (found,) = doctor.check_engine("none", root)
    assert found.state == "problem"
    assert "without torch diffusers" in found.found
    assert f"{sys.prefix}/bin/activate" in found.advice


def test_recorded_images_that_nothing_runs_in(root: Path, tmp_path: Path) -> None:
    program(tmp_path / "programs" / "python", "echo")
    record(root, IMAGE)
    _, images = doctor.check_engine("none", root)
    assert images.state == "warning"
    assert "set DLCR_ENGINE" in images.advice


def test_an_engine_that_is_not_there_or_does_not_answer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "programs" / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(root.parent / "programs"))
    assert [found.found for found in doctor.check_engine("docker", root)] == ["no docker on PATH"]
    program(root.parent / "programs" / "docker", 'test "$1" = --version && echo "Docker version 28"')
    assert [found.found for found in doctor.check_engine("docker", root)] == ["docker does not answer"]


def test_images_are_tried(root: Path, tmp_path: Path) -> None:
    program(tmp_path / "programs" / "podman", "echo podman version 5")
    program(
        root / "containers" / "run",
        'test "$DLCR_ENGINE $1 $2" != "podman reid true" || { echo "error: gone" >&2; exit 1; }',
    )
    record(root, IMAGE)
    engine, *images = doctor.check_engine("podman", root)
    assert engine == Finding("engine", "ok", "podman version 5")
    assert states(images) == [("image vision", "ok"), ("image reid", "problem"), ("image report", "ok")]
    assert re.fullmatch(r"sha256:abababababab starts in \d\.\d s", images[0].found)
    assert images[1].found == "error: gone"
    assert "DLCR_ENGINE=podman make images" in images[1].advice


# --- GPU, memory, disk


def test_a_gpu_is_missing_only_to_large_models(root: Path) -> None:
    assert doctor.check_gpu("none", False, root).state == "ok"
    assert doctor.check_gpu("none", True, root).state == "warning"


@pytest.mark.parametrize(
    ("printed", "large", "state"),
    [("80", True, "ok"), ("8", True, "warning"), ("8", False, "ok"), ("False", True, "problem")],
)
def test_a_gpu_as_torch_sees_it(root: Path, printed: str, large: bool, state: str) -> None:
    (root.parent / "nvidiactl").touch()
    program(root / "containers" / "run", f'test "$1 $2 $3" = "vision python -c" && echo {printed}')
    assert doctor.check_gpu("none", large, root).state == state


@pytest.mark.parametrize(("engine", "advice"), [("docker", "Container Toolkit"), ("podman", "nvidia-ctk cdi generate")])
def test_a_gpu_that_containers_do_not_get(root: Path, engine: str, advice: str) -> None:
    (root.parent / "nvidiactl").touch()
    program(root / "containers" / "run", "exit 125")
    found = doctor.check_gpu(engine, False, root)
    assert found.state == "problem"
    assert advice in found.advice


def test_half_precision_needs_a_gpu(root: Path, repository: Path) -> None:
    """Where something is inpainted: the profile's other sets are made without a network."""
    params = profile(repository, "prcc")
    (found,) = doctor.check_dtype(params)
    assert (found.state, found.found) == ("problem", "float16 needs a GPU")
    colour = {"generated": {"colour": params.generated["colour"]}}
    assert list(doctor.check_dtype(params.model_copy(update=colour))) == []
    for name in ("minicc", "smoke"):
        assert list(doctor.check_dtype(profile(repository, name))) == []
    (root.parent / "nvidiactl").touch()
    assert list(doctor.check_dtype(params)) == []


def test_a_table_that_the_report_does_not_have(repository: Path) -> None:
    params = profile(repository, "minicc")
    assert list(doctor.check_tables(params)) == []
    wrong = params.report.model_copy(update={"tables": {"a9": {}}})
    (found,) = doctor.check_tables(params.model_copy(update={"report": wrong}))
    assert (found.state, "report.tables.a9: no such table" in found.found) == ("problem", True)


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_memory(large=False).state == "ok"
    monkeypatch.setitem(doctor.MEMORY_GB, "hub", 1_000_000)
    assert doctor.check_memory(large=True).state == "warning"


def test_bytes_of_generated_sets(root: Path, repository: Path) -> None:
    """Before `prepare` by the published counts, afterwards by the images that are there."""
    smoke = profile(repository, "smoke")
    assert doctor.generated_bytes(smoke, root) == ((2 + 2 + 2 + 1 + 1) * 36 + 2 * 12) * 96 * 48 * 2
    prcc = profile(repository, "prcc")
    variants = sum(item.k or prcc.k for item in prcc.generated.values() if item.split == "train")
    assert doctor.generated_bytes(prcc, root) == (variants * 17_896 + 6 * 3_543) * 256 * 128 * 2
    row = {"image_id": "a", "subject": "1", "clothes": "1", "camera": "A", "split": "train", "tracklet": "", "frame": 0}
    save_manifest(pd.DataFrame([row | {"width": 48, "height": 96}]), root / "data" / "minicc" / "manifest.parquet")
    assert doctor.generated_bytes(smoke, root) == 8 * 96 * 48 * 2


def test_disk(root: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = profile(repository, "smoke")
    assert doctor.check_disk(params, root).state == "ok"
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    found = doctor.check_disk(params, root)
    assert found.state == "warning"
    assert "lower k" in found.advice


# --- weights


@pytest.mark.parametrize("name", ["minicc", "prcc", "prcc-models", "prcc-sdxl", "prcc-klein", "paper"])
def test_every_model_of_a_profile_is_looked_for(repository: Path, name: str) -> None:
    text = (repository / "profiles" / f"{name}.yaml").read_text()
    hub = set(re.findall(r"[\w.-]+/[\w.-]+@[\w.-]+(?::[\w./-]+)?", text))
    found = set(weight_names(profile(repository, name)).values())
    assert hub <= found
    assert {value for value in found if "@" in value} == hub


def test_local_weights_are_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    found = list(doctor.check_weights(profile(repository, "minicc"), "none"))
    assert {finding.state for finding in found} == {"ok"}
    assert len(found) == len({finding.found for finding in found}) == 8


def in_the_cache(root: Path, repository: str, *files: str) -> None:
    folder = root.parent / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123")
    for name in files:
        path = folder / "snapshots" / "0123" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        if path.suffix == ".safetensors":
            save_file({}, path)


def test_weights_of_a_hub(root: Path) -> None:
    problem, advice = doctor._missing("owner/name@main", NETWORK, "none")
    assert problem == "owner/name@main: not in the cache"
    assert advice.startswith("hf download owner/name --revision main --exclude '*.bin'")
    in_the_cache(root, "owner/name", "config.json", "model.safetensors")
    assert doctor._missing("owner/name@main", NETWORK, "none") == ("", "")
    in_the_cache(root, "owner/pickled", "config.json", "model.bin")
    problem, advice = doctor._missing("owner/pickled@main", NETWORK, "none")
    assert problem.startswith("owner/pickled@main: no model.safetensors, only model.bin; weights are loaded as")
    assert advice.startswith("name another model in params.yaml")


def test_its_own_advice_is_enough(root: Path) -> None:
    """Version 2 of the hub's client lists the files that were left out beside those that it downloaded."""
    origin, cache = root.parent / "origin", root.parent / "hub"
    folder = origin / "owner" / "name"
    names = ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json",
             "tokenizer/tokenizer_config.json", "tokenizer/vocab.json")  # fmt: skip
    for name in (*names, *(f"{part}.bin" for part in PIPELINE.parts), "safety_checker/model.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    for part in PIPELINE.parts:
        save_file({}, folder / f"{part}.fp16.safetensors")
    index = {key: ["library", classes[0]] for key, classes in PIPELINE.classes.items()}
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": PIPELINE.classes["_class_name"][0]}))
    problem, advice = doctor._missing("owner/name@main", PIPELINE, "podman")
    assert problem == "owner/name@main: not in the cache"
    program, *rest = shlex.split(advice.removeprefix("containers/run --network vision "))
    excluded = [pattern for option, pattern in pairwise(rest) if option == "--exclude"]
    assert (program, rest[:4]) == ("hf", ["download", "owner/name", "--revision", "main"])
    publish(origin, "owner/name", cache, [*excluded, "unet/*.fp16.*", "vae/*.json"])
    problem, again = doctor._missing("owner/name@main", PIPELINE, "podman")
    assert problem == "owner/name@main: not in the cache: vae/config.json and 1 more"
    assert again == advice
    publish(origin, "owner/name", cache, excluded)
    assert doctor._missing("owner/name@main", PIPELINE, "podman") == ("", "")
    other = index | {"_class_name": "StableDiffusionXLInpaintPipeline"}
    (folder / "model_index.json").write_text(json.dumps(other))
    problem, advice = doctor._missing(str(folder), PIPELINE, "none")
    assert "says 'StableDiffusionXLInpaintPipeline' for _class_name" in problem
    assert advice == "name another model in params.yaml, or put a whole one there"


def test_an_inpainter_needs_the_files_of_its_own_family(tmp_path: Path) -> None:
    """Which one it is of says its index."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxFillPipeline"}')
    problem, _ = doctor._missing_inpainter(str(tmp_path), "none")
    assert problem.startswith(
        f"{tmp_path}: model_index.json says None for transformer, expected FluxTransformer2DModel"
    )
    (tmp_path / "model_index.json").write_text('{"_class_name": "LatteryPipeline"}')
    problem, advice = doctor._missing_inpainter(str(tmp_path), "none")
    assert "says 'LatteryPipeline' for _class_name, expected one of Flux2Klein" in problem
    assert advice == doctor.OTHER_MODEL
    problem, advice = doctor._missing_inpainter("owner/name@main", "none")
    assert problem == "owner/name@main: not in the cache"
    assert advice.startswith("hf download owner/name --revision main")


def test_a_revision_that_moves(root: Path, repository: Path) -> None:
    params = profile(repository, "prcc")
    commit = 20 * "0a"
    named = {"parser": f"owner/parser@{commit}:schp/lip.onnx", "summarizer": "owner/name@main"}
    params = params.model_copy(update={"models": params.models.model_copy(update=named)})
    in_the_cache(root, "owner/name", "config.json", "model.safetensors")
    in_the_cache(root, "owner/parser")
    there = root.parent / "hub" / "models--owner--parser" / "snapshots" / commit / "schp" / "lip.onnx"
    there.parent.mkdir(parents=True)
    there.touch()
    found = {finding.subject: finding for finding in doctor.check_weights(params, "none")}
    assert found["weights of models.parser"].state == "ok"
    assert found["weights of models.summarizer"].state == "warning"
    assert found["weights of models.summarizer"].advice == "dlcr models pin"


def test_an_onnx_file_of_a_hub(root: Path) -> None:
    name = "owner/parser@main:schp/lip.onnx"
    problem, advice = doctor._missing(name, NETWORK, "docker")
    assert problem == f"{name}: not in the cache"
    assert advice == "containers/run --network vision hf download owner/parser --revision main schp/lip.onnx"
    in_the_cache(root, "owner/parser", "schp/lip.onnx")
    assert doctor._missing(name, NETWORK, "docker") == ("", "")


def test_the_advice_is_a_command_of_the_hub() -> None:
    """Its words are understood; no hub answers at the address, which is no misunderstanding."""
    words = shlex.split(download_command("owner/name@main", PIPELINE))
    for more, said in (([], "Connection refused"), (["--revisio", "main"], "No such option")):
        done = subprocess.run(
            [Path(sys.executable).parent / words[0], *words[1:], *more],
            env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:1", "HF_HUB_OFFLINE": "0", "HF_HOME": "/nowhere"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said in done.stdout + done.stderr


def test_local_weights_that_are_missing(root: Path) -> None:
    assert "no such folder" in doctor._missing("weights/llava", NETWORK, "none")[0]
    (root / "weights").mkdir()
    (root / "weights" / "config.json").write_text("{}")
    assert "weights: no model.safetensors" in doctor._missing("weights", NETWORK, "none")[0]
    (root / "parser.onnx").touch()
    assert doctor._missing("parser.onnx", NETWORK, "none") == ("", "")


def test_an_adapter_has_the_files_that_the_inpainters_family_needs(root: Path, repository: Path) -> None:
    params = profile(repository, "minicc")
    inpainter = root / "inpainter"
    inpainter.mkdir()
    (inpainter / "model_index.json").write_text('{"_class_name": "StableDiffusionXLInpaintPipeline"}')

    def found(adapter: str) -> tuple[str, str]:
        entry = params.generated["garment"]
        entry = entry.model_copy(update={"garment": entry.garment.model_copy(update={"adapter": adapter})})
        models = params.models.model_copy(update={"inpainter": "inpainter"})
        changed = params.model_copy(update={"generated": {"garment": entry}, "models": models})
        (finding,) = (
            one for one in doctor.check_weights(changed, "none") if "generated.garment.garment.adapter" in one.subject
        )
        return finding.found, finding.advice

    file, encoder = "sdxl_models/ip-adapter_sdxl.safetensors", "sdxl_models/image_encoder"
    needed = [file, f"{encoder}/config.json", f"{encoder}/model.safetensors"]
    adapter = "owner/adapter@main"
    problem, advice = found(adapter)
    assert problem == f"{adapter}:{file}: not in the cache"
    assert advice == f"hf download owner/adapter --revision main {' '.join(needed)}"
    in_the_cache(root, "owner/adapter", *needed)
    assert found(adapter) == (f"{adapter}: what that names can change", "dlcr models pin")
    (root / "adapter").mkdir()
    assert found("adapter")[0] == f"adapter/{file}: no such file"
    (inpainter / "model_index.json").write_text('{"_class_name": "FluxFillPipeline"}')
    assert "FLUX.1 Fill takes no adapter; of such settings it knows" in found(adapter)[0]


def test_a_pack_of_faces(root: Path) -> None:
    problem, _ = doctor._missing("insightface:buffalo_l", NETWORK, "none")
    folder = root.parent / "home" / ".insightface" / "models" / "buffalo_l"
    assert problem == f"{folder}: no *.onnx files"
    folder.mkdir(parents=True)
    (folder / "det.onnx").touch()
    assert doctor._missing("insightface:buffalo_l", NETWORK, "none") == ("", "")


# --- datasets, remotes


def test_datasets(root: Path, repository: Path, tmp_path: Path) -> None:
    params = profile(repository, "paper")
    assert {finding.state for finding in doctor.check_datasets(params, root)} == {"problem"}
    for source, there in (("prcc", True), ("last", False)):
        folder = root / params.datasets[source].source
        folder.mkdir(parents=True)
        if there:
            (folder / "rgb").mkdir()
    found = {finding.subject: finding for finding in doctor.check_datasets(params, root)}
    assert found["dataset prcc"].state == "ok"
    assert "empty" in found["dataset last"].found
    assert "no such folder" in found["dataset ltcc"].found
    outside = params.datasets["prcc"].model_copy(update={"source": str(tmp_path)})
    params = params.model_copy(update={"datasets": {"prcc": outside}})
    (finding,) = doctor.check_datasets(params, root)
    assert finding.state == "warning"
    assert finding.advice == f"link it: ln -s {tmp_path} datasets/prcc"
    assert list(doctor.check_datasets(profile(repository, "minicc"), root)) == []


def test_remotes(root: Path, tmp_path: Path) -> None:
    Repo.init(str(root), no_scm=True).close()
    assert [finding.state for finding in doctor.check_remotes(root)] == ["ok"]
    (root / ".dvc" / "config").write_text(
        f"[core]\nno_scm = true\nremote = shared\n['remote \"shared\"']\nurl = {tmp_path / 'remote'}\n"
        "['remote \"gone\"']\nurl = ssh://127.0.0.1:1/srv\nuser = nobody\npassword = none\n"
    )
    gone, shared = doctor.check_remotes(root)
    assert (shared.subject, shared.state) == ("remote shared (default)", "ok")
    assert (gone.subject, gone.state) == ("remote gone", "problem")
    assert "docs/dvc.md" in gone.advice


def test_what_does_not_answer_is_not_waited_for() -> None:
    assert doctor._within(0.05, lambda: time.sleep(1) or "") == "no answer within 0.05 s"


# --- all of it


def test_a_problem_is_the_exit_code(repository: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(repository / "profiles" / "minicc.yaml", "params.yaml")
    (root / "models").symlink_to(repository / "models")
    Repo.init(str(root), no_scm=True).close()
    program(root.parent / "programs" / "python", "echo")
    fine = CliRunner().invoke(app, ["doctor"])
    assert fine.exit_code == 0, fine.output
    assert not re.search("^problem", fine.output, flags=re.MULTILINE)
    monkeypatch.setenv("DLCR_ENGINE", "lxc")
    broken = CliRunner().invoke(app, ["doctor"])
    assert broken.exit_code == 1
    assert re.search(r"^problem +engine +DLCR_ENGINE=lxc\n +-> set it to", broken.output, flags=re.MULTILINE)
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    assert found[0] == {
        "subject": "engine", "state": "problem", "found": "DLCR_ENGINE=lxc",
        "advice": "set it to none, docker, podman or apptainer",
    }  # fmt: skip
