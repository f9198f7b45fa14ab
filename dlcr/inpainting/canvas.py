"""What all families' samplers share: encoded images and texts by rows, noise, pixels and their tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Text = Tensor | tuple[Tensor, ...]
"""What conditions a sampler on one prompt, tensors [...], or on N of them, [N, ...]."""


@dataclass(frozen=True)
class Canvas:
    """Encoded images, N of them, in the latents' resolution.

    `mask` float [N, M, h, w] is 1 where it is painted; `masked_image` [N, C, h, w] encodes the images with gray where
    the mask is, or is None where the model is not shown them so; `start` [N, C, h, w] encodes the whole images, or is
    None where sampling starts from noise alone and nothing is kept of them; `seen` [N, ...] is what a text encoder that
    looks at the images is shown of them, or None.
    """

    mask: Tensor
    masked_image: Tensor | None
    start: Tensor | None
    seen: Tensor | None = None

    def rows(self, index: Sequence[int]) -> Canvas:
        """The canvases of these rows, which may repeat."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.mask.device)
        return Canvas(*(None if part is None else part[rows] for part in _parts(self)))


def join_canvases(canvases: Sequence[Canvas]) -> Canvas:
    """One canvas with the rows of all, which have the same parts."""
    parts = zip(*map(_parts, canvases), strict=True)
    return Canvas(*(None if part[0] is None else torch.cat(part) for part in parts))


def _parts(canvas: Canvas) -> list[Tensor | None]:
    return [canvas.mask, canvas.masked_image, canvas.start, canvas.seen]


def join_texts(texts: Sequence[Text]) -> Text:
    """The texts of N prompts, tensors [...] of each, to those of a batch, [N, ...]; shorter ones end with zeros."""
    if isinstance(texts[0], tuple):
        return tuple(pad_sequence(parts, batch_first=True) for parts in zip(*texts, strict=True))
    return torch.stack(list(texts))


def to_tensors(images: np.ndarray, masks: np.ndarray | None, cell: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1], masks bool [N, H, W] or None (all) to [N, 1, H, W].

    Raises ValueError where H or W is no multiple of `cell`.
    """
    if images.shape[1] % cell or images.shape[2] % cell:
        raise ValueError(f"images of {images.shape[1]}x{images.shape[2]}: the model needs multiples of {cell}")
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
    return pixels, torch.ones_like(pixels[:, :1]) if masks is None else torch.from_numpy(masks)[:, None].to(pixels)


def to_images(pixels: Tensor) -> np.ndarray:
    """Pixels [N, 3, H, W] in [-1, 1] to uint8 [N, H, W, 3]; what is no number, as from half precision, is gray."""
    pixels = pixels.float().nan_to_num(0).clamp(-1, 1)
    return ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def draw_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal noise float32 [N, *shape], each row from its own generator on the CPU (same on every device)."""
    return draw_from(make_generators(seeds), shape)


def make_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One for each sample, on the CPU."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def draw_from(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """The next noise float32 [N, *shape] of these generators, a row from each."""
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators])


def first_step(steps: int, strength: float) -> int:
    """The number of the step at which image to image begins, so that this share of the steps, one at least, is made."""
    return steps - max(1, min(steps, int(steps * strength)))


def count_guided(guidance: float, share: float, steps: int) -> int:
    """How many steps, the first ones, follow classifier-free guidance of this scale, where a share of them does."""
    return math.ceil(share * steps) if guidance > 1 else 0
