"""Names in params.yaml never reach a shell: what is no name ends in one error that shows it, and nothing of it runs."""

from pathlib import Path

import pytest
import yaml
from clones import make_clone, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NASTY = ("a; touch X; #", "a'; touch X; '", 'a" | touch X "', "$(touch X)", "a\ntouch X\n", "--help", "Ä")


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    return make_clone(repository, tmp_path / "dlcr")


def repro(clone: Path, *words: str) -> str:
    """What a `dvc repro` prints that has to fail."""
    process = start(clone, "dvc", "repro", *words)
    printed, _ = process.communicate()
    assert process.returncode != 0
    return printed


def test_no_command_holds_a_template(repository: Path) -> None:
    """DVC fills templates in as they are: quotes around one would not hold a name that has quotes."""
    for name, stage in yaml.safe_load((repository / "dvc.yaml").read_text())["stages"].items():
        command = stage.get("do", stage)["cmd"]
        assert "$" not in command, f"{name}: {command}"
        assert ("@item" in command) == ("foreach" in stage), f"{name}: {command}"


def test_every_section_refuses_what_is_no_name(clone: Path) -> None:
    """Every stage of dvc.yaml with its command and outputs, for every such name in every section, private ones too."""
    stages = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]
    stages = {
        name: {"foreach": stage["foreach"], "do": {key: stage["do"][key] for key in ("cmd", "outs")}}
        for name, stage in stages.items()
        if "foreach" in stage
    }
    (clone / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (clone / "dvc.lock").unlink()
    sections = {stage["foreach"].strip("${}").split(".")[-1] for stage in stages.values()}
    public, private = ({section: {mark + name: {} for name in NASTY} for section in sections} for mark in ("", ";"))
    (clone / "params.yaml").write_text(yaml.safe_dump({**public, "private": private}))
    printed = repro(clone, "--keep-going")
    assert not list(clone.rglob("X"))
    refused = printed.count("error: containers/run: params.yaml: ")
    assert refused == len(stages) * len(NASTY), printed
    assert refused == printed.count("Running stage '")


def test_the_error_shows_the_name(clone: Path) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["datasets"][NASTY[0]] = params["datasets"]["minicc"]
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    printed = repro(clone, f"prepare@{NASTY[0]}")
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: containers/run: params.yaml: prepare of 'a; touch X; #': expected a name of lower-")
    assert not list(clone.rglob("X"))
