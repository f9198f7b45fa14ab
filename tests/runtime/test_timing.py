"""What a timing says beside its seconds: where it was measured and what it cost."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlcr.runtime import timing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DLCR_EXECUTOR", "DLCR_PROCESSES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DLCR_THREADS", "7")
    return tmp_path / ".dlcr" / "timings"


def use_gpus(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: gpus > 0, device_count=lambda: gpus, get_device_name=lambda: "Some GPU 80GB"
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_a_timing_names_its_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, 0)
    timing.record("parse", "minicc", seconds=1800.0, images=10)
    facts = json.loads((folder / "parse@minicc.json").read_text())
    assert facts["machine"] == timing.machine()
    assert set(facts["machine"]) == {"cpu", "cores", "threads", "memory_gb", "gpu", "python", "torch", "engine"}
    assert (facts["machine"]["threads"], facts["machine"]["gpu"]) == (7, None)
    assert facts["machine"]["cpu"]
    assert facts["machine"]["memory_gb"] > 0.5
    assert facts["machine"]["cores"] >= 1
    assert facts["machine"]["torch"]
    assert (facts["core_hours"], "gpu_hours" in facts) == (3.5, False)  # half an hour on seven threads


def test_what_a_gpu_did_costs_gpu_hours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, 4)
    monkeypatch.setenv("DLCR_PROCESSES", "2")
    for stage in ("inpaint", "train"):
        timing.record(stage, "prcc", seconds=3600.0)
    table = timing.load_all().set_index("stage")
    assert table["gpu_hours"].to_dict() == {"inpaint": 1.0, "train": 2.0}  # only training takes several
    assert "core_hours" not in table
    assert table.loc["train", "machine"]["gpu"] == "Some GPU 80GB"


def test_without_pytorch_no_gpu_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert timing.machine()["gpu"] is None
    assert "torch" not in sys.modules


def test_costs_that_nobody_knows_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timing.record("train", "resumed", epoch_seconds=2.0)
    monkeypatch.setenv("DLCR_EXECUTOR", "ray")
    timing.record("inpaint", "spread", seconds=2.0)
    for path in folder.iterdir():
        assert not {"core_hours", "gpu_hours"} & set(json.loads(path.read_text()))


def test_old_timings_are_read_beside_new_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpus(monkeypatch, 0)
    timing.record("parse", "new", seconds=1.0)
    (folder / "parse@old.json").write_text(json.dumps({"stage": "parse", "name": "old", "seconds": 2.0}))
    table = timing.load_all().set_index("name")
    assert table["seconds"].to_dict() == {"new": 1.0, "old": 2.0}
    assert table["machine"].isna().to_dict() == {"new": False, "old": True}
