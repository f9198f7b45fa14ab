"""containers/build: the command line that the engine gets, what is recorded, and what mistakes say."""

import hashlib
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from engines import IMAGES, root, run

__all__ = ["root"]  # a fixture


@pytest.fixture
def built(root: Path) -> Path:
    """What the engine was asked, one word per line."""
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
