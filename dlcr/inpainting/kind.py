"""What a kind of generated set says of itself: one module under dlcr/inpainting/kinds for each, with one `KIND`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcr.inpainting.painters import Painter
    from dlcr.params import GeneratedSet, Params


@dataclass(frozen=True)
class Kind:
    """How the variants of a set are painted.

    `choose`: from params and the set's own item to a function that builds the set's painter, and plain JSON data that
    says what paints (model weights, settings), the same for every K. The function, or that of its partial, stands in
    the kind's own module: from there the store finds the code that paints (`dlcr.runtime.code`). It is picklable.
    `within_masks`: images without a usable mask are skipped. `guidable`: paints by diffusion, which a discriminator can
    guide, in the type `inpaint.dtype`. `shows`: paints from pictures of the outfits (`dlcr.inpainting.garments`).
    """

    choose: Callable[[Params, GeneratedSet], tuple[Callable[[], Painter], dict]]
    within_masks: bool = False
    guidable: bool = False
    shows: bool = False
