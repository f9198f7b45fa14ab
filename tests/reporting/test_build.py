"""The whole report on made-up data: files, gaps, the same bytes twice, nothing of private data."""

import io
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from made_up import make_pipeline

from dlcr.params import Params, load_params
from dlcr.reporting import scores
from dlcr.reporting.build import FOLDERS, build, load_histories, publish
from dlcr.reporting.formats import rounded
from dlcr.reporting.results import load_results
from dlcr.reporting.survey import survey

RUN = {"baseline", "random", "paired", "progressive", "oracle", "ccfa-ablations"}
NO_TIMINGS = pd.DataFrame(columns=["stage", "name"])
TIMINGS = pd.DataFrame(
    [
        {"stage": "train", "name": "progressive", "epoch_seconds": 3.4},
        {"stage": "parse", "name": "minicc", "seconds": 12.0, "images_per_second": 65.0},
    ]
)


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml").model_copy(update={"seeds": [0, 1, 2, 3]})


@pytest.fixture(scope="module", autouse=True)
def _fake_describer() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "load_describer", lambda model: model)
        patch.setattr(scores, "describe", lambda describer, images, question, **settings: ["red shirt"] * len(images))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A pipeline of which the rows of Table A1 but row 2, and CCFA's ablations, were run."""
    root = tmp_path_factory.mktemp("pipeline")
    make_pipeline(root, params, missing=tuple(set(params.evaluations) - RUN))
    found = rounded(scores.stage_scores(root, params))
    (root / "reports" / "stages.json").write_text(json.dumps(found))
    return root


@pytest.fixture(scope="module")
def files(root: Path, params: Params) -> dict[str, bytes]:
    return build(root, params, TIMINGS)


def hashed(files: dict[str, bytes]) -> dict[str, bytes]:
    """What DVC hashes of a report."""
    return {name: files[name] for name in files if name.split("/")[0] in ("tables", "figures", "pictures", "plots")}


@pytest.mark.slow
def test_the_same_bytes_twice_and_no_times_in_them(root: Path, params: Params, files: dict[str, bytes]) -> None:
    again = hashed(build(root, params, NO_TIMINGS))
    assert [name for name, content in hashed(files).items() if content != again.pop(name)] == []
    assert again == {}
    for name, content in hashed(files).items():
        assert not re.search(rb"<dc:date>|tEXtSoftware|tIME", content), name


def test_every_table_is_there_in_three_forms(files: dict[str, bytes]) -> None:
    tables = {"t1", "t2", "t3", "t4", "a1", "oracle", "a3", "a4", "a8", "ccfa-main", "ccfa", "guidance", "combinations"}
    for name in tables:
        for kind in ("csv", "md", "tex"):
            assert files[f"tables/{name}.{kind}"]
    assert {"timings/a5.tex", "timings/a6.md", "timings/wall.csv", "timings/provenance.md"} <= set(files)
    assert {"plots/top1.csv", "plots/k.csv", "plots/training/progressive.csv"} <= set(files)
    assert {"figures/a1.svg", "figures/cmc.svg", "figures/fig-a8.svg", "figures/training.svg"} <= set(files)
    assert {"pictures/fig-1.svg", "pictures/fig-a3.svg", "pictures/fig-a4.svg", "pictures/fig-a5.svg"} <= set(files)


def test_numbers_gaps_and_texts(files: dict[str, bytes]) -> None:
    rows = pd.read_csv(io.BytesIO(files["tables/a1.csv"])).set_index("row")
    assert pd.isna(rows.loc["2", "top1"])
    assert rows.loc["5", "top1"] > rows.loc["1", "top1"]
    shares = pd.read_csv(io.BytesIO(files["tables/oracle.csv"])).set_index("measure")
    assert 0 < shares.loc["top1", "low"] < shares.loc["top1", "share"] < shares.loc["top1", "high"]
    assert b"| not run |" in files["tables/a1.md"]
    quality = pd.read_csv(io.BytesIO(files["tables/quality.csv"])).set_index("set")
    assert quality.loc["inpainting", ["variants", "not_made", "dropped"]].tolist() == [96, 24, 0]
    assert quality.loc["inpainting", "change_50"] == 0.5
    page = files["index.html"].decode()
    assert len(page) < 15_000_000
    assert "<script>alert(1)" not in page
    found = json.loads(files["claims.json"])["claims"]
    assert found["dlcr"]["outcome"] in ("supported", "undecided")
    assert {"evaluations", "machine"} <= set(json.loads(files["provenance.json"]))


def test_ablations_are_evaluations_and_histories_of_their_own(root: Path, params: Params, files: dict) -> None:
    results = load_results(root, params)
    assert results["standard"] is None
    assert results["ccfa-ablations/no-sta"].name == "ccfa-ablations/no-sta"
    assert "ccfa-ablations" not in results
    assert "ccfa-ablations/no-sta" in load_histories(params, results)
    assert "plots/training/ccfa-ablations/no-sta.csv" in files


def test_a_history_without_its_loss_is_named(root: Path, params: Params) -> None:
    path = root / "evaluations/progressive/history.csv"
    before = path.read_text()
    path.write_text("epoch,loss\n0,1\n")
    with pytest.raises(ValueError, match=r"evaluations/progressive/history.csv: expected the columns epoch and iden"):
        load_histories(params, load_results(root, params))
    path.write_text(before)


def test_what_the_quality_gate_drops_is_counted(tmp_path: Path, params: Params) -> None:
    make_pipeline(tmp_path, params, missing=tuple(params.evaluations))
    strict = params.model_copy(update={"quality": params.quality.model_copy(update={"min_spread": 0.6})})
    (tmp_path / "reports" / "sets.json").write_text(json.dumps(survey(tmp_path, strict)))
    files = build(tmp_path, strict, NO_TIMINGS)
    quality = pd.read_csv(io.BytesIO(files["tables/quality.csv"])).set_index("set")
    assert quality.loc["oracle", ["not_made", "dropped"]].tolist() == [24, 72]
    assert quality.loc["oracle", "reasons"] == "empty mask 24, quality: spread 72"
    assert "quality: spread 72" in files["index.html"].decode()
    # nothing was evaluated: gaps, no zeros
    assert pd.read_csv(io.BytesIO(files["tables/a1.csv"]))["top1"].isna().all()
    assert not {"pictures/fig-a4.svg", "pictures/fig-a5.svg", "figures/fig-a8.svg"} & set(files)
    assert files["tables/a1.md"].count(b"not run") >= 14
    assert {claim["outcome"] for claim in json.loads(files["claims.json"])["claims"].values()} == {"not run"}


def test_nothing_of_a_private_dataset(root: Path, params: Params) -> None:
    """The report is in Git: what may not be redistributed must not get there."""
    private = params.private.model_copy(update={"datasets": params.datasets})
    files = build(root, params.model_copy(update={"private": private}), NO_TIMINGS)
    drawn = {name for name in files if name.startswith(("figures/", "pictures/"))}
    assert drawn == {f"figures/{name}.svg" for name in ("a1", "cmc", "fig-a8", "training")}
    page = files["index.html"].decode()
    assert "data:image/png" not in page
    assert "data:image/webp" not in page


def test_a_clone_without_data_makes_the_same_tables(tmp_path: Path, root: Path, params: Params, files: dict) -> None:
    """Git holds evaluations and survey; data, masks, sets and models are not needed for tables, figures and plots."""
    for name in ("evaluations", "reports"):
        shutil.copytree(root / name, tmp_path / name)
    again = hashed(build(tmp_path, params, NO_TIMINGS))
    kept = {name: content for name, content in hashed(files).items() if not name.startswith("pictures/")}
    assert [name for name in kept if kept[name] != again.get(name)] == []
    assert set(again) - set(kept) == {"pictures/fig-a5.svg"}  # of the features that evaluations hold


def test_numbers_that_came_with_the_repository_are_marked_beside_those_made_here(
    tmp_path: Path, root: Path, params: Params, files: dict
) -> None:
    for name in ("evaluations", "reports"):
        shutil.copytree(root / name, tmp_path / name)
    (tmp_path / "runs" / "baseline").mkdir(parents=True)
    mixed = build(tmp_path, params, NO_TIMINGS)
    assert [name for name in files if name.startswith("tables/") and files[name] != mixed[name]] == []
    page = mixed["index.html"].decode()
    headline = page.partition('id="a1"')[2].partition("</table>")[0]
    rows = dict(re.findall(r'<tr><th scope="row">(\w+)</th>(.*?)</tr>', headline))
    assert "†" in rows["5"]
    assert "†" not in rows["1"]
    assert "† measured by the run that came with the repository" in page
    assert "(with the repository)" in page
    assert "†" not in files["index.html"].decode()


def test_publish_leaves_no_older_files(tmp_path: Path) -> None:
    publish({"tables/a.csv": b"1", "plots/training/x.csv": b"2", "index.html": b"3"}, tmp_path)
    (tmp_path / "figures" / ".gitignore").write_text("/x")
    page = publish({"tables/b.csv": b"1", "index.html": b"4"}, tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"tables/b.csv", "index.html", "figures/.gitignore"}
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(FOLDERS)
    assert page.read_bytes() == b"4"
