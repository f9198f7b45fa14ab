"""The entry point for library users: any images, masks and outfit texts to re-clothed variants.

    expander = Expander("stable-diffusion-v1-5/stable-diffusion-inpainting@<commit>", size=(768, 256), dtype="float16")
    variants = expander.expand(images, masks, ["Gray shirt| Blue jeans| Black shoes"] * len(images), seeds)

    expander = Expander("diffusers/stable-diffusion-xl-1.0-inpainting-0.1@<commit>", adapter="h94/IP-Adapter@<commit>")
    variants = expander.expand(images, masks, [""] * len(images), seeds, garments=[garment_picture(shirt, mask), ...])

Pixels outside a mask are bit-identical to the original's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from dlcr.inpainting.canvas import Canvas, Text, join_canvases, join_texts
from dlcr.inpainting.discriminator import discriminator_guidance, load_discriminator
from dlcr.inpainting.families import find_family, require_show
from dlcr.inpainting.family import Family, Loaded
from dlcr.inpainting.lora import fuse_lora
from dlcr.runtime.memory import Batch

T = TypeVar("T")
KEPT = 256
"""Pictures of clothes of which it is kept what the model sees."""


class Expander:
    """An inpainting model of any family (`dlcr.inpainting.families`) with its sampler's settings.

    model: folder or `owner/name@revision`. steps, guidance (the guidance scale) and solver: None are the family's own;
    Stable Diffusion's are the paper's (Sec. 16) and the release's. size: (height, width) at which the model works,
    images are resized to it and back. batch: samples denoised together, a matter of speed and memory only; where a
    GPU's memory is too small it is halved. strength: see `restyle`. guidance_share and reuse_every save time and change
    the picture: see `diffusion.denoise`. discriminator: folder of a trained one that guides every sample (Sec. 12) with
    this weight, at timesteps t with times[0] < t <= times[1]. lora: a file that `lora.fuse_lora` adds to the weights,
    as for the solvers of few steps. prior: a second model that makes of a prompt what conditions the first, where the
    family has one. adapter: an IP-Adapter (`adapter.adapter_files`), which shows models with a U-Net pictures of
    clothes, with the weight adapter_scale beside the text. family: the model's, where it is known already. Raises
    ValueError for settings that the family does not know, before anything is loaded.
    """

    def __init__(
        self,
        model: str,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        size: tuple[int, int] = (768, 256),
        solver: str | None = None,
        batch: int = 8,
        dtype: str = "float32",
        strength: float = 1.0,
        guidance_share: float = 1.0,
        reuse_every: int = 1,
        discriminator: str | None = None,
        weight: float = 1.0,
        times: tuple[int, int] = (200, 1000),
        lora: str | None = None,
        prior: str | None = None,
        adapter: str | None = None,
        adapter_scale: float = 1.0,
        family: Family | None = None,
    ) -> None:
        self.model, self.family = model, family or find_family(model)
        steps = self.family.steps if steps is None else steps
        guidance = self.family.guidance if guidance is None else guidance
        if min(steps, batch, guidance, reuse_every) < 1 or not 0 < strength <= 1 or not 0 <= guidance_share <= 1:
            raise ValueError(
                f"expected steps, batch, guidance and reuse_every of at least 1, 0 < strength <= 1 and "
                f"0 <= guidance_share <= 1, got steps {steps}, batch {batch}, guidance {guidance}, "
                f"reuse_every {reuse_every}, strength {strength}, guidance_share {guidance_share}"
            )
        if adapter is None and adapter_scale != 1:
            raise ValueError(f"adapter_scale {adapter_scale:g}: there is no adapter that it could weigh")
        optional = {"guidance_share": guidance_share, "reuse_every": reuse_every}
        asked = {"guidance": guidance, "solver": solver, "discriminator": discriminator, "lora": lora}
        second = {} if prior is None else {"prior": prior}
        self.family.check(model, asked | optional | second | {"adapter": adapter})
        self._sampler = {"steps": steps, "guidance": guidance}
        self._sampler |= {name: value for name, value in optional.items() if name in self.family.knows}
        if len(self.family.solvers) > 1:
            self._sampler["solver"] = solver or self.family.solvers[0]
        if "restyle" in self.family.knows:
            self._sampler["strength"] = strength
        self.loaded = self.family.load(model, dtype, **second)
        if lora is not None:
            fuse_lora(self.pipeline, lora)
        cell = self.loaded.cell
        if size[0] % cell or size[1] % cell:
            raise ValueError(f"size {size[0]}x{size[1]}: {model} needs multiples of {cell}")
        self.size, self.batch = size, batch
        self._fitting = Batch(batch)
        if self.family.show and (adapter or not self.family.adapter):
            self.loaded = self.family.show(self.loaded, size, adapter, adapter_scale)
        self._adapter = adapter
        self._shown: dict[bytes, Text] = {}
        if discriminator is not None:
            loaded = load_discriminator(discriminator, self.pipeline)
            self._sampler["correction"] = partial(discriminator_guidance, loaded, weight=weight, times=times)
        self._texts: dict[str, Text] = {}

    @property
    def pipeline(self) -> Any:
        """The model's networks, by attributes."""
        return self.loaded.parts

    def expand(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        prompts: Sequence[str],
        seeds: Sequence[int],
        garments: Sequence[np.ndarray | None] | None = None,
    ) -> list[np.ndarray]:
        """Dress image i in prompt i with noise of seed i; repeat an image for several variants of it.

        images: uint8 [H, W, 3] RGB of any sizes; masks: bool [H, W], True = to be inpainted, not empty; prompts like
        "Gray shirt| Blue jeans| Black shoes"; garments: pictures of clothes to dress in, uint8 [H, W, 3] as
        `garments.garment_picture` makes them, beside the prompts or, where these are "", in their place; None where
        nothing is shown. Returns uint8 [H, W, 3] arrays. An element's result depends on nothing but its own image,
        mask, prompt, seed and garment (up to the last bits of the networks' arithmetic). Raises ValueError naming the
        position of an argument that does not fit, and for garments with a model that can't be shown any.
        """
        self._check(images, prompts, seeds, masks)
        if garments is not None:
            self._check_garments(garments, len(images))
        canvas = self.prepare(images, masks)
        return self.paint(
            canvas, range(len(images)), images, masks, prompts, seeds, lambda _, variant: variant, garments
        )

    def restyle(self, images: Sequence[np.ndarray], prompts: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray]:
        """*Standard diffusion* (Table A1): image to image without a mask, from the image with `strength` noise."""
        self._check(images, prompts, seeds, None)
        canvas = self.prepare(images, None)
        return self.paint(canvas, range(len(images)), images, None, prompts, seeds, lambda _, variant: variant)

    def prepare(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None) -> Canvas:
        """Encode images (and masks) once for any number of variants; without masks each whole image is painted."""

        def encode(rows: Sequence[int]) -> list[Canvas]:
            small = np.stack([_resize(images[row], self.size) for row in rows])
            small_masks = None if masks is None else np.stack([_resize_mask(masks[row], self.size) for row in rows])
            canvas = self.loaded.prepare(small, small_masks)
            return [canvas.rows([place]) for place in range(len(rows))]

        if masks is None:
            self.family.require(self.model, "restyle")
        return join_canvases(self._fitting.run(encode, range(len(images))))

    def paint(
        self,
        canvas: Canvas,
        rows: Sequence[int],
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray] | None,
        prompts: Sequence[str],
        seeds: Sequence[int],
        finish: Callable[[int, np.ndarray], T],
        garments: Sequence[np.ndarray | None] | None = None,
    ) -> list[T]:
        """One variant of each of these rows of a canvas, put into the images and masks of the same places.

        `finish(place, variant)` makes of each what is returned, in a thread beside the denoising of the next batch.
        """

        dressed = {place: picture for place, picture in enumerate(garments or []) if picture is not None}

        def put(place: int, new: np.ndarray) -> T:
            old = images[place]
            variant = _resize(new, old.shape[:2]) if masks is None else composite(new, old, masks[place])
            return finish(place, variant)

        with ThreadPoolExecutor(1) as pool:

            def denoise(places: Sequence[int]) -> list[Future[T]]:
                texts = [self._text(prompts[place]) for place in places]
                part = canvas.rows([rows[place] for place in places])
                noise = [seeds[place] for place in places]
                seen = [self._look(dressed[place]) for place in places if place in dressed]
                shown = {"shown": join_texts(seen)} if seen else {}
                latents = sample(self.loaded, part, texts, self._text(""), noise, **self._sampler, **shown)
                return [pool.submit(put, *pair) for pair in zip(places, self.loaded.decode(latents), strict=True)]

            told = [place for place in range(len(rows)) if place not in dressed]
            futures: dict[int, Future[T]] = {}
            for part in (told, list(dressed)):  # apart, as what is shown nothing takes another pass
                futures |= zip(part, self._fitting.run(denoise, part), strict=True)
            return [futures[place].result() for place in range(len(rows))]

    def _look(self, picture: np.ndarray) -> Text:
        """What the model sees of a picture; the last ones are kept, as many samples are shown the same."""
        key = blake2b(f"{picture.shape}".encode() + picture.tobytes()).digest()
        found = self._shown.pop(key, None)
        self._shown[key] = self.loaded.look(picture) if found is None else found
        if len(self._shown) > KEPT:
            del self._shown[next(iter(self._shown))]
        return self._shown[key]

    def _text(self, prompt: str) -> Text:
        if prompt not in self._texts:
            self._texts[prompt] = self.loaded.embed(prompt)
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
            _check_picture("image", number, image)
        for number, mask in enumerate(masks or []):
            if mask.dtype != bool or mask.shape != images[number].shape[:2]:
                expected = list(images[number].shape[:2])
                raise ValueError(f"mask {number}: expected bool {expected}, got {mask.dtype} {list(mask.shape)}")
            if not mask.any():
                raise ValueError(f"mask {number} is empty: there is nothing to inpaint")

    def _check_garments(self, garments: Sequence[np.ndarray | None], count: int) -> None:
        require_show(self.model, self.family, self._adapter)
        if len(garments) != count:
            raise ValueError(f"expected as many garments as images, {count}, got {len(garments)}")
        for number, picture in enumerate(garments):
            if picture is not None:
                _check_picture("garment", number, picture)


def _check_picture(name: str, number: int, picture: np.ndarray) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"{name} {number}: expected uint8 [H, W, 3], got {picture.dtype} {list(picture.shape)}")


def sample(
    loaded: Loaded, canvas: Canvas, texts: Sequence[Text], empty: Text, seeds: Sequence[int], **settings: Any
) -> torch.Tensor:
    """Latents [N, C, h, w] of one batch; sample i uses row i of the canvas, text i and seed i."""
    return loaded.sample(canvas, join_texts(texts), empty, seeds, **settings)


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
