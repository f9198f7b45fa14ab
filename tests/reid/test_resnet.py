"""Backbones from torchvision's weights compute what torchvision's network computes, and other files are refused.

The network that they are compared with is written here from torchvision's documented structure and names; nothing of
it is shared with the code under test.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from damage import DAMAGE, damage
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from dlcr.reid.models import resnet
from dlcr.reid.models.resnet import MINI, LastMap, mini_resnet, resnet50
from dlcr.reid.models.torchvision_names import torchvision_name

SMALL = {"embedding_size": 8, "hidden_sizes": [16, 32, 64, 96], "depths": [2, 1, 3, 2], "layer_type": "bottleneck"}
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride != 1 or inplanes != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, 4 * planes, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Torchvision(nn.Module):
    """ResNet-50 with torchvision's names, or one of other widths and depths; the last stride is 1 in its maps."""

    def __init__(self, stem: int = 64, planes: tuple = (64, 128, 256, 512), blocks: tuple = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inplanes = stem
        for i in range(4):
            stride = 2 if i in (1, 2) else 1
            layers = [Bottleneck(inplanes, planes[i], stride)]
            inplanes = 4 * planes[i]
            layers += [Bottleneck(inplanes, planes[i], 1) for _ in range(blocks[i] - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inplanes, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def with_random_statistics(network: nn.Module) -> nn.Module:
    """In eval mode, and every batch norm differs from every other and from the identity."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.1, 2.0)
            module.num_batches_tracked.fill_(7)
    return network.eval()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Torchvision:
    """A narrow ResNet in place of ResNet-50, for the code and for the tests."""
    monkeypatch.setattr(resnet, "RESNET50", SMALL)
    torch.manual_seed(0)
    return with_random_statistics(Torchvision(8, (4, 8, 16, 24), (2, 1, 3, 2)))


def assert_same_maps(backbone: nn.Module, network: nn.Module, size: tuple[int, int] = (96, 48)) -> None:
    """In doubles: float32 would hide a wrong epsilon."""
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        maps, expected = LastMap(backbone).eval().double()(images), network.double()(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(maps, expected, rtol=1e-9, atol=1e-9)


def in_file(state: dict[str, Tensor], folder: Path, name: str) -> str:
    path = folder / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


def in_folder(state: dict[str, Tensor], folder: Path) -> str:
    (folder / "config.json").write_text('{"architecture": "resnet50", "num_classes": 1000}')
    save_file(state, folder / "model.safetensors")
    return str(folder)


def in_hub(state: dict[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the hub's client keeps what it has downloaded, for it is offline here."""
    repository = folder / "models--timm--resnet50.tv_in1k"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    in_folder(state, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(REVISION)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return "timm/resnet50.tv_in1k@main"


def test_resnet50_computes_what_torchvisions_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = with_random_statistics(Torchvision())
    backbone = resnet50(in_file(network.state_dict(), tmp_path, "resnet50.safetensors"))
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 23_508_032
    assert_same_maps(backbone, network, (32, 16))


@pytest.mark.parametrize("form", ["a.pth", "a.pt", "a.safetensors", "folder", "hub"])
def test_every_form_of_torchvisions_weights(
    form: str, small: Torchvision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = small.state_dict()
    if form == "hub":
        weights = in_hub(state, tmp_path, monkeypatch)
    else:
        weights = in_folder(state, tmp_path) if form == "folder" else in_file(state, tmp_path, form)
    backbone = resnet50(weights)
    assert all(parameter.dtype == torch.float32 and parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.embedder.embedder.normalization.num_batches_tracked == 7
    assert_same_maps(backbone, small)


def test_files_without_a_classifier_or_counters_and_in_half_precision(small: Torchvision, tmp_path: Path) -> None:
    state = {
        name: tensor.half()
        for name, tensor in small.state_dict().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    backbone = resnet50(in_file(state, tmp_path, "old.pth"))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert_same_maps(backbone, small.half())


def test_the_last_stride_of_two_stays(small: Torchvision, tmp_path: Path) -> None:
    backbone = resnet50(in_file(small.state_dict(), tmp_path, "a.pth"), last_stride=2)
    small.layer4[0].conv2.stride = small.layer4[0].downsample[0].stride = (2, 2)
    assert_same_maps(backbone, small)
    assert LastMap(backbone)(torch.zeros(1, 3, 96, 48).double()).shape == (1, 96, 3, 2)
    assert LastMap(mini_resnet(last_stride=2))(torch.zeros(1, 3, 96, 48)).shape == (1, 160, 6, 3)


def test_every_tensor_has_a_name_of_its_own(small: Torchvision) -> None:
    names = [torchvision_name(name) for name in resnet50().state_dict()]
    assert sorted(names) == sorted(name for name in small.state_dict() if not name.startswith("fc."))
    with pytest.raises(ValueError, match=r"pooler\.weight: no tensor of a ResNetModel"):
        torchvision_name("pooler.weight")


def without(name: str) -> Callable[[dict], dict]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("conv1.weight"), r"missing: conv1\.weight;"),
        (without("layer3.2.bn3.running_var"), r"missing: layer3\.2\.bn3\.running_var;"),
        (
            lambda state: state | {"layer1.0.conv4.weight": torch.zeros(1)},
            r"unexpected: layer1\.0\.conv4\.weight;",
        ),
        (lambda state: state | {"layer4.2.bn1.weight": torch.zeros(24)}, r"unexpected: layer4\.2\.bn1\.weight;"),
        (
            lambda state: state | {"layer2.0.downsample.0.weight": torch.zeros(32, 16, 3, 3)},
            r"mismatched: layer2\.0\.downsample\.0\.weight \[32, 16, 3, 3\] instead of \[32, 16, 1, 1\];",
        ),
        (
            lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
            r"missing: bn1\.bias and \d+ more",
        ),
        (lambda state: {}, r"missing: bn1\.bias and \d+ more"),
        (
            lambda state: state | {"layer1.1.bn2.running_var": torch.full((4,), torch.nan)},
            r"not finite: encoder\.stages\.0\.layers\.1\.layer\.1\.normalization\.running_var;",
        ),
    ],
)
def test_any_wrong_tensor_is_named_with_its_file(
    change: Callable[[dict], dict], message: str, small: Torchvision, tmp_path: Path
) -> None:
    weights = in_file(change(small.state_dict()), tmp_path, "wrong.pth")
    with pytest.raises(ValueError, match=rf"wrong\.pth: .*tensors {message}"):
        resnet50(weights)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a file"])
def test_unreadable_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: cannot be read as a file of weights"):
        resnet50(str(tmp_path / name))


def test_files_that_hold_more_than_tensors_are_refused(small: Torchvision, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pth: expected a state dict"):
        resnet50(in_file({"epoch": 3, "state_dict": small.state_dict()}, tmp_path, "a.pth"))
    torch.save(small, tmp_path / "code.pth")  # would run code
    with pytest.raises(ValueError, match=r"code\.pth: cannot be read"):
        resnet50(str(tmp_path / "code.pth"))


def test_a_folder_of_neither_naming_is_refused(small: Torchvision, tmp_path: Path) -> None:
    backbone = ResNetModel(ResNetConfig(**SMALL))
    backbone.save_pretrained(tmp_path)
    state = without("encoder.stages.1.layers.0.layer.0.convolution.weight")(backbone.state_dict())
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: encoder\.stages\.1\.layers\.0\.layer\.0\.convolution\.weight"):
        resnet50(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.safetensors: not a safetensors file"):
        resnet50(str(tmp_path))


def test_what_is_not_there_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for weights in ("missing.pth", "timm/resnet50.tv_in1k", "timm/resnet50.tv_in1k@main"):
        with pytest.raises(FileNotFoundError):
            resnet50(weights)


def test_the_small_backbone_refuses_torchvisions_weights(
    small: Torchvision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = small.state_dict()
    (tmp_path / "folder").mkdir()
    for weights in (
        in_file(state, tmp_path, "a.pth"),
        in_folder(state, tmp_path / "folder"),
        in_hub(state, tmp_path, monkeypatch),
    ):
        with pytest.raises(ValueError, match="the small backbone takes a folder"):
            mini_resnet(weights)


def test_names_of_transformers_still_load(tmp_path: Path) -> None:
    saved = ResNetModel(ResNetConfig(**MINI)).half()
    saved.save_pretrained(tmp_path)
    loaded = mini_resnet(str(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], tensor.to(loaded[name].dtype)) for name, tensor in saved.state_dict().items())


def test_only_the_classifier_of_transformers_may_come_with_the_backbone(small: Torchvision, tmp_path: Path) -> None:
    """As microsoft/resnet-50 is saved: the backbone below `resnet.`, and beside it the classifier of ImageNet."""
    saved = ResNetForImageClassification(ResNetConfig(**SMALL, num_labels=1000))
    saved.save_pretrained(tmp_path)
    loaded = resnet50(str(tmp_path)).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.resnet.state_dict().items())
    state = saved.state_dict() | {"resnet.fpn.weight": torch.zeros(1)}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"tensors unexpected: resnet\.fpn\.weight;"):
        resnet50(str(tmp_path))


def test_another_depth_is_refused(small: Torchvision, tmp_path: Path) -> None:
    deeper = Torchvision(8, (4, 8, 16, 24), (2, 1, 4, 2)).state_dict()
    with pytest.raises(ValueError, match=r"deep\.pth: .*tensors unexpected: layer3\.3\.bn1\.bias and 14 more;"):
        resnet50(in_file(deeper, tmp_path, "deep.pth"))
    ResNetModel(ResNetConfig(**SMALL | {"depths": [2, 1, 4, 2]})).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"another backbone: depths is \[2, 1, 4, 2\], not \[2, 1, 3, 2\]"):
        resnet50(str(tmp_path))


@pytest.mark.parametrize("kind", DAMAGE)
def test_weights_that_are_not_the_whole_small_backbones_are_refused(tmp_path: Path, kind: str) -> None:
    ResNetModel(ResNetConfig(**MINI)).save_pretrained(tmp_path / "good")
    name = "encoder.stages.1.layers.0.layer.0.convolution.weight"
    message = damage(tmp_path / "good", tmp_path / "bad", kind, name)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'bad'}: .*{message}"):
        mini_resnet(str(tmp_path / "bad"))
