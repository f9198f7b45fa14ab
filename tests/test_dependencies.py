"""dvc.yaml's stages depend on the code that they import, and on no other package."""

from pathlib import Path

import pytest
import yaml

from dlcr.runtime.code import used_modules

STAGES = yaml.safe_load((Path(__file__).parents[1] / "dvc.yaml").read_text())["stages"]
OWN = sorted(name for name in STAGES if not name.startswith("private-"))  # the private ones share their anchors
# What reads params.yaml, and what is about machines: neither decides about the bytes of a result, but for seeds.
APART = ("dlcr/__init__.py", "dlcr/params/", "dlcr/runtime/", "stages/__init__.py")
SEEDS = "dlcr/runtime/seeds.py"
# Folders whose modules a stage imports by their names.
BY_NAME = {"pretrain": "dlcr/pretrain", "inpaint": "dlcr/inpainting/kinds"}


def imported(stage: str, repository: Path) -> set[str]:
    """The project's files that a stage imports, at its start or later."""
    start = {f"stages.{stage.replace('-', '_')}": repository / "stages" / f"{stage.replace('-', '_')}.py"}
    if stage in BY_NAME:
        folder = BY_NAME[stage]
        start |= {f"{folder.replace('/', '.')}.{path.stem}": path for path in (repository / folder).glob("*.py")}
    modules, _ = used_modules(start)
    paths = {path.resolve().relative_to(repository).as_posix() for path in modules.values()}
    return {path for path in paths if path == SEEDS or not path.startswith(APART)}


@pytest.mark.parametrize("stage", OWN)
def test_a_stage_depends_on_what_it_imports(stage: str, repository: Path) -> None:
    deps = [dep for dep in STAGES[stage].get("do", STAGES[stage])["deps"] if dep.startswith(("dlcr", "stages"))]
    used = imported(stage, repository)
    if stage == "prepare":  # MiniCC's `source` is its code, and DVC takes no dependency twice
        used = {path for path in used if not path.startswith("dlcr/minicc/")}
    assert sorted(path for path in used if not any(path == dep or path.startswith(f"{dep}/") for dep in deps)) == []
    assert [dep for dep in deps if not any(path == dep or path.startswith(f"{dep}/") for path in used)] == []


def test_private_stages_are_the_same_stages() -> None:
    """Only where params.yaml lists their item is another place."""
    for name in OWN:
        if "foreach" in STAGES[name]:
            own, private = STAGES[name]["do"], STAGES[f"private-{name}"]["do"]
            assert (own["cmd"], own["deps"]) == (private["cmd"], private["deps"])
            section = STAGES[name]["foreach"].removeprefix("${").removesuffix("}")
            item, private_item = f"{section}.${{key}}", f"private.{section}.${{key}}"
            assert [private_item if param == item else param for param in own["params"]] == private["params"]


def test_a_stage_reads_the_parameters_of_its_item() -> None:
    """`parse` has none: all that it reads is the same for every dataset."""
    for name, stage in STAGES.items():
        if "foreach" in stage and not name.endswith("parse"):
            section = stage["foreach"].removeprefix("${").removesuffix("}")
            assert f"{section}.${{key}}" in stage["do"]["params"]
