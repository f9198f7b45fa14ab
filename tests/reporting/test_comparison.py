"""`dlcr compare`: what is the same, what agrees, what differs, what was not run; folders, revisions, experiments."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from clones import command
from made_up import make_data, make_evaluation
from narrow import show_only
from typer.testing import CliRunner

from dlcr.cli import app
from dlcr.reporting import comparison
from dlcr.reporting.comparison import compare, exit_code, opened

NAMES = ("baseline", "paired", "progressive", "oracle")
SEEDS = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def template(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with four committed evaluations and their lines in dvc.lock, and no models."""
    root = tmp_path_factory.mktemp("project")
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text())
    show_only(params, "progressive")
    params["evaluations"] = {name: params["evaluations"][name] for name in NAMES}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    manifest = make_data(root / "made", "minicc")
    queries, gallery = (manifest[manifest["split"] == split] for split in ("query", "gallery"))
    for number, name in enumerate(NAMES):
        folder = root / "evaluations" / name
        make_evaluation(folder, queries["image_id"].tolist(), gallery, manifest, 0.3 + 0.1 * number, SEEDS)
        table = pd.read_parquet(folder / "per_query.parquet")  # made of six people: too few to tell anything
        table.assign(subject=table["image_id"]).to_parquet(folder / "per_query.parquet")
    shutil.rmtree(root / "made")
    stages = {"prepare@minicc": {"outs": [{"path": "data/minicc", "md5": "d"}]}}
    stages |= {f"train@{name}": {"outs": [{"path": f"runs/{name}", "md5": "r"}]} for name in NAMES}
    stages |= {
        f"refine-eval@{name}": {
            "deps": [{"path": f"runs/{name}", "md5": "r"}],
            "outs": [{"path": f"evaluations/{name}", "md5": "e"}],
        }
        for name in NAMES
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    for words in (("init",), ("config", "user.name", "test"), ("config", "user.email", "test@example.org")):
        command(root, "git", *words)
    (root / ".gitignore").write_text("/runs\n/data\n")
    command(root, "git", "add", "--all")
    command(root, "git", "commit", "--quiet", "--message", "results")
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(root)
    return root


def train(project: Path, *names: str) -> None:
    """As if these had been trained here."""
    for name in names:
        (project / "runs" / name).mkdir(parents=True)


def perturb(project: Path, name: str, lost: float) -> None:
    """A share of the queries that were right is wrong, of every seed; DVC has seen that."""
    path = project / "evaluations" / name / "per_query.parquet"
    table = pd.read_parquet(path)
    luck = np.random.default_rng(0).uniform(size=table["image_id"].nunique())
    unlucky = set(table["image_id"].unique()[luck < lost])
    hit = table["image_id"].isin(unlucky) & (table["rank"] == 1)
    table.assign(rank=table["rank"].mask(hit, 2), ap=table["ap"].mask(hit, table["ap"] / 2)).to_parquet(path)
    lock = project / "dvc.lock"
    lock.write_text(
        lock.read_text().replace(
            f"- md5: e\n      path: evaluations/{name}\n", f"- md5: other\n      path: evaluations/{name}\n"
        )
    )


def verdicts(found: comparison.Comparison) -> dict[str, str]:
    assert {row.kind for row in found.rows} == {"plain", "refined", "reranked"}
    return {row.evaluation: row.verdict for row in found.rows if row.kind == "plain"}


def test_what_was_run_here_against_what_is_committed(project: Path) -> None:
    train(project, "baseline", "paired", "progressive")
    perturb(project, "paired", 0.05)
    perturb(project, "progressive", 0.9)
    with opened(".") as here, opened("HEAD") as there:
        found = compare(here, there)
    assert verdicts(found) == {
        "baseline": "same",
        "paired": "agrees",
        "progressive": "differs",
        "oracle": "not run",  # it came with the repository
    }
    row = next(row for row in found.rows if (row.evaluation, row.kind) == ("progressive", "plain"))
    apart = row.differences["top1"]
    assert apart.mean == pytest.approx(row.here["top1"] - row.there["top1"])
    assert apart.low <= apart.mean <= apart.high < 0
    assert exit_code(found) == comparison.DIFFERS
    assert set(found.stages["same bytes"]) == {"refine-eval@baseline", *(f"train@{name}" for name in NAMES[:3])}
    assert found.stages["other bytes"] == ["refine-eval@paired", "refine-eval@progressive"]
    assert set(found.stages["not run"]) == {"prepare@minicc", "train@oracle", "refine-eval@oracle"}


def test_a_clone_without_models_is_what_it_holds(project: Path) -> None:
    with opened(".") as here, opened("HEAD") as there:
        found = compare(here, there)
    assert set(verdicts(found).values()) == {"same"}
    assert exit_code(found) == 0


def test_revisions_and_experiments(project: Path) -> None:
    perturb(project, "progressive", 0.9)
    shutil.rmtree(project / "evaluations" / "oracle")
    command(project, "git", "commit", "--quiet", "--all", "--message", "other")
    command(project, "git", "update-ref", "refs/exps/ab/cdef/gruff-gogo", "HEAD")
    command(project, "git", "reset", "--quiet", "--hard", "HEAD~1")
    with opened("gruff-gogo") as here, opened("HEAD") as there:
        found = compare(here, there)
    assert verdicts(found) == {"baseline": "same", "paired": "same", "progressive": "differs", "oracle": "not run"}
    with opened("HEAD") as here, opened("gruff-gogo") as there:
        assert verdicts(compare(here, there))["oracle"] == "not run there"


def test_chance_has_as_many_tries_as_there_are_rows(project: Path) -> None:
    """The same difference that differs alone agrees among many."""
    train(project, *NAMES)
    perturb(project, "progressive", 0.25)
    with opened(".") as here, opened("HEAD") as there:
        rows = compare(here, there).rows
    smallest = min(found.p_value for row in rows for found in row.differences.values())
    tests = sum(len(row.differences) for row in rows)
    assert 0.05 / tests < smallest < 0.05
    assert not [row for row in rows if row.verdict == "differs"]


def test_the_command(project: Path) -> None:
    train(project, "baseline", "progressive")
    perturb(project, "progressive", 0.9)
    runner = CliRunner()
    shown = runner.invoke(app, ["compare"])
    assert shown.exit_code == 3
    assert re.search(r"progressive +plain .* -\d+\.\d \(-\d+\.\d to -\d+\.\d\) +differs", shown.output)
    assert "oracle" not in shown.output.partition("\n\n")[0]  # nothing to show of it
    assert "Rankings: 3 same, 3 differs, 6 not run." in shown.output
    assert "Other bytes: refine-eval@progressive." in shown.output
    table = runner.invoke(app, ["compare", "--markdown"]).output
    assert table.startswith("| Evaluation | Ranking | top-1 here | top-1 there |")
    data = json.loads(runner.invoke(app, ["compare", "--json"]).output)
    by_name = {(row["evaluation"], row["kind"]): row for row in data["rows"]}
    assert by_name["progressive", "plain"]["top1"]["difference"]["high"] < 0
    assert by_name["oracle", "plain"]["map"]["difference"] is None
    assert runner.invoke(app, ["compare", "HEAD", "HEAD"]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "nothing: neither a folder nor a git revision nor an experiment of DVC"),
        ("--upload-pack=x", "neither a folder"),
        ("evaluations", "evaluations: this folder has no evaluations/"),
        ("HEAD~1", "HEAD~1: neither a folder"),
    ],
)
def test_what_cannot_be_compared_is_named(project: Path, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)), opened(name):
        pass


def test_what_has_other_queries_or_seeds_is_not_compared(project: Path) -> None:
    """As after an edit of the test set: nothing fails, and nothing is said of the difference."""
    train(project, "paired", "baseline")
    folder = project / "evaluations"
    table = pd.read_parquet(folder / "paired/per_query.parquet")
    table[table["image_id"] != table["image_id"].iloc[0]].to_parquet(folder / "paired/per_query.parquet")
    table = pd.read_parquet(folder / "baseline/per_query.parquet")
    table.assign(seed=table["seed"] + 10).to_parquet(folder / "baseline/per_query.parquet")
    with opened(".") as here, opened("HEAD") as there:
        found = compare(here, there)
    assert verdicts(found) | {"paired": "other queries", "baseline": "other seeds"} == verdicts(found)
    assert not [row for row in found.rows if row.evaluation in ("paired", "baseline") and row.differences]
    assert exit_code(found) == 0
    assert "3 other queries, 3 other seeds" in comparison.render(found)


def test_fewer_seeds_are_compared_by_those_of_both(project: Path) -> None:
    train(project, "paired")
    path = project / "evaluations/paired/per_query.parquet"
    table = pd.read_parquet(path)
    table[table["seed"] < 2].to_parquet(path)
    with opened(".") as here, opened("HEAD") as there:
        found = compare(here, there)
    row = next(row for row in found.rows if (row.evaluation, row.kind) == ("paired", "plain"))
    assert (row.verdict, row.here) == ("same", row.there)
    assert {one.seeds for one in row.differences.values()} == {2}
