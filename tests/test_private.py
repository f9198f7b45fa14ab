"""What is made from private data never waits to be committed, whatever DVC or a stage died of."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from clones import command, make_clone
from layouts import tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Stands for python, and so for every stage: `prepare` as it is, but where half an output is asked for; then, and in the
# other stages, half an output and an error, or that and no end.
STAGE = f"""#!/bin/sh
case $2:${{HALF:-}} in
  stages.prepare:) exec {sys.executable} "$@" ;;
  stages.prepare:*) out=data/$3/images ;;
  stages.parse:*) out=masks/$3 ;;
esac
mkdir -p "$out" && touch "$out/block-0000.arrow" "$out/.block-0001.arrow.host.1.0123abcd.part"
[ "${{HALF:-}}" != waits ] || {{ touch ../waiting; sleep 600; }}
exit 1
"""


@pytest.fixture(scope="module")
def committed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that is committed, but for a private dataset `secret` in its params.yaml."""
    clone = make_clone(repository, tmp_path_factory.mktemp("committed") / "dlcr")
    command(clone, "git", "add", "--all")
    command(clone, "git", "commit", "--quiet", "--message", "clone")
    source = tree("ltcc", clone / "datasets")
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["private"]["datasets"] = {"secret": {"reader": "ltcc", "source": source.relative_to(clone).as_posix()}}
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return clone


@pytest.fixture
def clone(committed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(committed, tmp_path / "dlcr")


def added(clone: Path) -> set[str]:
    """What `git add --all` would add, change or remove."""
    return {line.split(" ", 1)[1].strip("'") for line in command(clone, "git", "add", "-A", "-n").splitlines()}


def start_repro(clone: Path, *words: str, **environment: str) -> subprocess.Popen:
    """Starts `dvc repro` with STAGE for python, as the leader of its processes."""
    program = clone.parent / "programs" / "python"
    program.parent.mkdir(exist_ok=True)
    program.write_text(STAGE)
    program.chmod(0o755)
    path = f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["dvc", "repro", *words],
        cwd=clone, env={**os.environ, "PATH": path, **environment}, start_new_session=True,
    )  # fmt: skip


def test_git_ignores_every_output_before_dvc_says_so(clone: Path) -> None:
    """All stages' outputs that git is not to have, by any name, and what their writers leave behind."""
    stages = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]
    outs = [out for name, stage in stages.items() if "foreach" in stage for out in stage["do"]["outs"]]
    outs += [
        one for name, stage in stages.items() if name.startswith("private-") for one in stage["do"].get("metrics", [])
    ]
    outs = [out for out in outs if isinstance(out, str) or next(iter(out.values())).get("cache", True)]
    paths = {(out if isinstance(out, str) else next(iter(out))).replace("${key}", "secret") for out in outs}
    assert {Path(path).parts[0] for path in paths} == {"data", "masks", "descriptions", "outfits", "discriminators",
                                                       "generated", "faces", "runs", "evaluations"}  # fmt: skip
    for path in paths:
        (clone / path).parent.mkdir(exist_ok=True)
        (clone / path).touch()
        (clone / path).with_name(f".{Path(path).name}.host.1.0123abcd.part").touch()
    assert added(clone) == {"params.yaml"}


def test_a_private_stage_fails_after_another(clone: Path) -> None:
    """The first one's output is whole, and DVC takes back the line that it wrote for it; next time it is skipped."""
    for _ in range(2):
        assert start_repro(clone, "private-parse@secret").wait() != 0
        assert list((clone / "data" / "secret").rglob("*.arrow"))
        assert list((clone / "masks" / "secret").rglob("*.arrow"))
        assert added(clone) == {"params.yaml", "dvc.lock"}


@pytest.mark.parametrize("blow", [None, signal.SIGINT, signal.SIGKILL])
def test_half_an_output(clone: Path, blow: signal.Signals | None) -> None:
    """Left by a stage that failed, that the user interrupted, or that was killed together with DVC."""
    # Where the tests run in the background they ignore it, and so would all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dvc = start_repro(clone, "private-prepare@secret", HALF="waits" if blow else "fails")
    while blow and not (clone.parent / "waiting").exists():
        assert dvc.poll() is None
        time.sleep(0.05)
    if blow:
        os.killpg(dvc.pid, blow)
    assert dvc.wait() != 0
    assert (clone / "data" / "secret" / "images" / "block-0000.arrow").exists()
    assert added(clone) == {"params.yaml"}


def test_clean_leaves_what_git_tracks_and_imported_sets(clone: Path) -> None:
    command(clone, "git", "commit", "--quiet", "--all", "--message", "private")
    made = [clone / name for name in ("data/secret/a", "faces/secret/a", "outfits/secret.parquet", ".dlcr/store/a")]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    imported = clone / "generated" / "released.dvc"
    imported.touch()
    command(clone, "make", "clean")
    assert not [path for path in made if path.exists()]
    assert not (clone / "data" / "secret").exists()
    assert imported.exists()
    assert added(clone) == {"generated/released.dvc"}
