"""Where a model's weights come from: `repo@revision` on the Hugging Face hub, or a local folder.

Both kinds load through the same calls; only safetensors files are read and no code from a repository is run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

import torch

COMPUTED = re.compile(r"(^|\.)(position_ids|inv_freq|masked_bias|num_batches_tracked)$")
"""Tensors that older checkpoints hold although a model computes or counts them itself."""


@dataclass(frozen=True)
class Checkpoint:
    """`location`: a local folder or a repository; `revision`: a commit, tag or branch, None for a folder."""

    location: str
    revision: str | None

    def arguments(self) -> dict:
        """Keyword arguments for every `from_pretrained`."""
        return (
            {"revision": self.revision, "trust_remote_code": False} if self.revision else {"trust_remote_code": False}
        )

    def weights(self) -> dict:
        """Keyword arguments for a model's `from_pretrained`.

        On a GPU the weights keep the type they were saved in; on a CPU they become float32, which is exact
        and as fast.
        """
        dtype = "auto" if torch.cuda.is_available() else torch.float32
        return {**self.arguments(), "use_safetensors": True, "dtype": dtype}


def find_checkpoint(model: str, index: str = "config.json", weights: Sequence[str] = ("model",)) -> Checkpoint:
    """Checks a model's name before anything is loaded.

    index: the file that makes a folder a model's; weights: the safetensors files beside or below it, without their
    ending (large ones are cut into several). Raises FileNotFoundError for a folder that is missing or lacks one of
    these, and for a repository without a revision.
    """
    folder = Path(model)
    if folder.is_dir():
        if not (folder / index).is_file():
            raise FileNotFoundError(f"{model}: no {index}; expected a folder written by save_pretrained")
        for name in weights:
            if not list(folder.glob(f"{name}*.safetensors")):
                raise FileNotFoundError(f"{model}: no {name}.safetensors; expected weights as safetensors")
        return Checkpoint(model, None)
    repository, at, revision = model.partition("@")
    if not at or not revision or repository.count("/") != 1 or repository.startswith((".", "/")):
        raise FileNotFoundError(f"{model}: no such folder, and not 'owner/name@revision' of a model repository either")
    return Checkpoint(repository, revision)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Around calls of a model library: what it raises becomes one error that names the model.

    Raises FileNotFoundError for an OSError, as where a file is missing or the hub can't be reached, ValueError for all
    that such libraries raise about a model's files: a missing package, a damaged file, tensors of other shapes.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except OSError as error:
        raise FileNotFoundError(f"{model}: cannot be loaded: {error}") from error
    except Exception as error:  # safetensors, transformers and diffusers share no base but this
        raise ValueError(f"{model}: cannot be loaded: {type(error).__name__}: {error}") from error


def load_network(kind: type, model: str, checkpoint: Checkpoint, **arguments: object) -> torch.nn.Module:
    """A network of transformers in evaluation mode, on the GPU if there is one, with every weight from the checkpoint.

    kind: a class with transformers' `from_pretrained`; arguments: what it takes besides `Checkpoint.weights()`. Raises
    what `loading` and `check_network` raise.
    """
    with loading(model):
        # check_network names the tensors of another shape, which the libraries' own error does not
        network, report = kind.from_pretrained(
            checkpoint.location,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **checkpoint.weights(),
            **arguments,
        )
        network = network.to(device()).eval()
    check_network(model, network, report)
    return network


def check_network(model: str, network: torch.nn.Module, report: Mapping[str, Collection]) -> None:
    """Refuses a network whose weights are not all its checkpoint's, or not numbers: it would run all the same.

    report: the loading report of transformers and diffusers: names of tensors under missing_keys (which stay random),
    unexpected_keys (which no part of the network takes) and mismatched_keys (of another shape). Raises ValueError that
    names the first tensor of each kind.
    """
    # A mismatched key comes with its two shapes.
    names = {
        kind: sorted(str(key if isinstance(key, str) else key[0]) for key in report.get(f"{kind}_keys") or ())
        for kind in ("missing", "unexpected", "mismatched")
    }
    names["unexpected"] = [name for name in names["unexpected"] if not COMPUTED.search(name)]
    tensors = [*network.named_parameters(), *network.named_buffers()]
    names["not finite"] = [name for name, values in tensors if not bool(values.isfinite().all())]
    found = [
        f"{kind}: {tensors[0]}" + (f" and {len(tensors) - 1} more" if len(tensors) > 1 else "")
        for kind, tensors in names.items()
        if tensors
    ]
    if found:
        raise ValueError(
            f"{model}: its weights are not those of a {type(network).__name__}; tensors {'; '.join(found)}; "
            "expected every tensor of the network, finite, and no other"
        )


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model_fingerprint(model: str) -> str:
    """The hash of what a local model folder or file computes with; a hub's `repo@revision` stands for itself.

    The model's card and scores say nothing to the networks: rewording them must not make every image again.
    """
    folder = Path(model)
    if folder.is_file():
        return blake2b(folder.read_bytes(), digest_size=16).hexdigest()
    if not folder.is_dir():
        return model
    digest = blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("README.md", "scores.json"):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


def code_hash(*packages: ModuleType) -> str:
    """Hash of packages' source files, 16 hex digits: part of the key of what a store keeps of their work."""
    digest = blake2b(digest_size=8)
    for package in packages:
        for path in sorted(Path(package.__file__).parent.glob("*.py")):
            digest.update(f"{package.__name__}/{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
