"""The pipeline as its users run it, in a fresh clone, profile smoke: `dvc repro`, `dvc exp run`, `dvc metrics diff`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from dlcr.data import load_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def command(folder: Path, *words: str) -> str:
    """The output of a command in `folder`, with this Python's programs first on PATH; fails with its messages."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DLCR_THREADS": "2",
    }
    environment.pop("OMP_NUM_THREADS", None)
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def clone(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would clone (this checkout's files, ignored ones left out), after `dvc repro` of profile smoke."""
    folder = tmp_path_factory.mktemp("clone") / "dlcr"
    listed = command(repository, "git", "ls-files", "--cached", "--others", "--exclude-standard")
    for name in listed.splitlines():
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    command(folder, "git", "init", "--quiet")
    command(folder, "git", "config", "user.name", "test")
    command(folder, "git", "config", "user.email", "test@example.org")
    command(folder, "dlcr", "profile", "use", "smoke")
    command(folder, "dvc", "repro")
    command(folder, "git", "add", "--all")
    command(folder, "git", "commit", "--quiet", "--message", "smoke")
    return folder


def test_repro_makes_every_output(clone: Path) -> None:
    for path in ("data/minicc/manifest.parquet", "outfits/minicc.parquet", "runs/progressive/seed-0/model.safetensors",
                 "evaluations/progressive/metrics.json", "reports/index.html", "reports/metrics.json"):  # fmt: skip
        assert (clone / path).stat().st_size > 0
    assert len(list((clone / "generated" / "inpainting").glob("variant-001-*.arrow"))) >= 1
    assert json.loads((clone / "reports" / "metrics.json").read_text())


def test_repro_again_has_nothing_to_do(clone: Path) -> None:
    assert "up to date" in command(clone, "dvc", "repro")
    assert "up to date" in command(clone, "dvc", "status")


def test_the_same_machine_gives_the_same_bytes_twice(clone: Path) -> None:
    before = (clone / "dvc.lock").read_bytes()
    shutil.rmtree(clone / ".dlcr")  # else the generated sets would come from the store
    command(clone, "dvc", "repro", "--force", "--no-run-cache")
    assert (clone / "dvc.lock").read_bytes() == before


def test_k_grows_by_an_experiment(clone: Path) -> None:
    """`dvc exp run -S k=3` adds variant 2, keeps the files of variants 0 and 1, and shows up in metrics diff."""
    folder = clone / "generated" / "inpainting"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command(clone, "dvc", "exp", "run", "-S", "k=3")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.items() < after.items()
    assert any(name.startswith("variant-002-") for name in after)
    assert yaml.safe_load((clone / "params.yaml").read_text())["k"] == 3
    assert "metrics.json" in command(clone, "dvc", "metrics", "diff")
    assert "workspace" in command(clone, "dvc", "exp", "show", "--no-pager")
    assert "up to date" in command(clone, "dvc", "repro", "train@progressive")


def test_own_folder_and_prcc(clone: Path) -> None:
    """A user's folder with a table, and a PRCC tree of the official layout, through `dvc repro prepare@...`."""
    mine = clone / "datasets" / "mine"
    mine.mkdir(parents=True)
    rows = ["image,subject,clothes,camera,split"]
    for number in range(4):
        Image.new("RGB", (24, 48), (60 * number, 90, 120)).save(mine / f"{number}.jpg")
        rows.append(f"{number}.jpg,s{number % 2},s{number % 2}-{number // 2},c{number // 2},train")
    (mine / "manifest.csv").write_text("\n".join(rows))
    params = clone / "params.yaml"
    params.write_text(
        params.read_text().replace("datasets:\n", "datasets:\n  mine: {reader: folder, source: datasets/mine}\n")
    )
    command(clone, "dvc", "repro", "prepare@mine")
    assert len(load_manifest(clone / "data" / "mine")) == 4

    for path in (
        "train/001/A_cropped_rgb001.jpg",
        "train/001/C_cropped_rgb002.jpg",
        "val/002/B_cropped_rgb001.jpg",
        "test/A/003/cropped_rgb001.jpg",
        "test/B/003/cropped_rgb001.jpg",
        "test/C/003/cropped_rgb001.jpg",
    ):
        file = clone / "datasets" / "prcc" / "rgb" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 48), (90, 60, 120)).save(file)
    command(clone, "dlcr", "profile", "use", "prcc")
    command(clone, "dvc", "repro", "prepare@prcc")
    assert sorted(load_manifest(clone / "data" / "prcc")["split"]) == [
        "gallery",
        "query",
        "query_sc",
        "train",
        "train",
        "val",
    ]
