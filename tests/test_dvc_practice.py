"""Experiments as docs/dvc.md says, with the real commands in clones of one pipeline, profile smoke."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest
from clones import command, documented, follow, made_clone, stages_run, start

from dlcr.data import load_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# Where the commands under each heading of docs/dvc.md are run.
HEADINGS = {
    "test_dvc_practice.py": ("Changing one thing", "Going back", "A sweep of K"),
    "test_growth.py": ("More seeds",),
    "test_remotes.py": (
        *("A folder", "SSH", "S3", "HTTP, for everybody", "Another clone", "Only what is needed"),
        *("Links instead of copies", "What is never pushed"),
    ),
}


@pytest.fixture(scope="module")
def clone(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_clone(repository, tmp_path_factory, "practice")


@pytest.fixture(scope="module")
def changed(repository: Path, clone: Path) -> dict[str, str]:
    """What each documented command printed after one run was changed."""
    lines = documented(repository, "Changing one thing")
    return dict(
        zip((shlex.join(shlex.split(line, comments=True)) for line in lines), follow(clone, lines), strict=True)
    )


@pytest.fixture(scope="module")
def back(repository: Path, changed: dict[str, str], clone: Path) -> None:
    """The clone as it was before the change; tests of the change come first."""
    follow(clone, documented(repository, "Going back"))


def test_every_documented_command_is_run(repository: Path) -> None:
    sections = re.split(r"^#+ ", (repository / "docs" / "dvc.md").read_text(), flags=re.MULTILINE)
    shown = {section.splitlines()[0] for section in sections if "```console" in section}
    assert shown == {heading for headings in HEADINGS.values() for heading in headings}
    for name, headings in HEADINGS.items():
        text = (repository / "tests" / name).read_text().partition("pytestmark")[2].partition("}\n")[2]
        assert not [heading for heading in headings if f'"{heading}"' not in text]


def test_one_run_changed_runs_that_run_and_the_report_only(changed: dict[str, str]) -> None:
    printed = changed["dvc exp run -S runs.oracle.mode=paired"]
    assert stages_run(printed) == {"train@oracle", "refine-eval@oracle", "report"}


def test_params_diff_tells_the_change_and_nothing_else(changed: dict[str, str], clone: Path) -> None:
    assert re.search(r"runs\.oracle\.mode +progressive +paired", changed["dvc params diff"])
    told = json.loads(command(clone, "dvc", "params", "diff", "--json"))
    assert told == {"params.yaml": {"runs.oracle.mode": {"old": "progressive", "new": "paired"}}}


def test_metrics_diff_tells_that_runs_numbers(changed: dict[str, str], clone: Path) -> None:
    """Only numbers of the changed run differ."""
    told = json.loads(command(clone, "dvc", "metrics", "diff", "--json"))
    assert set(told) == {"evaluations/oracle.json"}
    assert {"top1", "map"} & set(told["evaluations/oracle.json"])
    assert "oracle" in changed["dvc metrics diff"]


def test_plots_diff_shows_both(changed: dict[str, str], clone: Path) -> None:
    assert "dvc_plots/index.html" in changed["dvc plots diff"]
    page = (clone / "dvc_plots" / "index.html").read_text()
    assert {"HEAD", "workspace"} <= set(re.findall(r'"rev": ?"(\w+)"', page))


@pytest.mark.usefixtures("back")
def test_going_back_makes_nothing_again(clone: Path) -> None:
    assert command(clone, "git", "status", "--porcelain") == ""
    printed = command(clone, "dvc", "repro")
    assert not stages_run(printed)
    assert "up to date" in printed


@pytest.mark.usefixtures("back")
def test_a_sweep_of_k_through_the_queue(repository: Path, clone: Path, tmp_path: Path) -> None:
    """Two experiments wait, a worker runs them away from the workspace, and one of them is applied to it.

    Together they make variants 2 and 3 once, whichever runs first.
    """
    smaller = {"'k=5,20'": "'k=3,4' inpaint@oracle"}
    queue, begin, ask, show, log, apply = documented(repository, "A sweep of K", smaller)
    assert follow(clone, [queue])[0].count("Queued experiment") == 2
    with (tmp_path / "worker.txt").open("w") as told:  # a pipe stays open as long as the worker does
        assert start(clone, *shlex.split(begin), stdout=told).wait() == 0
    try:
        deadline = time.monotonic() + 600
        while (status := follow(clone, [ask])[0]).count("Success") < 2:
            assert "Failed" not in status, status
            assert time.monotonic() < deadline, status
            time.sleep(2)
    finally:
        command(clone, "dvc", "queue", "stop", "--kill")
    assert variants(clone) == {0, 1}
    names = queued(clone)
    assert set(names) == {3, 4}
    table = follow(clone, [show])[0]
    assert all(name in table for name in names.values())
    logs = "".join(follow(clone, [log.replace("NAME", name) for name in names.values()]))
    images = int((load_manifest(clone / "data" / "minicc")["split"] == "train").sum())
    assert sum(int(made) for made in re.findall(r"(\d+) made", logs)) == 2 * images
    follow(clone, [apply.replace("NAME", names[4])])
    assert variants(clone) == {0, 1, 2, 3}


def variants(clone: Path) -> set[int]:
    """The variants in the set `oracle`."""
    return {int(path.name.split("-")[1]) for path in (clone / "generated" / "oracle").glob("variant-*")}


def queued(clone: Path) -> dict[int, str]:
    """The names of the experiments that came from the queue, by their K."""
    revisions = json.loads(command(clone, "dvc", "exp", "show", "--json"))
    experiments = [experiment for revision in revisions for experiment in revision["experiments"] or ()]
    return {
        experiment["revs"][0]["data"]["params"]["params.yaml"]["data"]["k"]: experiment["name"]
        for experiment in experiments
        if experiment["executor"]
    }
