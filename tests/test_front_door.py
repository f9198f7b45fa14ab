"""What strangers meet first says what is so: CI, Dependabot, the dev container, issue forms, and pages of prose."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from dlcr import __version__
from dlcr.cli import app

PAGES = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/dvc.md", "docs/install.md")


@pytest.fixture
def jobs(repository: Path) -> dict[str, dict]:
    return yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())["jobs"]


@pytest.fixture
def pythons(repository: Path) -> list[str]:
    """The versions that pyproject.toml names."""
    names = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["classifiers"]
    return [name.rpartition(" ")[2] for name in names if re.search(r":: 3\.\d+$", name)]


def commands(job: dict) -> list[str]:
    return [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]


def make_targets(repository: Path) -> set[str]:
    return set(re.findall(r"^([a-z]+):", (repository / "Makefile").read_text(), flags=re.MULTILINE))


def test_ci_runs_every_supported_python(repository: Path, jobs: dict, pythons: list[str]) -> None:
    assert jobs["tests"]["strategy"]["matrix"]["python"] == pythons
    given = [step.get("with", {}).get("python-version") for job in jobs.values() for step in job["steps"]]
    assert set(given) <= {None, "${{ matrix.python }}", *pythons}
    settings = tomllib.loads((repository / "pyproject.toml").read_text())
    assert settings["project"]["requires-python"] == f">={pythons[0]}"
    assert settings["tool"]["ruff"]["target-version"] == f"py{pythons[0].replace('.', '')}"
    assert f"sys.version_info >= ({pythons[0].replace('.', ', ')})" in (repository / "Makefile").read_text()
    assert f"Python {pythons[0]} or newer" in (repository / "README.md").read_text()


def test_ci_runs_what_must_pass_here(repository: Path, jobs: dict) -> None:
    made = {line for job in jobs.values() for line in commands(job) if line.startswith("make ")}
    here = set(re.findall(r"^make \w+$", (repository / ".ci/run").read_text(), flags=re.MULTILINE))
    assert here == {"make test", "make lint"}
    assert made == here | {"make install"}
    assert {line.split()[1] for line in made} <= make_targets(repository)


def test_ci_shows_the_claims(jobs: dict) -> None:
    options = [re.search(r"\.venv/bin/dlcr (\w+ .*)>>", line) for line in commands(jobs["claims"])]
    asked = [shlex.split(match[1]) for match in options if match]
    assert asked == [["claims", "--markdown"], ["compare", "HEAD", "$BASE", "--markdown"]]
    assert all(CliRunner().invoke(app, [*words, "--help"]).exit_code == 0 for words in asked)


def test_actions_are_named_by_commits(jobs: dict) -> None:
    used = {step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step}
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)


def test_dependabot_watches_what_there_is(repository: Path) -> None:
    settings = yaml.safe_load((repository / ".github/dependabot.yml").read_text())
    watched = {item["package-ecosystem"]: item["directory"] for item in settings["updates"]}
    assert watched == {"pip": "/", "github-actions": "/"}
    assert (repository / "constraints.txt").is_file()


def test_the_dev_container_installs_as_everywhere(repository: Path) -> None:
    folder = repository / ".devcontainer"
    settings = json.loads((folder / "devcontainer.json").read_text())
    dockerfile = (folder / settings["build"]["dockerfile"]).read_text()
    assert f" {settings['remoteUser']} " in dockerfile.split("useradd")[1].replace("\n", " ")
    assert settings["postCreateCommand"] == "make install"
    assert settings["remoteEnv"]["PATH"].startswith("${containerWorkspaceFolder}/.venv/bin:")
    assert "ARG BASE_IMAGE=" in dockerfile
    assert ":bookworm" in dockerfile
    assert "debootstrap --variant=minbase bookworm" in (repository / "containers/debian-base").read_text()


def test_issue_forms_can_be_filled_in(repository: Path) -> None:
    for path in (repository / ".github/ISSUE_TEMPLATE").iterdir():
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(form), path
        names = [item["id"] for item in form["body"]]
        assert len(names) == len(set(names))
        assert all(item["attributes"]["label"] for item in form["body"])
        assert {item["type"] for item in form["body"]} <= {"input", "textarea", "checkboxes"}


def test_the_newest_entry_of_the_changelog_is_this_version(repository: Path) -> None:
    versions = re.findall(r"^## (\S+)", (repository / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == __version__


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_what_exists(repository: Path, page: str) -> None:
    """Links lead to files, and `make` is asked for its own targets."""
    text = (repository / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert target.startswith("http") or (repository / page).parent.joinpath(target).exists(), target
    assert set(re.findall(r"(?:\$ |`)make ([a-z]+)", text)) <= make_targets(repository)
