"""The pipeline as its users run it, in a fresh clone, profile smoke: `dvc repro`, `dvc exp run`, `dvc metrics diff`."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from clones import command, made_clone, make_clone, output, stages_run, start_make
from narrow import show_only
from PIL import Image

from dlcr.data import load_manifest, open_images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ONE_RUN = ("SEEDS=seeds=[0]", "HEADLINE=a1")  # profile smoke has one seed; its Table A1 is cut to one run


@pytest.fixture(scope="module")
def clones(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A clone after `make tables`; and one after `make demo`, made meanwhile, whose headline is one run."""
    headline = make_clone(repository, tmp_path_factory.mktemp("headline") / "dlcr")
    params = yaml.safe_load((headline / "params.yaml").read_text())
    show_only(params, "progressive")
    (headline / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command(headline, "git", "add", "--all")
    command(headline, "git", "commit", "--quiet", "--message", "before")
    demo = start_make(headline, "demo", *ONE_RUN)
    everything = made_clone(repository, tmp_path_factory, "everything")
    assert "\nDone. Open reports/index.html\n" in output(demo)
    return everything, headline


@pytest.fixture
def clone(clones: tuple[Path, Path]) -> Path:
    return clones[0]


def test_repro_makes_every_output(clone: Path) -> None:
    for path in ("data/minicc/manifest.parquet", "outfits/minicc.parquet", "runs/progressive/seed-0/model.safetensors",
                 "evaluations/progressive/scores.json", "evaluations/progressive.json", "reports/stages.json",
                 "reports/sets.json", "reports/index.html", "reports/tables/claims.md", "reports/figures/a1.svg",
                 "reports/pictures/fig-a3.svg", "reports/timings/wall.csv"):  # fmt: skip
        assert (clone / path).stat().st_size > 0
    assert len(list((clone / "generated" / "inpainting").glob("variant-001-*.arrow"))) >= 1
    made = [path for path in (clone / "evaluations").glob("*/") if (clone / "runs" / path.name).is_dir()]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in made}
    assert len(sizes) >= 4
    assert max(sizes.values()) < 40_000, sizes  # Git keeps every version of them


def test_repro_again_has_nothing_to_do(clone: Path) -> None:
    assert "up to date" in command(clone, "dvc", "repro")
    assert "up to date" in command(clone, "dvc", "repro", "train@progressive")
    assert "up to date" in command(clone, "dvc", "status")


def test_the_same_machine_gives_the_same_bytes_twice(clones: tuple[Path, Path]) -> None:
    """And the headline alone needs less: no guided set, which takes no part in it."""
    everything, headline = (yaml.safe_load((folder / "dvc.lock").read_text())["stages"] for folder in clones)
    made = {
        name for name, stage in headline.items() if all((clones[1] / out["path"]).exists() for out in stage["outs"])
    }
    assert "refine-eval@progressive" in made
    assert "inpaint@guided" not in made
    # reports and other evaluations are there because git has them
    made = {
        name for name in made - {"report", "survey"} if name.startswith("refine-eval@") <= name.endswith("@progressive")
    }
    assert len(made) > 5
    assert not [name for name in made if headline[name] != everything[name]]


def test_make_demo_changes_what_it_measured_and_nothing_else(clones: tuple[Path, Path], tmp_path: Path) -> None:
    """By what git says: after the first one here only this evaluation and what the report makes of it; where the same
    bytes come out, nothing at all."""
    clone = clones[1]
    changed = command(clone, "git", "status", "--porcelain").splitlines()
    own = r"( M|\?\?) evaluations/progressive(\.json|/.*)"
    # params.yaml has the seeds that were asked for, as DVC writes them
    assert [line for line in changed if line[3:] not in ("dvc.lock", "params.yaml")
            and not line[3:].startswith("reports/") and not re.fullmatch(own, line)] == []  # fmt: skip
    command(clone, "git", "add", "--all")
    command(clone, "git", "commit", "--quiet", "--message", "demo")
    fresh = tmp_path / "fresh"
    command(tmp_path, "git", "clone", "--quiet", str(clone), str(fresh))
    shutil.copytree(clone / ".dvc" / "cache", fresh / ".dvc" / "cache")  # what stages wrote before is not made again
    printed = output(start_make(fresh, "demo", *ONE_RUN))
    assert (fresh / "runs" / "progressive" / "seed-0" / "model.safetensors").exists()
    assert "Rankings: 3 same." in printed  # plain, refined, averaged
    assert command(fresh, "git", "status", "--porcelain") == ""


def test_the_recipes_hold_after_make_demo(clones: tuple[Path, Path], repository: Path) -> None:
    """The README's, in its order, from the state that it leaves the reader in; with a smaller K."""
    clone = clones[1]
    section = (repository / "README.md").read_text().partition("\n## Recipes\n")[2].partition("```console\n")[2]
    lines = [line.partition("#")[0].strip() for line in section.partition("```")[0].replace("$ ", "", 1).split("\n$ ")]
    assert {"dvc exp run -S k=20 $(dlcr targets a1)", "dvc metrics diff"} <= set(lines)
    told = {line: command(clone, "bash", "-c", line.replace("k=20", "k=3")) for line in lines if line}
    assert not stages_run(told["dvc repro $(dlcr targets a1)"])
    grown = stages_run(told["dvc exp run -S k=20 $(dlcr targets a1)"])
    assert {"inpaint@inpainting", "train@progressive", "refine-eval@progressive"} <= grown
    assert "report" not in grown
    assert len(told["dvc metrics diff"].splitlines()) <= 60
    assert re.search(r"k +2 +3", told["dvc params diff"])
    shown = next(printed for line, printed in told.items() if line.startswith("dvc exp show"))
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if len(line.split()) > 2}
    assert len(rows["Experiment"]) == 5, shown  # plain and refined top-1 of two evaluations, and k
    assert [row[-1] for name, row in rows.items() if name != "Experiment"] == ["3", "2", "3"]  # here, committed, run
    assert all(float(number) >= 0 for number in rows["workspace"])


def test_a_model_of_ones_own_joins_the_grid(clone: Path, repository: Path) -> None:
    """The file of docs/training.md, as a run of its own; editing it makes that run again, and no other."""
    own = clone / "own" / "mine.py"
    own.parent.mkdir()
    own.write_text(
        re.findall(r"```python\n(.*?)```", (repository / "docs/training.md").read_text(), flags=re.DOTALL)[0]
    )
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["recipes"]["mine"] = {**params["recipes"]["cal-mini"], "settings": {"width": 32}}
    params["runs"]["mine"] = {**params["runs"]["progressive"], "recipe": "mine", "code": "own/mine.py"}
    params["evaluations"]["mine"] = {**params["evaluations"]["baseline"], "run": "mine"}
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    command(clone, "dvc", "repro", "refine-eval@mine")
    assert json.loads((clone / "evaluations/mine.json").read_text())["top1"] >= 0
    own.write_text(own.read_text().replace("7, 4", "5, 4"))
    changed = command(clone, "dvc", "status", "train@mine", "train@progressive")
    assert "own/mine.py" in changed
    assert "train@progressive" not in changed


def test_k_grows_by_an_experiment(clone: Path) -> None:
    """`dvc exp run -S k=3` adds variant 2, keeps the files of variants 0 and 1; the report tells what that did."""
    folder = clone / "generated" / "oracle"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command(clone, "dvc", "exp", "run", "-S", "k=3", "refine-eval@oracle")
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.items() < after.items()
    assert any(name.startswith("variant-002-") for name in after)
    assert yaml.safe_load((clone / "params.yaml").read_text())["k"] == 3
    changed = command(clone, "dvc", "metrics", "diff")  # needs no report
    assert set(re.findall(r"([\w/-]+)\.json", changed)) <= {"evaluations/oracle", "evaluations/mine"}
    command(clone, "dvc", "repro", "--single-item", "report")
    command(clone, "dvc", "plots", "diff")
    plots = (clone / "dvc_plots" / "index.html").read_text()
    assert "Table A1, top-1" in plots
    assert "identity loss" in plots


def test_own_folder(clone: Path) -> None:
    """A user's folder with a table, to its scores as the README says, by stages that are all its own."""
    images = open_images(clone / "data" / "minicc" / "images")
    rows = ["image,subject,clothes,camera,split"]
    for row in load_manifest(clone / "data" / "minicc").itertuples():
        file = clone / "datasets" / "mine" / row.image_id
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(images.encoded(row.image_id))
        rows.append(f"{row.image_id},{row.subject},{row.clothes},{row.camera},{row.split}")
    (clone / "datasets" / "mine" / "manifest.csv").write_text("\n".join(rows))
    command(clone, "dlcr", "add-dataset", "mine", "datasets/mine", "--like", "smoke")
    command(clone, "dlcr", "profile", "use", "mine", "--force")  # earlier tests edited params.yaml
    ran = stages_run(command(clone, "dvc", "repro"))
    own = {"mine", "mine-inpainting", "queries-mine", "mine-baseline", "mine-paired", "mine-progressive"}
    assert {name.partition("@")[2] for name in ran - {"survey", "report"}} == own
    table = (clone / "reports" / "tables" / "a1.md").read_text()
    score = json.loads((clone / "evaluations" / "mine-baseline.json").read_text())["top1"]
    assert f"| {score:.1f} " in next(line for line in table.splitlines() if line.startswith("| 1 |"))


def test_prcc(clone: Path) -> None:
    """A PRCC tree of the official layout, through `dvc repro prepare@prcc`."""
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
    command(clone, "dlcr", "profile", "use", "prcc", "--force")
    command(clone, "dvc", "repro", "prepare@prcc")
    assert sorted(load_manifest(clone / "data" / "prcc")["split"]) == [
        "gallery",
        "query",
        "query_sc",
        "train",
        "train",
        "val",
    ]
