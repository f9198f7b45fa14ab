"""Profile prcc as on the first day with the real models: from `dlcr doctor` to the report, offline and online.

The models are small, in the exact layouts of their repositories (`hub`), the hub is a server on loopback
(`hubs`), and PRCC's pictures are MiniCC's people. The values are those of a first trial: k of 2, two steps, one
seed.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import hub as models
import numpy as np
import pandas as pd
import pytest
import yaml
from clones import command, make_clone, output, start
from hubs import commit_of, serve
from narrow import keep_rows
from PIL import Image

from dlcr.minicc import benchmark_scenes, render
from dlcr.params import load_params

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(1800)]

TOKEN = "hf_of_somebody_who_accepted_the_licence"
UNWANTED = ("Traceback", "requires torchvision", "Could not reach", "trust_remote_code")
"""What no command may print: a bug, notices about packages that are not needed, and about a hub that is not asked."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """A hub with the profile's models, of which Llama is given to TOKEN's owner alone: its address and the log."""
    origin = tmp_path_factory.mktemp("origin")
    models.build(origin)
    with serve(origin, [models.LLAMA], TOKEN) as hub:
        yield hub


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """A clone with profile prcc, and a PRCC of eight people."""
    clone = make_clone(repository, tmp_path / "dlcr")
    command(clone, "dlcr", "profile", "use", "prcc")
    make_prcc(clone / "datasets" / "prcc")
    return clone


def try_first(clone: Path, rows: list[str], generated: list[str]) -> None:
    """Edits params.yaml as for a first trial: these rows of Table A1, these sets beside theirs, and small values."""
    params = yaml.safe_load((clone / "params.yaml").read_text())
    keep_rows(params, rows, generated)
    params |= {"k": 2, "seeds": [0]}
    params["parse"] |= {"batch": 4}
    params["describe"] |= {"max_new_tokens": 24}
    params["inpaint"] |= {"steps": 2, "size": [64, 32], "dtype": "float32"}
    params["discriminate"] |= {"widths": [16, 16], "steps": 2, "batch": 4}
    for entry in params["recipes"].values():
        entry["settings"] |= {"clothes_from_epoch": 0}
        entry |= {"size": [64, 32], "epochs": 1, "milestones": [], "identities": 2, "images": 2}
    params["generated"]["queries-prcc"] |= {"k": 2, "steps": 2, "size": [64, 32]}
    params["report"] |= {"mark": "smoke"}
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def make_prcc(root: Path) -> None:
    """PRCC's official layout: three people to train with, two to validate, three to test, on cameras A, B and C."""
    scenes = benchmark_scenes("minicc", train_subjects=8, val_subjects=0, test_subjects=0, images_per_camera=1, seed=0)
    rng = np.random.default_rng(0)
    for (who, camera), scene in zip(product(range(1, 9), "ABC"), scenes, strict=True):
        folder = f"train/{who:03d}" if who < 4 else f"val/{who:03d}" if who < 6 else f"test/{camera}/{who:03d}"
        name = f"{'' if who > 5 else f'{camera}_'}cropped_rgb{100 * who + 'ABC'.index(camera):03d}.jpg"
        path = root / "rgb" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(rng.integers(90, 111)), int(rng.integers(235, 266))
        Image.fromarray(render(scene).image).resize(size, Image.Resampling.BICUBIC).save(path, quality=92)


def user(folder: Path, address: str, *, online: bool, token: str = "") -> dict[str, str]:
    """The environment of a user whose home and cache of models are in `folder`, at first empty."""
    return {
        "HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": address, "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0" if online else "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def fails(folder: Path, *words: str, **environment: str) -> str:
    """What a command that fails as it should printed."""
    process = start(folder, *words, **environment)
    printed, _ = process.communicate()
    assert process.returncode == 1, printed[-6000:]
    return checked(printed)


def checked(printed: str) -> str:
    for text in UNWANTED:
        assert text not in printed, printed[-6000:]
    return printed


def advised(printed: str) -> list[str]:
    """The commands that `dlcr doctor` names for weights that are missing."""
    return re.findall(r"-> (hf download .+)", printed)


def download(clone: Path, lines: list[str], environment: dict[str, str]) -> None:
    """Runs the commands, all at once."""
    for process in [start(clone, *shlex.split(line), **environment) for line in lines]:
        checked(output(process))


def every_stage(clone: Path) -> list[str]:
    """All stages in an order in which each finds what it needs: modules with their arguments."""
    params = load_params(clone / "params.yaml")
    guided = [name for name, item in params.generated.items() if item.discriminator != "none"]
    names = [
        ("prepare", params.datasets),
        ("parse", params.datasets),
        ("describe", params.descriptions),
        ("summarize", params.outfits),
        ("inpaint", [name for name in params.generated if name not in guided]),
        ("discriminate", params.discriminators),
        ("inpaint", guided),
        ("train", params.runs),
        ("refine_eval", params.evaluations),
    ]
    return [*(f"stages.{stage} {name}" for stage, items in names for name in items), "stages.report"]


def run_stages(clone: Path, lines: list[str], **environment: str) -> str:
    """Runs stages in one process, and returns what they printed."""
    process = start(
        clone, "python", str(Path(__file__).with_name("in_one_process.py")), stdin=subprocess.PIPE, **environment
    )
    printed, _ = process.communicate("\n".join(lines))
    assert process.returncode == 0, printed[-6000:]
    return checked(printed)


def check_report(clone: Path, rows: list[str], environment: dict[str, str]) -> None:
    """The report is there, with these rows of Table A1 measured, and no file of a repository was run."""
    table = pd.read_csv(clone / "reports" / "tables" / "a1.csv", dtype={"row": str}).set_index("row")
    assert list(table.index[table["top1"].notna() & table["map"].notna()]) == rows
    assert (clone / "reports" / "index.html").stat().st_size > 0
    assert not list(Path(environment["HF_HOME"]).rglob("ran"))


def test_without_network(clone: Path, hub: tuple[str, list[str]], tmp_path: Path) -> None:
    """Weights come by doctor's advice; then the network is gone, and every stage runs."""
    rows = ["1", "2", "3", "4", "5", "6"]
    try_first(clone, rows, ["guided", "instructblip"])
    address, log = hub
    online, offline = user(tmp_path, address, online=True, token=TOKEN), user(tmp_path, address, online=False)
    lines = advised(fails(clone, "dlcr", "doctor", **online))
    assert len(lines) == len(models.MAKERS)
    download(clone, lines, online)
    asked = len(log)
    assert "problem" not in checked(command(clone, "dlcr", "doctor", **offline))
    assert "Running stage 'parse@prcc'" in checked(command(clone, "dvc", "repro", "parse@prcc", **offline))
    run_stages(clone, every_stage(clone)[2:], **offline)
    check_report(clone, rows, offline)
    assert log[asked:] == []


def test_with_a_hub(clone: Path, hub: tuple[str, list[str]], tmp_path: Path) -> None:
    """Stages download what they lack, a gated model is refused in one line, and doctor's advice completes the rest."""
    rows = ["1", "6"]
    try_first(clone, rows, ["instructblip"])
    address, log = hub
    stranger, member = user(tmp_path, address, online=True), user(tmp_path, address, online=True, token=TOKEN)
    asked = len(log)
    stages = every_stage(clone)
    first = [line for line in stages if re.match(r"stages\.(prepare|parse|describe) ", line)]
    run_stages(clone, first, **stranger)
    refused = fails(clone, "python", "-m", "stages.summarize", "prcc", **stranger)
    (line,) = [line for line in refused.splitlines() if line.startswith("error: ")]
    assert refused.splitlines()[-1] == line
    assert f"{models.LLAMA}@main" in line
    assert "hf auth login" in line
    assert "licence" in line
    assert "meta-llama" in command(clone, "dlcr", "models", "pin", **member)
    for name in models.MAKERS:
        assert f"{name}@{commit_of(name)}" in (clone / "params.yaml").read_text()
    lines = advised(fails(clone, "dlcr", "doctor", **member))
    assert {shlex.split(line)[2] for line in lines} == {models.LLAMA, models.INPAINTER, models.RESNET}
    download(clone, lines, member)
    assert "problem" not in checked(command(clone, "dlcr", "doctor", **member))
    run_stages(clone, [line for line in stages if line not in first], **member)
    check_report(clone, rows, member)
    unread = (".bin", ".ckpt", ".pt", ".pth", ".py")
    assert not [line for line in log[asked:] if "/resolve/" in line and line.endswith(unread)]
