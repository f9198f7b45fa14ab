"""The registry, the backbones and what a model's constructor refuses."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetModel

from dlcr.params import load_params
from dlcr.reid import build_model, register_model
from dlcr.reid.models import load_code, resnet
from dlcr.reid.models.resnet import MINI, LastMap, last_stride_1, mini_resnet, resnet50

OWNERS = [0, 0, 1, 1]


def test_cal_has_the_papers_shape() -> None:
    model = build_model("cal", 2, OWNERS).eval()
    assert model.neck.num_features == model.identity_head.in_features == 4096
    assert 0.01 < model.neck.weight.std() < 0.03
    assert model.identity_head.weight.std() < 0.002
    with torch.no_grad():
        assert model.body(torch.zeros(1, 3, 64, 32)).shape == (1, 2048, 4, 2)
        assert model(torch.zeros(1, 3, 64, 32)).shape == (1, 4096)


def test_mini_is_small() -> None:
    model = build_model("cal-mini", 2, OWNERS).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) < 1.5e6
    with torch.no_grad():
        assert model(torch.randn(2, 3, 96, 48)).shape == (2, 320)


def test_last_stride_1_doubles_the_map_and_keeps_the_weights() -> None:
    plain = ResNetModel(ResNetConfig(**MINI)).eval()
    images = torch.randn(1, 3, 96, 48)
    with torch.no_grad():
        assert LastMap(plain)(images).shape[2:] == (3, 2)
        assert LastMap(last_stride_1(plain))(images).shape[2:] == (6, 3)
    strides = {m.stride for m in plain.encoder.stages[2].modules() if isinstance(m, nn.Conv2d)}
    assert (2, 2) in strides  # the stages before keep theirs


def test_pretrained_weights_come_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "RESNET50", MINI)  # the same code on weights of 5 MB
    saved = ResNetModel(ResNetConfig(**MINI))
    saved.save_pretrained(tmp_path / "resnet")
    loaded = resnet50(str(tmp_path / "resnet"))
    key = "embedder.embedder.convolution.weight"
    assert torch.equal(loaded.state_dict()[key], saved.state_dict()[key])
    assert loaded.encoder.stages[-1].layers[0].shortcut.convolution.stride == (1, 1)


def test_wrong_weights_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder, and not 'owner/name@revision'"):
        resnet50("microsoft/resnet-50")
    mini_resnet().save_pretrained(tmp_path / "mini")
    with pytest.raises(ValueError, match=r"mini': another backbone: embedding_size is"):
        resnet50(str(tmp_path / "mini"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no config\.json"):
        resnet50(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("name", "subjects", "clothes", "settings", "message"),
    [
        ("cla", 2, OWNERS, {}, "no model named 'cla'; there are .*cal, cal-mini"),
        ("cal-mini", 1, [0], {}, "at least two subjects"),
        ("cal-mini", 3, OWNERS, {}, r"every subject 0\.\.2 must own"),
        (
            "cal-mini",
            2,
            OWNERS,
            {"smooth": 1},
            "unknown setting 'smooth'; it has backbone, clothes_from_epoch, smoothing",
        ),
    ],
)
def test_build_model_refuses(name: str, subjects: int, clothes: list[int], settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, subjects, clothes, **settings)


def test_a_names_sizes_are_defaults_of_settings() -> None:
    """So `cal-mini` is `cal` with another backbone, and a size of one's own needs no name of its own."""
    mini, narrow = build_model("pcb-mini", 2, OWNERS), build_model("pcb-mini", 2, OWNERS, channels=8)
    large = build_model("pcb", 2, OWNERS, backbone="mini", channels=64)
    assert mini.state_dict().keys() == large.state_dict().keys()
    assert [model.reduction[0].out_features for model in (mini, narrow, large)] == [64, 8, 64]
    with pytest.raises(ValueError, match="no backbone named 'vgg'; there are mini, resnet50"):
        build_model("cal", 2, OWNERS, backbone="vgg")


def test_models_of_every_profile_are_built_with_its_settings(repository: Path) -> None:
    """From random weights: the hub's are not here. A wrong setting must not show after days of inpainting only."""
    for path in sorted((repository / "profiles").glob("*.yaml")):
        for name, entry in load_params(path).recipes.items():
            with torch.device("meta"):  # shapes alone
                build_model(entry.model or name, 2, OWNERS, **(entry.settings | {"weights": None}))


def test_a_registered_model_joins_and_its_name_is_taken() -> None:
    with pytest.raises(ValueError, match="'cal' is registered already"):
        register_model("cal")(lambda subjects, clothes: None)


OWN = """
import torch
from torch import nn
from dlcr.reid import ReidModel, register_model

@register_model("own")
class Own(ReidModel):
    def __init__(self, subjects, clothes):
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(48, subjects)

    def features(self, maps):
        return maps

    def train_step(self, maps, batch, epoch, step):
        loss = nn.functional.cross_entropy(self.head(maps), batch.subjects)
        step(loss, "main")
        return {"identity": loss.item()}
"""


@pytest.mark.usefixtures("own_models")
def test_a_file_of_ones_own_registers_a_model(tmp_path: Path) -> None:
    path, copied = tmp_path / "own.py", tmp_path / "copy.py"
    path.write_text(OWN)
    copied.write_text(OWN)
    load_code(str(path))
    load_code(str(copied))  # the same file again, as a run keeps it
    assert build_model("own", 2, OWNERS)(torch.zeros(3, 3, 8, 8)).shape == (3, 48)
    path.write_text(OWN + "# changed")
    with pytest.raises(ValueError, match=r"own.py: ValueError: a model named 'own' is registered already"):
        load_code(str(path))


def test_a_file_with_a_mistake_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    with pytest.raises(FileNotFoundError, match=r"own.py: no such file; expected a Python file"):
        load_code(str(path))
    path.write_text("import nothing_of_that_name")
    with pytest.raises(ValueError, match=r"own.py: ModuleNotFoundError: No module named 'nothing_of_that_name'"):
        load_code(str(path))
