"""The entry point for library users: any images, masks and outfit texts to re-clothed variants.

    expander = Expander("stable-diffusion-v1-5/stable-diffusion-inpainting@<commit>", size=(768, 256), dtype="float16")
    variants = expander.expand(images, masks, ["Gray shirt| Blue jeans| Black shoes"] * len(images), seeds)

Pixels outside a mask are bit-identical to the original's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from dlcr.inpainting.diffusion import SOLVERS, Canvas, decode, embed, factor, load_inpainter, prepare, sample


class Expander:
    """An inpainting model with its sampler's settings; defaults are the paper's (Sec. 4.1 of DLCR).

    model: folder or `owner/name@revision`. size: (height, width) at which the model works, images are resized to it
    and back. batch: samples denoised together, a matter of speed and memory only. strength: see `restyle`.
    """

    def __init__(
        self,
        model: str,
        *,
        steps: int = 50,
        guidance: float = 7.5,
        size: tuple[int, int] = (768, 256),
        solver: str = "ddim",
        batch: int = 8,
        dtype: str = "float32",
        strength: float = 1.0,
    ) -> None:
        if solver not in SOLVERS:
            raise ValueError(f"unknown solver {solver!r}, expected one of: {', '.join(SOLVERS)}")
        if steps < 1 or batch < 1 or guidance < 1 or not 0 < strength <= 1:
            raise ValueError(
                f"expected steps, batch and guidance of at least 1 and 0 < strength <= 1, got steps {steps}, "
                f"batch {batch}, guidance {guidance}, strength {strength}"
            )
        self.pipeline = load_inpainter(model, dtype)
        cell = factor(self.pipeline)
        if size[0] % cell or size[1] % cell:
            raise ValueError(f"size {size[0]}x{size[1]}: {model} needs multiples of {cell}")
        self.size, self.batch = size, batch
        self._sampler = {"steps": steps, "guidance": guidance, "solver": solver, "strength": strength}
        self._texts: dict[str, torch.Tensor] = {}

    def expand(
        self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[np.ndarray]:
        """Dress image i in prompt i with noise of seed i; repeat an image for several variants of it.

        images: uint8 [H, W, 3] RGB of any sizes; masks: bool [H, W], True = to be inpainted, not empty; prompts like
        "Gray shirt| Blue jeans| Black shoes". Returns uint8 [H, W, 3] arrays. An element's result depends on nothing
        but its own image, mask, prompt and seed (up to the last bits of the networks' arithmetic). Raises ValueError
        naming the position of an argument that does not fit.
        """
        self._check(images, prompts, seeds, masks)
        canvas = self.prepare(images, masks)
        return self.paint(canvas, range(len(images)), images, masks, prompts, seeds)

    def restyle(self, images: Sequence[np.ndarray], prompts: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray]:
        """*Standard diffusion* (Table A1): image to image without a mask, from the image with `strength` noise."""
        self._check(images, prompts, seeds, None)
        canvas = self.prepare(images, None)
        return self.paint(canvas, range(len(images)), images, None, prompts, seeds)

    def prepare(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None) -> Canvas:
        """Encode images (and masks) once for any number of variants."""
        parts = []
        for start in range(0, len(images), self.batch):
            rows = slice(start, start + self.batch)
            small = np.stack([_resize(image, self.size) for image in images[rows]])
            holes = None if masks is None else np.stack([_resize_mask(mask, self.size) for mask in masks[rows]])
            parts.append(prepare(self.pipeline, small, holes))
        start = None if masks is not None else torch.cat([part.start for part in parts])
        return Canvas(torch.cat([part.hole for part in parts]), torch.cat([part.around for part in parts]), start)

    def paint(
        self,
        canvas: Canvas,
        rows: Sequence[int],
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray] | None,
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[np.ndarray]:
        """One variant of each of these rows of a canvas, put into the images and masks of the same rows."""
        painted: list[np.ndarray] = []
        for start in range(0, len(rows), self.batch):
            part = slice(start, start + self.batch)
            texts = torch.stack([self._text(prompt) for prompt in prompts[part]])
            latents = sample(
                self.pipeline, canvas.rows(rows[part]), texts, self._text(""), seeds[part], **self._sampler
            )
            painted.extend(decode(self.pipeline, latents))
        if masks is None:
            return [_resize(new, old.shape[:2]) for new, old in zip(painted, images, strict=True)]
        return [composite(new, old, mask) for new, old, mask in zip(painted, images, masks, strict=True)]

    def _text(self, prompt: str) -> torch.Tensor:
        if prompt not in self._texts:
            self._texts[prompt] = embed(self.pipeline, prompt)
        return self._texts[prompt]

    def _check(
        self,
        images: Sequence[np.ndarray],
        prompts: Sequence[str],
        seeds: Sequence[int],
        masks: Sequence[np.ndarray] | None,
    ) -> None:
        lengths = [len(images), len(prompts), len(seeds), *([] if masks is None else [len(masks)])]
        if len(set(lengths)) != 1 or not lengths[0]:
            raise ValueError(f"expected equally many images, prompts, seeds (and masks), at least 1, got {lengths}")
        for number, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(f"image {number}: expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
        for number, mask in enumerate(masks or []):
            if mask.dtype != bool or mask.shape != images[number].shape[:2]:
                expected = list(images[number].shape[:2])
                raise ValueError(f"mask {number}: expected bool {expected}, got {mask.dtype} {list(mask.shape)}")
            if not mask.any():
                raise ValueError(f"mask {number} is empty: there is nothing to inpaint")


def composite(painted: np.ndarray, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The painted image, resized to the original's size, inside the mask; the original's own pixels outside of it."""
    return np.where(mask[..., None], _resize(painted, image.shape[:2]), image)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == tuple(size):
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A pixel belongs to the resized mask where more than half of its area does, so that the mask does not grow."""
    if mask.shape == tuple(size):
        return mask
    area = Image.fromarray(mask.astype(np.uint8) * 255).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(area) > 128
