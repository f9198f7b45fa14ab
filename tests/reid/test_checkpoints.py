"""Loading trained models: whose files are run, and whose are not; checkpoints that cannot be loaded."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from reid.test_models import OWN
from safetensors.torch import save_file

from dlcr.reid import build_model, load_model
from dlcr.reid.checkpoints import Progress, load_checkpoint, save_checkpoint
from dlcr.reid.models import base, load_code

OWNERS = [0, 0, 1]
EVIL = "from pathlib import Path\nPath({trace!r}).touch()\n"


def make_run(folder: Path, name: str) -> Path:
    """What `stages.train` leaves of a model that is registered."""
    folder.mkdir(parents=True)
    save_file(build_model(name, 2, OWNERS).state_dict(), folder / "model.safetensors")
    config = {"model": name, "subjects": 2, "clothes": OWNERS, "settings": {}, "size": [32, 16]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_file_beside_the_weights_of_a_model_of_dlcr_is_not_run(tmp_path: Path) -> None:
    folder, trace = make_run(tmp_path / "runs/r/seed-0", "cal-mini"), tmp_path / "trace"
    (folder / "model.py").write_text(EVIL.format(trace=str(trace)))
    assert load_model(folder).size == (32, 16)
    assert not trace.exists()


def test_a_run_that_calls_itself_ones_own_is_not_believed(tmp_path: Path) -> None:
    folder, trace = make_run(tmp_path / "runs/r/seed-0", "cal-mini"), tmp_path / "trace"
    (folder / "model.py").write_text(EVIL.format(trace=str(trace)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model": "evil", "code": "model.py"}))
    with pytest.raises(ValueError, match=r"no model named 'evil'.*model.py is run only for a run whose `code` names"):
        load_model(folder)
    assert not trace.exists()


@pytest.mark.usefixtures("own_models")
def test_an_older_run_of_ones_own_code_loads_where_its_recipe_says_so(tmp_path: Path) -> None:
    source = tmp_path / "own.py"
    source.write_text(OWN)
    load_code(str(source))
    folder = make_run(tmp_path / "runs/r/seed-0", "own")
    source.rename(folder / "model.py")
    del base._REGISTRY["own"], sys.modules[f"dlcr_own_{hashlib.sha256(OWN.encode()).hexdigest()}"]
    assert load_model(folder, run_code=True)(torch.zeros(1, 3, 32, 16)).shape == (1, 48)
    (folder / "model.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.py: no such file"):
        load_model(folder, run_code=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seed-0.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"seed-0.pt: damaged checkpoint"):
        load_checkpoint(path, base.ReidModel(), {})


def test_a_checkpoint_of_another_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seed-0.pt"
    save_checkpoint(path, build_model("cal-mini", 2, [0, 1]), {}, Progress())
    with pytest.raises(ValueError, match=r"seed-0.pt: damaged checkpoint, or that of another model \(.*identity_head"):
        load_checkpoint(path, build_model("cal-mini", 3, [0, 1, 2]), {})
