"""containers/run and containers/build: the command line that each engine gets, and what mistakes say.

The engines here are programs that print what they were asked; `test_container_engines.py` runs a real one.
"""

import hashlib
import os
import shutil
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from dlcr.params import Name

IMAGES = {"vision": "sha256:" + 32 * "ab", "reid": "sha256:" + 32 * "cd", "report": None}
ENGINE = """#!/bin/sh
case "$1 $2" in
  "image inspect") case "$*" in
    *RootFS*) test -e {folder}/same && echo same || echo "$*" ;; *Size*) echo 12000000 ;; *Id*) cat {folder}/id ;; esac
    test ! -e {folder}/none ;;
  info*) cat {folder}/info ;;
  build*) printf '%s\\n' "$@" >> {folder}/built; eval "cp -r \\"\\${{$#}}\\" {folder}/context" ;;
  *) printf '%s\\n' "$@"; env | sed -n 's/^\\(APPTAINERENV_[A-Z_]*\\)=.*/\\1/p' | sort ;;
esac
"""


@pytest.fixture
def root(repository: Path, tmp_path: Path) -> Path:
    """A repository with the scripts and two recorded images; the GPU's device is looked for in its folder `devices`."""
    root = tmp_path.resolve() / "dlcr"
    shutil.copytree(repository / "containers", root / "containers", ignore=shutil.ignore_patterns("images.yaml"))
    script = root / "containers" / "run"
    text = script.read_text()
    assert "/dev/nvidiactl" in text
    script.write_text(text.replace("/dev/nvidiactl", str(root / "devices")))
    shutil.copy(repository / "constraints.txt", root)
    (root / "containers" / "images.yaml").write_text(yaml.safe_dump(IMAGES, sort_keys=False))
    return root


def run(root: Path, *words: str, script: str = "run", **environment: str | None) -> subprocess.CompletedProcess:
    """Runs a script in `root` with engines that print what they are asked, a word a line."""
    programs = root.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("docker", "podman", "apptainer"):
        (programs / name).write_text(ENGINE.format(folder=programs))
        (programs / name).chmod(0o755)
    for name, text in {"info": "[name=seccomp]", "id": "ef" * 32}.items():
        if not (programs / name).exists():
            (programs / name).write_text(text)
    given = {"HOME": str(root.parent / "home"), "PATH": f"{programs}:{os.environ['PATH']}", **environment}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DLCR_", "HF_", "OMP_", "RAY_"))}
    kept.pop("XDG_CONFIG_HOME", None)
    return subprocess.run(
        [root / "containers" / script, *words],
        cwd=root, env={name: value for name, value in (kept | given).items() if value is not None},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


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
    """As dlcr/params.py does, which a command reads too late: arguments and folders come first."""
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


# --- containers/build


@pytest.fixture
def built(root: Path) -> Path:
    """What the engine was asked, a word a line."""
    (root / "wheels").mkdir()
    (root / "wheels" / "some.whl").touch()
    (root / "cert.pem").write_text("certificate")
    result = run(
        root, "vision", script="build", DLCR_ENGINE="podman", BASE_IMAGE="debian", PIP_CERT=str(root / "cert.pem"),
        PIP_FIND_LINKS=str(root / "wheels"), PIP_INDEX_URL="https://user:password@index.example", TORCH_INDEX=None,
        PIP_EXTRA_INDEX_URL=None,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"vision: sha256:{32 * 'ef'}, 12 MB, recorded" in result.stdout
    return root.parent / "programs"


def test_command_line_of_a_build(root: Path, built: Path) -> None:
    words = (built / "built").read_text().splitlines()
    hashed = hashlib.sha256((root / "containers/install").read_bytes() + (root / "constraints.txt").read_bytes())
    hashed.update(b"some.whl\n")
    assert words[:4] == ["build", "--network", "host", "--file"]
    assert words[5:-1] == [
        "--build-arg", "REVISION=unknown-changed", "--build-arg", f"CONSTRAINTS={hashed.hexdigest()}",
        "--timestamp", "315532800", "--build-arg", "BASE_IMAGE=debian", "--target", "vision", "--tag", "dlcr-vision",
    ]  # fmt: skip


def test_how_pip_reaches_packages_is_mounted_and_no_argument(built: Path) -> None:
    assert "password" not in (built / "built").read_text()
    context = built / "context"
    names = sorted(path.name for path in context.iterdir())
    assert names == ["Dockerfile", "cert.pem", "constraints.txt", "install", "pip.conf", "wheels"]
    assert (context / "wheels" / "some.whl").is_file()
    assert (context / "pip.conf").read_text().splitlines() == [
        "[global]", "index-url = https://user:password@index.example", "cert = /mnt/cert.pem",
        "find-links = /mnt/wheels",
    ]  # fmt: skip


def test_one_image_is_recorded_and_the_others_stay(root: Path, built: Path) -> None:
    recorded = yaml.safe_load((root / "containers" / "images.yaml").read_text())
    assert recorded == IMAGES | {"vision": "sha256:" + 32 * "ef"}
    assert sorted(path.name for path in (root / "containers").iterdir() if "part" in path.name) == []


def test_an_image_with_the_same_files_stays_as_recorded(root: Path, built: Path) -> None:
    """Only the commit in its label is another: nothing that a stage could see."""
    before = (root / "containers" / "images.yaml").read_bytes()
    (built / "id").write_text(32 * "99")
    (built / "same").touch()
    again = run(root, "vision", script="build", DLCR_ENGINE="podman", PIP_CERT=None, PIP_FIND_LINKS=None)
    assert "vision: the same files as sha256:efef" in again.stdout
    assert (root / "containers" / "images.yaml").read_bytes() == before


def test_the_revision_is_the_commit_that_changed_an_image(root: Path) -> None:
    git = ["git", "-C", str(root), "-c", "user.name=test", "-c", "user.email=test@example.org"]

    def commit() -> str:
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", "one"], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()

    def revision() -> str:
        (root.parent / "programs" / "built").unlink(missing_ok=True)
        run(root, "vision", script="build", DLCR_ENGINE="podman", PIP_CERT=None, PIP_FIND_LINKS=None)
        words = (root.parent / "programs" / "built").read_text().splitlines()
        return next(word for word in words if word.startswith("REVISION=")).removeprefix("REVISION=")

    subprocess.run([*git, "init", "--quiet"], check=True)
    first = commit()
    assert revision() == first
    (root / "code.py").write_text("1")
    assert commit() != first
    assert revision() == first
    with (root / "constraints.txt").open("a") as file:
        file.write("more==1\n")
    assert revision() == f"{first}-changed"
    assert commit() == revision()


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        ([], {}, "DLCR_ENGINE=none builds no images; expected docker or podman"),
        ([], {"DLCR_ENGINE": "apptainer"}, "apptainer runs what these built"),
        (["base"], {"DLCR_ENGINE": "podman"}, "unknown target 'base'"),
        ([], {"DLCR_ENGINE": "podman", "PIP_FIND_LINKS": "/no/folder"}, "/no/folder: expected a folder of wheels"),
    ],
)
def test_mistakes_of_a_build(root: Path, words: list[str], environment: dict, message: str) -> None:
    before = (root / "containers" / "images.yaml").read_bytes()
    result = run(root, *words, script="build", **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert (root / "containers" / "images.yaml").read_bytes() == before


def test_every_dependency_of_the_package_is_in_an_image(repository: Path) -> None:
    """What pyproject.toml asks for, and its extras for stages, stands in the Dockerfile once more: by family."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["onnx"], *extras["faces"], *extras["ray"]]
    installed = (repository / "containers" / "Dockerfile").read_text().replace("\\", " ").split()
    assert {word.split(">")[0] for word in asked} <= set(installed)


def test_every_documented_command_is_run_somewhere(repository: Path) -> None:
    page = (repository / "docs" / "containers.md").read_text()
    commands = {line[2:].split("  ")[0] for line in page.splitlines() if line.startswith("$ ")}
    assert commands == {  # all by test_container_engines.py
        "export DLCR_ENGINE=podman",
        "make images",
        "dlcr doctor",
        "dvc repro",
        "BASE_IMAGE=$(containers/debian-base) make images",
        "podman save --output vision.tar $(sed -n 's/^vision: //p' containers/images.yaml)",
        "podman load --input vision.tar",
    }
