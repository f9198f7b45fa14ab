"""What an inpainter's family says of itself: one module under dlcr/inpainting/families for each, with one `FAMILY`.

family = find_family("owner/name@revision")              # by the class of pipeline that its model_index.json names
family.check("owner/name@revision", {"solver": "ddim"})  # refuses what the family has not, before anything is loaded
inpainter = family.load("owner/name@revision", "bfloat16")
canvas = inpainter.prepare(images, masks)                # once for all variants of these images
latents = inpainter.sample(canvas, texts, inpainter.embed(""), seeds, steps=4, guidance=1.0, solver="flow")
painted = inpainter.decode(latents)                      # uint8 [N, H, W, 3]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dlcr.inpainting.canvas import Canvas, Text
    from dlcr.runtime.weights import Kind

DEFAULTS: Mapping[str, Any] = {
    "guidance_share": 1.0,
    "reuse_every": 1,
    "discriminator": None,
    "lora": None,
    "prior": None,
    "adapter": None,
}
"""The settings that not every family knows, and the values at which they ask nothing of it."""


@dataclass(frozen=True)
class Loaded:
    """A loaded model as functions.

    parts      its networks, by attributes
    cell       pixels that height and width must be multiples of
    embed      a prompt to its conditioning (`canvas.Text`), made alone, so that it depends on nothing else
    prepare    images uint8 [N, H, W, 3] and masks bool [N, H, W], or None (each whole image is painted), to a `Canvas`
    sample     a canvas of N rows, N texts (`canvas.join_texts`), the text of "", N seeds and the sampler's settings to
               latents float32 [N, C, h, w]
    decode     latents to uint8 [N, H, W, 3]
    look       a picture of clothes, uint8 [S, S, 3], to what `sample` takes of N of them (`canvas.join_texts`) as
               `shown`, made alone; None where a model can't be shown any, or not yet (`Family.show`)
    """

    parts: Any
    cell: int
    embed: Callable[[str], Text]
    prepare: Callable[[np.ndarray, np.ndarray | None], Canvas]
    sample: Callable[..., Tensor]
    decode: Callable[[Tensor], np.ndarray]
    look: Callable[[np.ndarray], Text] | None = None


def bind(parts: Any, cell: int, *functions: Callable[..., Any]) -> Loaded:
    """A loaded model of the functions embed, prepare, sample and decode, each of which takes its parts first."""
    return Loaded(parts, cell, *(partial(function, parts) for function in functions))


def refuse_nothing(model: str, settings: Mapping[str, Any]) -> None:
    """For families whose index says all there is to say by its classes."""


@dataclass(frozen=True)
class Family:
    """How one kind of pipeline is loaded and what it can do.

    kind       the files of a model and its classes; those of "_class_name" say in a model's index that it is of this
               family
    solvers    what `solver` may be, the default first
    steps      its authors' number of steps, and so with `guidance`
    knows      which settings of DEFAULTS, and "restyle" (image to image without masks), it takes
    load       a folder or `owner/name@revision` and a type's name (float32, bfloat16, float16), and `prior` where it is
               known, to a `Loaded`, on the GPU if there is one; safetensors only
    refuse     raises ValueError in one line for a model or settings of it that its index already shows to be of no use
    show       a `Loaded`, the (height, width) it works at, an adapter and its scale to a `Loaded` that can be shown
               clothes; None where the family has no way
    adapter    the file of a repository of IP-Adapters that fits the family; "" where it needs none
    """

    kind: Kind
    solvers: tuple[str, ...]
    steps: int
    guidance: float
    knows: tuple[str, ...]
    load: Callable[..., Loaded]
    refuse: Callable[[str, Mapping[str, Any]], None] = refuse_nothing
    show: Callable[[Loaded, tuple[int, int], str | None, float], Loaded] | None = None
    adapter: str = ""

    def check(self, model: str, settings: Mapping[str, Any]) -> None:
        """Raises ValueError in one line for a setting that this family has not; it says which ones there are."""
        solver = settings.get("solver") or self.solvers[0]
        if solver not in self.solvers:
            raise ValueError(
                f"unknown solver {solver!r}, expected one of: {', '.join(self.solvers)} ({model}: {self.kind.title})"
            )
        for name, nothing in DEFAULTS.items():
            if settings.get(name, nothing) != nothing:
                self.require(model, name)
        self.refuse(model, settings)

    def require(self, model: str, name: str) -> None:
        """Raises ValueError in one line if the family does not know this setting."""
        if name not in self.knows:
            known = ", ".join(self.knows) or "none"
            raise ValueError(f"{model}: {self.kind.title} takes no {name}; of such settings it knows: {known}")
