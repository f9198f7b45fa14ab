"""The benchmark of DVC's own time, on a few stages of profile smoke in a clone where nothing has run."""

import json
from pathlib import Path

import pytest
import yaml
from clones import command, make_clone
from narrow import keep_rows


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_is_measured_and_the_checkout_stays_as_it_is(repository: Path, tmp_path: Path) -> None:
    """Its times are not tested; that they are of a grid with nothing to do, the benchmark itself checks."""
    clone = tmp_path / "clone"
    make_clone(repository, clone)
    params = yaml.safe_load((clone / "params.yaml").read_text())
    keep_rows(params, ["1"], [])
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    lock = (clone / "dvc.lock").read_bytes()
    command(clone, "python", "-m", "benchmarks.pipeline", "--rounds", "1", "--out", "../pipeline.json", PYTHONPATH=".")
    assert (clone / "dvc.lock").read_bytes() == lock
    assert not (clone / ".dvc" / "cache").exists()
    measured = json.loads((tmp_path / "pipeline.json").read_text())
    *nothing, stage = measured["rows"]
    names = ["dvc repro", "dvc repro --all-pipelines", "dvc status"]
    assert [row["name"] for row in nothing[::2]] == [f"{name}, nothing to do" for name in names]
    assert all(row["processor (s)"] > 0 and 0 < row["fastest (s)"] <= row["seconds"] for row in nothing)
    assert stage["name"] == "a stage that runs, DVC's part"
    assert stage["processor (s)"] > 0
    assert 0 < sum(measured["share of its time"].values()) < 1
