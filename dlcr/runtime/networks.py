"""Loading a model from `repo@revision` on the Hugging Face hub, or from a local folder.

Both kinds load through the same calls; only safetensors files are read and no code from a repository is run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from dlcr.runtime.weights import NETWORK, Kind, NotDownloaded, download_command, find_model, loading

if TYPE_CHECKING:
    import torch

COMPUTED = re.compile(r"(^|\.)(position_ids|inv_freq|masked_bias|num_batches_tracked)$")
"""Tensors that older files hold although a model computes or counts them itself."""


@dataclass(frozen=True)
class Pretrained:
    """A model's folder, its own or that of a hub's cache, and of each part the variant of its weights ("": plain)."""

    location: str
    variants: Mapping[str, str] = field(default_factory=dict)

    def arguments(self) -> dict:
        """Keyword arguments for every `from_pretrained`."""
        return {"trust_remote_code": False}

    def weights(self) -> dict:
        """Keyword arguments for a model's `from_pretrained`.

        On a GPU the weights keep the type they were saved in; on a CPU they become float32, which is exact
        and as fast.
        """
        import torch  # here and below: callers that need fingerprints alone do not wait for it

        dtype = "auto" if torch.cuda.is_available() else torch.float32
        return {**self.arguments(), "use_safetensors": True, "dtype": dtype}


def find_pretrained(model: str, kind: Kind = NETWORK) -> Pretrained:
    """A model's files, all of them, before anything is loaded: those of a hub are downloaded where they are missing.

    model: a folder or `owner/name@revision`. Raises FileNotFoundError for a folder that is missing or lacks a file, for
    a repository without a revision, and for a model of a hub that is neither in the cache nor can be downloaded;
    ValueError for another kind of model and for damaged files.
    """
    try:
        folder, variants = find_model(model, kind)
    except NotDownloaded as error:
        command = download_command(model, kind)
        raise FileNotFoundError(f"{error}, and HF_HUB_OFFLINE is set; download it first: {command}") from None
    return Pretrained(str(folder), variants)


def load_network(kind: type, model: str, pretrained: Pretrained, **arguments: object) -> torch.nn.Module:
    """A network of transformers in evaluation mode, on the GPU if there is one, every weight of it read from its files.

    kind: a class with transformers' `from_pretrained`; arguments: what it takes besides `Pretrained.weights()`. Raises
    what `loading` and `check_network` raise.
    """
    return load_checked(kind, model, pretrained.location, **pretrained.weights(), **arguments)


def load_checked(kind: type, model: str, folder: str | Path, **arguments: object) -> torch.nn.Module:
    """As `load_network`, of transformers or diffusers, with these arguments of `kind.from_pretrained` alone."""
    names = ("transformers.modeling_utils", "diffusers.models.modeling_utils")
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:  # their own tables of what does not fit: it is said in one line here
        logger.addFilter(_no_warning)
    try:
        with loading(model):
            network, report = kind.from_pretrained(
                folder, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
            )
            if not any(tensor.is_meta for tensor in network.parameters()):  # as diffusers leaves what it did not find
                network.to(device())
    finally:
        for logger in loggers:
            logger.removeFilter(_no_warning)
    check_network(model, network, report)
    return network.eval()


def load_part(
    kind: type, part: str, model: str, pretrained: Pretrained, dtype: torch.dtype, **arguments: object
) -> torch.nn.Module:
    """A network of a pipeline, from the folder `part`, as `load_checked`; never trained.

    dtype: what its weights become, whatever they were saved in. arguments: what `kind.from_pretrained` takes besides.
    """
    (variant,) = (variant for name, variant in pretrained.variants.items() if name.startswith(f"{part}/"))
    settings = {"variant": variant or None, "use_safetensors": True, "dtype": dtype} | arguments
    return load_checked(kind, f"{model}, {part}", Path(pretrained.location, part), **settings).requires_grad_(False)


def quiet_libraries() -> None:
    """No progress bars of the model libraries: a stage shows its own."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.logging.disable_progress_bar()


def pipeline_dtype(name: str) -> torch.dtype:
    """The type of a pipeline's networks, by the name of `inpaint.dtype`. ValueError for float16 without a GPU."""
    import torch

    if name == "float16" and device().type == "cpu":
        raise ValueError(
            "inpaint.dtype: float16 needs a GPU, and there is none (a CPU computes in it ten times slower than in "
            "bfloat16); write bfloat16 or float32 in params.yaml"
        )
    return getattr(torch, name)


def _no_warning(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


def check_network(model: str, network: torch.nn.Module, report: Mapping[str, Collection]) -> None:
    """Refuses a network whose weights are not all from its files, or not numbers: it would run all the same.

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
    names["not finite"] = [
        name for name, values in [*network.named_parameters(), *network.named_buffers()] if not _finite(values)
    ]
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


def _finite(values: torch.Tensor) -> bool:
    """Whether all are numbers, in one pass: the extremes of a tensor that holds a NaN are NaN."""
    if values.is_meta or not values.is_floating_point() or not values.numel():  # missing tensors can be left on "meta"
        return True
    import torch

    return bool(torch.stack(torch.aminmax(values.detach())).isfinite().all())


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    import torch

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
