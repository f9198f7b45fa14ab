"""Loading a network: every weight comes from its files, or one clear error says what is wrong."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaForCausalLM

from dlcr.runtime.networks import Pretrained, check_network, find_pretrained, load_network
from dlcr.runtime.weights import loading

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TENSOR = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A language model whose output layer is its input layer: tied weights are saved once."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=32, tie_word_embeddings=True, **SIZES)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path) -> torch.nn.Module:
    return load_network(LlamaForCausalLM, str(folder), find_pretrained(str(folder)))


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_a_whole_network_is_loaded(folder: Path) -> None:
    """Tied weights, computed buffers and other types than float32 are no reason to refuse."""
    saved = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in saved
    network = load(folder)
    assert not network.training
    assert torch.equal(network.get_parameter(TENSOR), saved[TENSOR])
    assert network.lm_head.weight is network.model.embed_tokens.weight
    change(folder, lambda tensors: tensors.update({name: value.bfloat16() for name, value in tensors.items()}))
    assert torch.equal(load(folder).get_parameter(TENSOR), saved[TENSOR].bfloat16().float())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop(TENSOR), rf"tensors missing: {TENSOR}; expected every tensor"),
        (lambda tensors: tensors.clear(), r"tensors missing: lm_head\.weight and 20 more;"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "tensors unexpected: extra;"),
        (lambda tensors: tensors[TENSOR].__setitem__((3, 3), torch.nan), rf"tensors not finite: {TENSOR};"),
        (lambda tensors: tensors[TENSOR].__setitem__((0, 0), -torch.inf), rf"tensors not finite: {TENSOR};"),
        (lambda tensors: tensors.update({TENSOR: torch.ones(16, 17)}), rf"tensors mismatched: {TENSOR};"),
    ],
    ids=["one missing", "all missing", "extra", "nan", "inf", "another shape"],
)
def test_other_weights_are_refused(
    folder: Path, edit: Callable, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    change(folder, edit)
    with pytest.raises(ValueError, match=message) as found:
        load(folder)
    assert str(found.value).startswith(f"{folder}: ")
    assert not caplog.records  # the library's own table of what is missing


def test_what_older_files_hold_besides_is_no_reason_to_refuse(tmp_path: Path) -> None:
    CLIPTextModel(CLIPTextConfig(vocab_size=32, max_position_embeddings=8, **SIZES)).save_pretrained(tmp_path)
    change(tmp_path, lambda tensors: tensors.update({"text_model.embeddings.position_ids": torch.arange(8)[None]}))
    load_network(CLIPTextModel, str(tmp_path), find_pretrained(str(tmp_path)))


def test_a_report_of_diffusers_names_shapes_too() -> None:
    report = {"mismatched_keys": [("weight", torch.Size([2]), torch.Size([3]))], "missing_keys": [], "error_msgs": []}
    with pytest.raises(ValueError, match=r"m: its weights are not those of a Linear; tensors mismatched: weight;"):
        check_network("m", torch.nn.Linear(2, 2), report)


def test_every_kind_of_tensor_can_be_checked() -> None:
    network = torch.nn.Module()
    for number, values in enumerate(
        (torch.tensor([True]), torch.tensor([1]), torch.zeros(0), torch.zeros(2).half(), torch.ones(2).bfloat16())
    ):
        network.register_buffer(f"b{number}", values, persistent=False)
    network.register_parameter("largest", torch.nn.Parameter(torch.full((4,), torch.finfo(torch.float32).max)))
    check_network("m", network, {})
    network.b3[1] = torch.inf
    with pytest.raises(ValueError, match="not finite: b3;"):
        check_network("m", network, {})


@pytest.mark.parametrize("content", ["", "cut", "version https://git-lfs.github.com/spec/v1\n"])
def test_files_that_are_not_whole_are_named(folder: Path, content: str) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5] if content == "cut" else content.encode())
    with pytest.raises(ValueError, match=rf"{folder}: model\.safetensors: not a safetensors file, or cut short"):
        load(folder)


def test_what_a_library_raises_names_the_model() -> None:
    for raised, expected, text in (
        (OSError("gone"), FileNotFoundError, "m: cannot be loaded: gone"),
        (ImportError("no scipy"), ValueError, "m: cannot be loaded: ImportError: no scipy"),
        (RuntimeError("shapes"), ValueError, "m: cannot be loaded: RuntimeError: shapes"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "CUDA out of memory"),
    ):
        with pytest.raises(expected, match=text), loading("m"):
            raise raised


def test_the_libraries_may_speak_again_afterwards(folder: Path) -> None:
    load(folder)
    assert not logging.getLogger("transformers.modeling_utils").filters


def test_no_code_from_a_repository() -> None:
    pretrained = Pretrained("folder")
    assert pretrained.weights()["use_safetensors"] is True
    assert pretrained.arguments() == {"trust_remote_code": False}
