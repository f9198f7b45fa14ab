"""containers/run: which command line each engine gets."""

import os
import subprocess
from pathlib import Path

import pytest


def run(repository: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [repository / "containers" / "run", *arguments],
        cwd=cwd or repository,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def recorder(folder: Path, name: str) -> str:
    """A PATH whose first `name` prints its own arguments, a line each."""
    program = folder / name
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_engine_none_runs_the_command_itself(repository: Path) -> None:
    result = run(repository, "vision", "sh", "-c", "echo out; exit 7")
    assert (result.returncode, result.stdout) == (7, "out\n")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_command_line_of_an_engine(repository: Path, tmp_path: Path, engine: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    result = run(
        repository, "reid", "python", "-m", "stages.train", "a b",
        cwd=root, PATH=recorder(tmp_path, engine), DLCR_ENGINE=engine, DVC_ROOT=str(root), DVC_STAGE="train@x",
    )  # fmt: skip
    words = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert words[:2] == ["run", "--rm"]
    assert words[-5:] == ["dlcr-reid", "python", "-m", "stages.train", "a b"]
    assert words[words.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert words[words.index("--workdir") + 1] == str(root)
    assert words[words.index("--network") + 1] == "none"
    assert f"{root}:{root}" in words
    assert "DVC_STAGE" in words
    assert "DVC_EXP_NAME" not in words
    assert ("keep-id" in words) == (engine == "podman")


def test_a_stage_on_a_cluster_has_its_network_and_its_settings(repository: Path, tmp_path: Path) -> None:
    result = run(repository, "vision", "true", PATH=recorder(tmp_path, "podman"), DLCR_ENGINE="podman",
                 DLCR_EXECUTOR="ray", RAY_ADDRESS="head:6379", DLCR_WORKERS="4")  # fmt: skip
    words = result.stdout.splitlines()
    assert words[words.index("--network") + 1] == "host"
    assert {"DLCR_EXECUTOR", "RAY_ADDRESS", "DLCR_WORKERS"} <= set(words)


def test_an_experiment_outside_the_root_is_mounted_too(repository: Path, tmp_path: Path) -> None:
    root, temporary = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    temporary.mkdir()
    result = run(repository, "report", "true", cwd=temporary, PATH=recorder(tmp_path, "docker"), DLCR_ENGINE="docker",
                 DVC_ROOT=str(root))  # fmt: skip
    assert f"{root}:{root}" in result.stdout
    assert f"{temporary}:{temporary}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["vision"], {}, "usage: containers/run"),
        (["gpu", "true"], {}, "unknown target 'gpu'"),
        (["vision", "true"], {"DLCR_ENGINE": "lxc"}, "'lxc' is unknown"),
        (["vision", "true"], {"DLCR_ENGINE": "podman", "PATH": "/nowhere"}, "no 'podman' is on PATH"),
    ],
)
def test_mistakes_are_one_line(
    repository: Path, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    script = repository / "containers" / "run"
    result = subprocess.run(["/bin/bash", script, *arguments], env={**os.environ, **environment}, capture_output=True,
                            text=True, check=False)  # fmt: skip
    assert result.returncode != 0
    assert message in result.stderr
