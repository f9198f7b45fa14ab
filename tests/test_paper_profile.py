"""Profile paper on made-up trees of the five official layouts, with small models in place of the large models.

Every stage runs, in this one process: from the datasets' own folders to the report with Tables 1, 2 and 4.
"""

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from dvc.repo import Repo
from PIL import Image
from typer.testing import CliRunner

from dlcr.minicc import benchmark_scenes, render
from dlcr.params import load_params
from stages import describe, inpaint, parse, prepare, refine_eval, report, summarize, survey, train

TRAIN, TEST, OUTFITS, SHOTS = range(1, 5), range(5, 7), (1, 2), range(2)
DATASETS = {"prcc": "", "ltcc": "ltcc-", "ccvid": "ccvid-", "vc-clothes": "vc-clothes-", "last": "last-"}
"""The datasets, and how the names of their sets, runs and evaluations begin."""


def prcc() -> Iterator[tuple[str, int, int]]:
    """Files of the dataset with subject and outfit; so do the functions below."""
    for s, o, i in product(TRAIN, OUTFITS, SHOTS):
        yield f"rgb/train/{s:03d}/{'AC'[o - 1]}_cropped_rgb{10 * o + i:03d}.jpg", s, o
    yield "rgb/val/009/A_cropped_rgb001.jpg", 9, 1
    for s, camera, i in product(TEST, "ABC", SHOTS):
        yield f"rgb/test/{camera}/{s:03d}/cropped_rgb{i:03d}.jpg", s, 2 if camera == "C" else 1


def ltcc() -> Iterator[tuple[str, int, int]]:
    for s, o, i in product(TRAIN, OUTFITS, SHOTS):
        yield f"train/{s:03d}_{o}_c{o}_{i:06d}.png", s, o
    for s, o, i in product(TEST, OUTFITS, SHOTS):
        yield f"{'test' if o == 1 else 'query'}/{s:03d}_{o}_c{o}_{i:06d}.png", s, o


def ccvid() -> Iterator[tuple[str, int, int]]:
    for s, o, i in product([*TRAIN, *TEST], OUTFITS, range(1, 5)):
        yield f"session{o}/{s:03d}_0{o}/{i:05d}.jpg", s, o


def vc_clothes() -> Iterator[tuple[str, int, int]]:
    for s, o, i in product(TRAIN, OUTFITS, SHOTS):
        yield f"train/{s:04d}-0{o}-0{o}-0{i}.jpg", s, o
    for s, o, i in product(TEST, OUTFITS, SHOTS):
        yield f"{'gallery' if o == 1 else 'query'}/{s:04d}-0{o + 2}-0{o}-0{i}.jpg", s, o


def last() -> Iterator[tuple[str, int, int]]:
    for s, o, i in product(TRAIN, OUTFITS, SHOTS):
        yield f"train/{s:06d}/{s:06d}_film_sc{i}_{o}.jpg", s, o
    for s, i in product(TEST, SHOTS):
        yield f"test/query/{s:06d}_film_{i}.jpg", s, 2
        yield f"test/gallery/{s:06d}/{s:06d}_film_{i}.jpg", s, 1


FILES = {"prcc": prcc, "ltcc": ltcc, "ccvid": ccvid, "vc-clothes": vc_clothes, "last": last}


def make_trees(root: Path) -> None:
    """The five datasets below `root`, of MiniCC's people, so that there are clothes to find."""
    sizes = {"train_subjects": 9, "val_subjects": 0, "test_subjects": 0, "images_per_camera": 1}
    drawn = {}
    for scene in benchmark_scenes("minicc", **sizes):
        looks = drawn.setdefault(scene.subject, {})
        looks.setdefault(scene.clothes, scene)
    people = [list(looks.values()) for looks in drawn.values()]
    for name, files in FILES.items():
        for file, subject, outfit in files():
            path = root / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(people[subject - 1][outfit - 1]).image).save(path)
    for split, subjects, outfits in (("train", TRAIN, (1, 2)), ("gallery", TEST, (1,)), ("query", TEST, (2,))):
        lines = [f"session{o}/{s:03d}_0{o}\t{s:03d}\tu{o}_l0\n" for s, o in product(subjects, outfits)]
        (root / "ccvid" / f"{split}.txt").write_text("".join(lines))


def narrow(params: dict, repository: Path) -> dict:
    """Profile paper's content, small: mini models, few steps, and of PRCC's sets and runs those of the method alone."""
    mini = {name: str(repository / "models/mini" / name) for name in ("parser", "summarizer", "inpainter", "describer")}
    params["models"] |= {key: mini[key] for key in ("parser", "summarizer", "inpainter")}
    params["models"]["describers"] = {"llava": mini["describer"], "instructblip": mini["describer"]}
    params |= {"k": 2, "seeds": [0]}
    params["describe"] |= {"max_new_tokens": 16}
    params["summarize"] |= {"max_new_tokens": 16}
    params["inpaint"] |= {"steps": 1, "size": [96, 48], "block": 64, "dtype": "float32", "solver": "dpm++"}
    weights = {"weights": str(repository / "models/mini/backbone"), "clothes_from_epoch": 0}
    for name, entry in params["recipes"].items():
        entry |= {"model": f"{entry.get('model', name)}-mini", "settings": weights, "size": [96, 48], "epochs": 1}
        entry |= {"identities": 2, "images": 2, "precision": "float32", "milestones": []}
    for items in (params, params["private"]):
        for item in items["generated"].values():
            item |= {"k": 2, "steps": 1, "size": [96, 48]} if item.get("split") == "query" else {}
    others = tuple(start for start in DATASETS.values() if start)
    for section, kept in (("generated", {"inpainting"}), ("runs", {"baseline", "progressive"})):
        items = params[section].items()
        params[section] = {name: item for name, item in items if name in kept or name.startswith((*others, "queries-"))}
    items = params["evaluations"].items()
    params["evaluations"] = {name: item for name, item in items if item["run"] in params["runs"]}
    params["discriminators"] = {}
    tables = {name: params["report"]["tables"][name] for name in ("t2", "t3", "t4", "combinations")}
    tables["a1"] = {"1": "baseline", "5": "progressive", "6": {"evaluation": "progressive", "kind": "refined"}}
    tables["t3"]["CAL/stage 1"] = "progressive"
    tables["a5"] = {"progressive": "progressive"}
    params["report"] |= {"tables": tables, "ways": {"inpainting": "inpainting"}, "mark": "smoke"}
    return params


@pytest.fixture
def project(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the five datasets under profile paper."""
    make_trees(tmp_path / "datasets")
    shutil.copy(repository / "profiles/paper.yaml", tmp_path / "params.yaml")
    for name in ("dvc.yaml", "containers", "dlcr", "stages", "models"):
        (tmp_path / name).symlink_to(repository / name)
    for name in ("generated", "discriminators", "faces"):
        (tmp_path / name / "none").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_dvc_would_run_every_stage(project: Path) -> None:
    """`dvc repro --dry --force`: with nothing but the datasets there, every stage is to run, in some order."""
    Repo.init(no_scm=True).close()
    with Repo() as repo:
        stages = {stage.addressing for stage in repo.index.stages}
        planned = [stage.addressing for stage in repo.reproduce(dry=True, force=True)]
    assert len(planned) == len(set(planned))
    assert set(planned) == stages
    assert len(planned) > 80
    assert planned[-1] == "report"


def run(stage: object, *arguments: str) -> str:
    result = CliRunner().invoke(stage.app, arguments)
    assert result.exit_code == 0, (stage.__name__, arguments, result.output, result.exception)
    return result.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # the counts differ from the published ones
def test_five_datasets_from_their_folders_to_the_tables(project: Path, repository: Path) -> None:
    torch.set_num_threads(1)
    params = narrow(yaml.safe_load(Path("params.yaml").read_text()), repository)
    Path("params.yaml").write_text(yaml.safe_dump(params))
    loaded = load_params()
    for name in DATASETS:
        assert name in run(prepare, name)
        run(parse, name)
        run(describe, name)
        run(summarize, name)
    for name in loaded.generated:
        run(inpaint, name)
    for name in loaded.runs:
        run(train, name)
    for name in loaded.evaluations:
        run(refine_eval, name)
    assert len(loaded.evaluations) == 2 * len(DATASETS) + 6
    run(survey)
    run(report)

    table = pd.read_csv("reports/tables/t1.csv").set_index("dataset")
    assert table["original_images"].loc[["PRCC", "LTCC", "VC-Clothes", "LaST"]].tolist() == [16] * 4
    methods = pd.read_csv("reports/tables/t2.csv")
    measured = methods[methods["top1"].notna()]
    assert sorted(zip(measured["dataset"], measured["method"], strict=True)) == sorted(
        product(["PRCC", "LTCC", "CCVID", "VC-Clothes", "LaST"], ["CAL", "CAL + DLCR"])
    )
    domains = pd.read_csv("reports/tables/t4.csv")
    assert domains["top1"].notna().sum() == 6
