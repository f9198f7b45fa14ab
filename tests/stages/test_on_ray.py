"""Stages parse, describe and inpaint on two Ray workers: the same bytes as in one process."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import stages.describe
import stages.inpaint
import stages.parse
from dlcr.data import read_table
from dlcr.params import MiniCC
from stages.prepare import render_minicc
from stages.summarize import app as summarize_app

SIZES = {"train_subjects": 3, "val_subjects": 1, "test_subjects": 1, "images_per_camera": 2, "seed": 0}


@pytest.fixture
def workplace(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Profile minicc with the shipped models, at a tenth of its size and in small chunks."""
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))
    params |= {"minicc": SIZES, "k": 2}
    params["inpaint"] |= {"steps": 2, "block": 4, "batch": 3, "dtype": "float32"}  # on any processor as fast
    params["describe"]["batch"] = 5
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "models").symlink_to(repository / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages.parse, "SHARD", 8)
    render_minicc("minicc", MiniCC(**SIZES), Path("data/minicc"))
    return tmp_path


@pytest.fixture
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


def run_all() -> dict[str, bytes]:
    """The files that the three stages write, by their paths."""
    for app, name in ((stages.parse.app, "minicc"), (stages.describe.app, "minicc"), (summarize_app, "minicc"),
                      (stages.inpaint.app, "inpainting"), (stages.inpaint.app, "oracle")):  # fmt: skip
        result = CliRunner().invoke(app, [name])
        if result.exception is not None:
            raise result.exception
    folders = ("masks", "descriptions", "generated")
    return {str(path): path.read_bytes() for folder in folders for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stages_on_ray_write_the_same_bytes(workplace: Path, cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_all()
    assert sum(name.startswith("generated/inpainting/") for name in expected) == 2 * 5
    assert read_table("generated/inpainting/variant-001-block-0000.arrow").num_rows == 4
    monkeypatch.setenv("DLCR_EXECUTOR", "ray")
    monkeypatch.setenv("DVC_ROOT", str(workplace / "elsewhere"))  # another store: nothing is taken from the first
    for name in expected:
        Path(name).unlink()
    assert run_all() == expected
