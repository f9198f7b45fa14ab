"""What a Re-ID model offers to the training engine (`dlcr.reid.engine`), and the registry of models by name.

A new model is one file: a subclass of `ReidModel` with its losses, registered by name,

    @register_model("mine")
    class Mine(ReidModel):
        def __init__(self, subjects, clothes, **settings): self.body = ...
        def features(self, maps): ...
        def train_step(self, maps, batch, epoch, step): ...

after which params.yaml may name it in `recipes.<recipe>.model`. One class may have several names, which differ in
their defaults: `@register_model("mine-mini", backbone="mini", channels=64)`.

A model has two parts. Its `body` turns images into maps and is all that sees images: with several processes each has
its share of the batch in it. Everything else, necks, heads and losses, sees the maps of the whole batch.
"""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

Maps = Tensor | tuple[Tensor, ...]
Factory = Callable[..., "ReidModel"]
_REGISTRY: dict[str, tuple[Factory, dict[str, object]]] = {}


class Step(Protocol):
    """What `ReidModel.train_step` calls: backward of `loss`, then the optimizers of `groups` step.

    The loss must reach no other trainable parameters than those of `groups`: detach whatever is only looked at. One
    step of a batch at most may reach the body.
    """

    def __call__(self, loss: Tensor, *groups: str) -> None: ...


@dataclass(frozen=True)
class Batch:
    """The labels of a training batch of B images (or clips): P groups of J of one subject each, one after another.

    Of a paired batch the first half are P x J real images and the second half a variant of each, in the same order.

    subjects: int64 [B], 0 .. S-1.
    clothes: int64 [B], 0 .. C-1; what a generated image's source wore, not what was painted on it.
    real: bool [B], False for generated images: the losses about clothes must leave these out (Sec. 3.2.1).
    position: int64 [B], 0 .. J-1, the place of an image in its group.
    """

    subjects: Tensor
    clothes: Tensor
    real: Tensor
    position: Tensor


class ReidModel(nn.Module):
    """Base of all models: `forward` gives test features, `train_step` one step on a batch.

    `body` maps normalised images float32 [B, 3, H, W] (clips [B, frames, 3, H, W]) to one tensor or a tuple of tensors
    of B rows each; it may run in mixed precision, what it gives is float32.
    `unscheduled` names the parameter groups whose learning rate stays what it is in every epoch.
    `frames` of a clip that make up one input; 1: an image.
    `augmented_by`: which of "crop", "mirror" and "erase" (`dlcr.reid.augment`) its training images get.
    `bicubic`: images are resized bicubically instead of bilinearly, in training and test.
    `size` (height, width) of the images it is trained on, set by `train_run` and `load_model`.
    """

    body: nn.Module
    unscheduled: frozenset[str] = frozenset()
    frames: int = 1
    augmented_by: tuple[str, ...] = ("crop", "mirror", "erase")
    bicubic: bool = False
    size: tuple[int, int]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the name of the optimizer that steps them; each parameter belongs to at most one."""
        return {"main": list(self.parameters())}

    def forward(self, images: Tensor) -> Tensor:
        """Features float32 [B, D] of normalised images; in eval mode the test features."""
        return self.features(self.body(images))

    def features(self, maps: Maps) -> Tensor:
        """Features float32 [B, D] of what the body gave."""
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> None:
        """Called before every epoch (0-based), and before an interrupted one goes on: puts modules into train mode.

        A model that freezes its body for an epoch puts it into eval mode here; no gradients are then made for it.
        """
        self.train()

    def train_step(self, maps: Maps, batch: Batch, epoch: int, step: Step) -> dict[str, float]:
        """Train on one batch: `maps` is what the body gave, with gradients, of the whole batch.

        Random numbers come from torch's global generator, which the engine seeds for each batch. Whatever has to
        survive the batch is a parameter or a registered buffer. Returns the losses by name, as numbers; `identity` is
        always among them where an identity loss is in use, a loss that is not in use yet may be left out.
        """
        raise NotImplementedError


def register_model(name: str, **defaults: object) -> Callable[[Factory], Factory]:
    """Decorator: make a class or function known to `build_model`. ValueError when the name is taken.

    defaults: the settings that this name has where it is not told others, instead of the class' own defaults.
    """

    def register(factory: Factory) -> Factory:
        if name in _REGISTRY:
            raise ValueError(f"a model named {name!r} is registered already")
        _REGISTRY[name] = factory, defaults
        return factory

    return register


def load_code(path: str | None) -> None:
    """Run your own Python file that registers a model, once, even if several copies of it are asked for.

    None is for the models of this package. Raises FileNotFoundError naming the file, ValueError saying what is wrong
    in it.
    """
    if path is None:
        return
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a Python file that registers a model")
    source = Path(path).read_bytes()
    name = f"dlcr_own_{hashlib.sha256(source).hexdigest()}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error


def model_factory(name: str) -> tuple[Factory, dict[str, object]]:
    """The class or function registered under `name`, and its defaults; ValueError listing the known names."""
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
    factory, defaults = model_factory(name)
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
    return factory(subjects=subjects, clothes=clothes, **(defaults | settings))
