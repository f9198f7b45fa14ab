"""What a Re-ID model offers to the training engine (`dlcr.reid.train`), and the registry of models by name.

A new model is one file: a subclass of `ReidModel` with its losses, registered by name,

    @register_model("mine")
    class Mine(ReidModel):
        def __init__(self, subjects, clothes, **settings): ...
        def forward(self, images): ...
        def train_step(self, batch, epoch, step): ...

after which `params.yaml` may name it in `train.<entry>.model`.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Step = Callable[[str, Tensor], None]
_REGISTRY: dict[str, Callable[..., "ReidModel"]] = {}


@dataclass(frozen=True)
class Batch:
    """A training batch of B images.

    images: float32 [B, 3, H, W], augmented and normalised (`dlcr.reid.augment`).
    subjects: int64 [B], 0 .. S-1.
    clothes: int64 [B], 0 .. C-1; what a generated image's source wore, not what was painted on it.
    real: bool [B], False for generated images: the losses about clothes must leave these out (Sec. 3.2.1).
    """

    images: Tensor
    subjects: Tensor
    clothes: Tensor
    real: Tensor


class ReidModel(nn.Module):
    """Base of all models: `forward` gives test features, `train_step` one step on a batch.

    `unscheduled` names the parameter groups whose learning rate stays what it is at every milestone.
    `precision` is the number type of the convolutions; heads, losses and weights are float32.
    `size` (height, width) of the images it was trained on, set by `load_model`.
    """

    unscheduled: frozenset[str] = frozenset()
    precision: torch.dtype = torch.float32
    size: tuple[int, int]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the name of the optimizer that steps them; each parameter belongs to at most one."""
        return {"main": list(self.parameters())}

    def autocast(self, images: Tensor) -> torch.autocast:
        """The context in which the trunk runs: mixed precision when `precision` asks for it."""
        enabled = self.precision != torch.float32
        return torch.autocast(images.device.type, dtype=self.precision if enabled else None, enabled=enabled)

    def forward(self, images: Tensor) -> Tensor:
        """Features float32 [B, D] of normalised images [B, 3, H, W]; in eval mode the test features."""
        raise NotImplementedError

    def train_step(self, batch: Batch, epoch: float, step: Step) -> dict[str, float]:
        """Train on one batch. `step(group, loss)` clears the group's gradients, goes backward and steps its
        optimizer.

        Returns the losses by name, as numbers; a loss that is not in use yet may be left out.
        """
        raise NotImplementedError


def register_model(name: str) -> Callable[[Callable[..., ReidModel]], Callable[..., ReidModel]]:
    """Decorator: make a class or function known to `build_model`. ValueError when the name is taken."""

    def register(factory: Callable[..., ReidModel]) -> Callable[..., ReidModel]:
        if name in _REGISTRY:
            raise ValueError(f"a model named {name!r} is registered already")
        _REGISTRY[name] = factory
        return factory

    return register


def model_factory(name: str) -> Callable[..., ReidModel]:
    """The class or function registered under `name`; ValueError listing the known names."""
    if name not in _REGISTRY:
        raise ValueError(f"no model named {name!r}; there are {', '.join(sorted(_REGISTRY))}")
    return _REGISTRY[name]


def build_model(name: str, subjects: int, clothes: Sequence[int], **settings: object) -> ReidModel:
    """A new model with randomly initialised heads (torch's global generator).

    subjects: S, the number of training subjects, at least 2.
    clothes: for each of the C clothes IDs the subject (0 .. S-1) who wears it.
    settings: what else the model takes; ValueError for one that it does not know, or for labels that don't
    fit.
    """
    factory = model_factory(name)
    clothes = [int(owner) for owner in clothes]
    if subjects < 2:
        raise ValueError(f"model {name!r}: needs at least two subjects to tell apart, got {subjects}")
    if set(clothes) != set(range(subjects)):
        raise ValueError(
            f"model {name!r}: every subject 0..{subjects - 1} must own at least one clothes ID, and no other"
        )
    known = set(inspect.signature(factory).parameters) - {"subjects", "clothes"}
    for setting in settings:
        if setting not in known:
            raise ValueError(
                f"model {name!r}: unknown setting {setting!r}; it has {', '.join(sorted(known)) or 'none'}"
            )
    return factory(subjects=subjects, clothes=clothes, **settings)
