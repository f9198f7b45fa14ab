"""containers/run: the command line that each engine gets, and what mistakes say.

The engines here are programs that print what they were asked; `test_container_engines.py` runs a real one.
"""

import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from engines import IMAGES, root, run
from pydantic import TypeAdapter, ValidationError

from dlcr.params import Name

__all__ = ["root"]  # a fixture


def words_of(result: subprocess.CompletedProcess) -> list[str]:
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def mounts_of(result: subprocess.CompletedProcess) -> list[str]:
    words = words_of(result)
    return [after for word, after in pairwise(words) if word in ("--volume", "--bind")]


def test_engine_none_runs_the_command_itself(root: Path) -> None:
    result = run(root, "vision", "sh", "-c", "echo out; exit 7")
    assert (result.returncode, result.stdout) == (7, "out\n")


def test_a_stage_takes_the_name_of_its_item_from_dvc(root: Path) -> None:
    for stage, name in {"train@k-2.a_b": "k-2.a_b", "../dvc.yaml:inpaint@1": "1"}.items():
        assert words_of(run(root, "reid", "echo", "@item", "--more", DVC_STAGE=stage)) == [f"{name} --more"]
        assert words_of(run(root, "reid", "x", "@item", DLCR_ENGINE="docker", DVC_STAGE=stage))[-2:] == ["x", name]


@pytest.mark.parametrize(
    "name", ["", "a\n", "a b", "$(touch X)", "-x", "--help", ".", "..", "../x", "a/b", "ä", "A", "@"]
)
def test_what_is_no_name_is_refused(root: Path, name: str) -> None:
    """As dlcr/params does, which a command reads too late: arguments and folders come first."""
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)
    result = run(root, "reid", "echo", "@item", DVC_STAGE=f"train@{name}")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: containers/run: params.yaml: train of ")
    assert len(result.stderr.splitlines()) == 1


def test_every_engine_names_the_recorded_image_to_the_stage(root: Path) -> None:
    """It is part of what names files in the store, and so has to be the same wherever a stage runs."""
    for target, image in IMAGES.items():
        assert run(root, target, "sh", "-c", "echo $DLCR_IMAGE").stdout == f"{image or ''}\n"
    assert "DLCR_IMAGE" in words_of(run(root, "vision", "true", DLCR_ENGINE="docker"))


def test_command_line_of_docker(root: Path) -> None:
    (root / "devices").touch()
    (root.parent / "home" / ".cache" / "huggingface").mkdir(parents=True)
    result = run(
        root, "reid", "python", "-m", "stages.train", "a b",
        DLCR_ENGINE="docker", DVC_ROOT=str(root), DVC_STAGE="train@x", CUDA_VISIBLE_DEVICES="1", HF_TOKEN="secret",
    )  # fmt: skip
    listed = subprocess.run(["id", "-G"], capture_output=True, text=True, check=True).stdout.split()
    groups = [word for group in listed for word in ("--group-add", group)]
    models = f"{root.parent}/home/.cache/huggingface"
    assert words_of(result) == [
        "run", "--rm", "--pull", "never", "--network", "none", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--security-opt", "label=disable", "--shm-size", "8g",
        "--workdir", str(root), "--gpus", "all", *groups, "--user", f"{os.getuid()}:{os.getgid()}",
        "--volume", f"{root}:{root}", "--volume", f"{models}:{models}:ro",
        "--env", "DVC_ROOT", "--env", "DVC_STAGE", "--env", "DVC_GLOBAL_CONFIG_DIR", "--env", "DLCR_ENGINE",
        "--env", "DLCR_IMAGE", "--env", "HF_HOME", "--env", "HF_HUB_OFFLINE", "--env", "TRANSFORMERS_VERBOSITY",
        "--env", "CUDA_VISIBLE_DEVICES", "--env", "PYTHONPATH",
        IMAGES["reid"], "python", "-m", "stages.train", "a b",
    ]  # fmt: skip


def test_command_line_of_podman(root: Path) -> None:
    (root / "devices").touch()
    words = words_of(run(root, "vision", "true", DLCR_ENGINE="podman"))
    assert words[words.index("--device") + 1] == "nvidia.com/gpu=all"
    assert "--group-add" not in words
    assert ("keep-id" in words) == (os.getuid() != 0)


def test_command_line_of_apptainer(root: Path) -> None:
    (root / "devices").touch()
    image = root / ".dlcr" / "images" / "reid-cdcdcdcdcdcd.sif"
    image.parent.mkdir(parents=True)
    image.touch()
    packs = root.parent / "home" / ".insightface"
    packs.mkdir(parents=True)
    home = root / ".dlcr" / "home"
    result = run(root, "reid", "python", "-m", "stages.train", "a b", DLCR_ENGINE="apptainer", DVC_STAGE="train@x")
    assert words_of(result) == [
        "exec", "--cleanenv", "--home", str(home), "--ipc", "--pid", "--no-privs", "--pwd", str(root), "--net",
        "--network", "none", "--nv", "--bind", f"{packs}:{home}/.insightface:ro", "--bind", f"{root}:{root}",
        str(image), "python", "-m", "stages.train", "a b",
        *(
            f"APPTAINERENV_{name}"
            for name in ("DLCR_ENGINE", "DLCR_IMAGE", "DVC_GLOBAL_CONFIG_DIR", "DVC_STAGE", "HF_HOME", "HF_HUB_OFFLINE",
                         "PYTHONPATH", "TRANSFORMERS_VERBOSITY")
        ),
    ]  # fmt: skip


def test_what_chooses_kernels_is_the_same_in_a_container(root: Path) -> None:
    """numpy's OpenBLAS has other last bits with another core type, on the same processor."""
    words = words_of(run(root, "vision", "true", DLCR_ENGINE="podman", OPENBLAS_CORETYPE="Haswell", MKL_CBWR="AVX2"))
    assert words[words.index("OPENBLAS_CORETYPE") - 1] == words[words.index("MKL_CBWR") - 1] == "--env"
    outside = words_of(run(root, "vision", "true", DLCR_ENGINE="podman", OPENBLAS_CORETYPE=None))
    assert "OPENBLAS_CORETYPE" not in outside


def test_packs_of_faces_are_below_the_home(root: Path) -> None:
    packs = root.parent / "home" / ".insightface"
    packs.mkdir(parents=True)
    assert f"{packs}:/tmp/.insightface:ro" in mounts_of(run(root, "vision", "true", DLCR_ENGINE="podman"))


def test_the_root_of_a_rootless_docker_is_its_caller(root: Path) -> None:
    run(root, "vision", "true", DLCR_ENGINE="docker")
    (root.parent / "programs" / "info").write_text("[name=seccomp,profile=builtin name=rootless]")
    words = words_of(run(root, "vision", "true", DLCR_ENGINE="docker"))
    assert words[words.index("--user") + 1] == "0:0"


def test_without_a_gpu_none_is_asked_for_and_the_report_never_gets_one(root: Path) -> None:
    assert "--gpus" not in words_of(run(root, "reid", "true", DLCR_ENGINE="docker"))
    (root / "devices").touch()
    images = root / "containers" / "images.yaml"
    images.write_text(images.read_text().replace("report: null", f"report: sha256:{32 * '01'}"))
    assert "--gpus" in words_of(run(root, "reid", "true", DLCR_ENGINE="docker"))
    assert "--gpus" not in words_of(run(root, "report", "true", DLCR_ENGINE="docker"))


def test_network_only_where_it_is_asked_for(root: Path) -> None:
    asked = words_of(run(root, "--network", "vision", "true", DLCR_ENGINE="docker", HF_TOKEN="secret"))
    assert asked[asked.index("--network") + 1] == "host"
    assert "HF_TOKEN" in asked
    assert "secret" not in asked
    assert "HF_HUB_OFFLINE" not in asked
    models = f"{root.parent}/home/.cache/huggingface"
    assert f"{models}:{models}" in asked  # to write into
    other = str(root.parent / "other")
    elsewhere = run(root, "--network", "vision", "true", DLCR_ENGINE="docker", HF_HUB_CACHE=other)
    assert mounts_of(elsewhere)[1:] == [f"{models}:{models}", f"{other}:{other}"]
    assert f"{other}:{other}:ro" in mounts_of(run(root, "vision", "true", DLCR_ENGINE="docker", HF_HUB_CACHE=other))
    here = words_of(run(root, "vision", "true", DLCR_ENGINE="docker", DLCR_EXECUTOR="ray"))
    assert here[here.index("--network") + 1] == "none"


def test_a_stage_on_a_cluster_has_its_network_and_its_settings(root: Path) -> None:
    words = words_of(run(root, "vision", "true", DLCR_ENGINE="podman", DLCR_EXECUTOR="ray", RAY_ADDRESS="head:6379",
                         DLCR_WORKERS="4"))  # fmt: skip
    assert words[words.index("--network") + 1] == "host"
    assert {"DLCR_EXECUTOR", "RAY_ADDRESS", "DLCR_WORKERS"} <= set(words)


def test_an_experiment_outside_the_root_is_mounted_too(root: Path, tmp_path: Path) -> None:
    main = tmp_path / "main"
    main.mkdir()
    assert mounts_of(run(root, "vision", "true", DLCR_ENGINE="docker", DVC_ROOT=str(main))) == [
        f"{main}:{main}",
        f"{root}:{root}",
    ]


def test_an_experiment_within_the_root_is_there_already(root: Path) -> None:
    inner = root / ".dvc" / "tmp" / "exps" / "one"
    shutil.copytree(root / "containers", inner / "containers")
    assert mounts_of(run(inner, "vision", "true", DLCR_ENGINE="docker", DVC_ROOT=str(root))) == [f"{root}:{root}"]


@pytest.mark.parametrize("written", ["{cache}", "../../cache of all"])
@pytest.mark.parametrize("file", ["config", "config.local", "global"])
def test_the_cache_is_mounted_where_dvc_is_told_that_it_is(root: Path, file: str, written: str) -> None:
    cache = root.parent / "cache of all"
    cache.mkdir()
    folder = root.parent / "home" / ".config" / "dvc" if file == "global" else root / ".dvc"
    folder.mkdir(parents=True)
    if file == "global":
        written = str(cache)
    text = "['remote \"shared\"']\n    url = /mnt\n    dir = /no\n[cache]\n    type = symlink\n    dir = {}\n"
    (folder / ("config" if file == "global" else file)).write_text(text.format(written.format(cache=cache)))
    mounts = mounts_of(run(root, "vision", "true", DLCR_ENGINE="docker"))
    assert mounts == [f"{root}:{root}", *([f"{folder}:{folder}:ro"] if file == "global" else []), f"{cache}:{cache}"]


def test_a_cache_within_the_root_and_the_settings_of_one_clone_come_first(root: Path) -> None:
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[cache]\ndir = /tmp\n")
    (root / ".dvc" / "config.local").write_text("[cache]\ndir = cache\n")
    assert mounts_of(run(root, "vision", "true", DLCR_ENGINE="docker")) == [f"{root}:{root}"]


def test_links_out_of_the_repository_lead_to_what_they_name(root: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    for name in ("prcc/rgb", "real"):
        (elsewhere / name).mkdir(parents=True)
    (elsewhere / "named").symlink_to("real")
    (root / "datasets" / "ltcc").mkdir(parents=True)
    (root / "datasets" / "prcc").symlink_to(elsewhere / "prcc")
    (root / "datasets" / "ltcc" / "LTCC").symlink_to("../../../elsewhere/named")
    (root / "datasets" / "inside").symlink_to("ltcc")
    (root / "datasets" / "gone").symlink_to("/no/such/folder")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "link").symlink_to("/usr")
    expected = {f"{elsewhere}/{name}:{elsewhere}/{name}:ro" for name in ("prcc", "named")}
    mounts = mounts_of(run(root, "vision", "true", DLCR_ENGINE="docker"))
    assert set(mounts) == {f"{root}:{root}", *expected}
    assert len(mounts) == 3


def test_a_worktree_sees_its_repository(root: Path) -> None:
    main = root.parent / "main"
    main.mkdir()
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "--quiet"], cwd=main, check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "one"], cwd=main, check=True)
    tree = root.parent / "tree"
    subprocess.run(["git", "worktree", "add", "--quiet", tree], cwd=main, check=True)
    shutil.copytree(root / "containers", tree / "containers")
    mounts = mounts_of(run(tree, "vision", "true", DLCR_ENGINE="docker"))
    assert mounts == [f"{tree}:{tree}", f"{main}/.git:{main}/.git:ro"]


@pytest.mark.parametrize(
    ("words", "environment", "code", "message"),
    [
        (["vision"], {}, 2, "usage: containers/run"),
        (["gpu", "true"], {}, 2, "unknown target 'gpu'"),
        (["vision", "true", "@item"], {}, 2, "@item is for stages that DVC runs"),
        (["vision", "true", "@item"], {"DVC_STAGE": "report"}, 2, "@item is for stages that DVC runs"),
        (["vision", "true"], {"DLCR_ENGINE": "lxc"}, 2, "'lxc' is unknown; expected none, docker, podman or apptainer"),
        (["report", "true"], {"DLCR_ENGINE": "podman"}, 1, "records no image for report ('null'); build it"),
        (["vision", "true"], {"DLCR_ENGINE": "apptainer"}, 1, "docker-archive:vision.tar"),
    ],
)
def test_mistakes_are_one_line(root: Path, words: list[str], environment: dict, code: int, message: str) -> None:
    result = run(root, *words, **environment)
    assert result.returncode == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_engine_that_is_not_there(root: Path, tmp_path: Path) -> None:
    programs = tmp_path / "few"
    programs.mkdir()
    for name in ("bash", "env", "dirname", "sed"):
        (programs / name).symlink_to(shutil.which(name))
    result = run(root, "vision", "true", DLCR_ENGINE="podman", PATH=str(programs))
    assert result.returncode == 127
    assert "DLCR_ENGINE=podman, but no 'podman' is on PATH" in result.stderr


def test_a_recorded_image_that_is_not_here(root: Path) -> None:
    run(root, "vision", "true", DLCR_ENGINE="podman")
    (root.parent / "programs" / "none").touch()
    result = run(root, "vision", "true", DLCR_ENGINE="podman")
    assert result.returncode == 1
    assert f"is not on this machine ({IMAGES['vision']})" in result.stderr
