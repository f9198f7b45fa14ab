"""FLUX.2 klein: few steps; the model sees the whole image as a reference, latents outside the mask are kept.

A picture of clothes is a second reference.

After diffusers' `Flux2KleinInpaintPipeline`, which takes the weights of `Flux2KleinPipeline` as they are. Distilled
models (`is_distilled` in their index) have no guidance, their `base` ones do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting.canvas import Canvas, to_images
from dlcr.inpainting.families import _flow as flow
from dlcr.inpainting.family import Family, Loaded, bind
from dlcr.runtime.weights import read_index

TEXT_LENGTH, TEXT_LAYERS = 512, (9, 18, 27)
REFERENCE, GARMENT = 10, 20
"""Where the image and a picture of clothes stand on the axis of time, on which the latents are at 0."""
KIND = flow.make_kind(
    "FLUX.2 klein",
    {
        "_class_name": ("Flux2KleinPipeline", "Flux2KleinInpaintPipeline"),
        "transformer": ("Flux2Transformer2DModel",),
        "vae": ("AutoencoderKLFlux2",),
        "text_encoder": ("Qwen3ForCausalLM",),
        "tokenizer": ("Qwen2Tokenizer", "Qwen2TokenizerFast"),
    },
)


def refuse(model: str, settings: Mapping[str, Any]) -> None:
    """Raises ValueError for guidance of a distilled model, which would ignore it."""
    if settings["guidance"] > 1 and read_index(model, KIND).get("is_distilled"):
        raise ValueError(f"{model}: distilled, without guidance: expected guidance 1, got {settings['guidance']:g}")


def load(model: str, dtype: str) -> Loaded:
    """As `Family.load`; raises as `flow.load_parts`."""
    parts = flow.load_parts(model, dtype, KIND)
    return bind(parts, 2 * flow.cell(parts), embed, prepare, sample, decode)


@torch.no_grad()
def embed(parts: flow.Parts, prompt: str) -> tuple[Tensor]:
    """Three layers of the language model beside each other [512, 3 D], of the prompt as a user's message."""
    ((tokenizer, network),) = parts.texts
    message = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    found = tokenizer(text, padding="max_length", truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")
    # The network's body: the words that its head would say next are not needed.
    output = network.model(**found.to(parts.device), output_hidden_states=True, use_cache=False)
    return (torch.cat([output.hidden_states[layer][0] for layer in TEXT_LAYERS], -1),)


def encode(parts: flow.Parts, pixels: Tensor) -> Tensor:
    """Pixels [N, 3, H, W] in [-1, 1] to latents of 2x2 cells float32 [N, 4C, h/2, w/2], normalised by channel."""
    mean, deviation = _statistics(parts)
    latents = parts.vae.encode(pixels.to(parts.vae.dtype)).latent_dist.mode().float()
    return (functional.pixel_unshuffle(latents, 2) - mean) / deviation


def _statistics(parts: flow.Parts) -> tuple[Tensor, Tensor]:
    norm = parts.vae.bn
    mean, variance = (values.float()[:, None, None] for values in (norm.running_mean, norm.running_var))
    return mean, (variance + parts.vae.config.batch_norm_eps).sqrt()


@torch.no_grad()
def prepare(parts: flow.Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`; a cell of the mask is the mean of its pixels."""
    return flow.blended(parts, encode, images, masks, 2 * flow.cell(parts), mode="bilinear")


@torch.no_grad()
def sample(
    parts: flow.Parts,
    canvas: Canvas,
    texts: tuple[Tensor],
    empty: tuple[Tensor],
    seeds: Sequence[int],
    *,
    steps: int,
    shown: tuple[Tensor] | None = None,
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`; texts: [N, L, D], as `embed` makes them; shown: latents, as `flow.look` does."""
    doubled = flow.double(texts, empty)
    shape = canvas.start.shape[1:]
    length, height, width = texts[0].shape[1], *shape[1:]
    words = places(0, 1, 1, length).to(parts.device)
    seen = {REFERENCE: canvas.start} | ({} if shown is None else {GARMENT: shown[0]})
    cells = {0: canvas.start} | seen
    cells = torch.cat([places(time, *grid.shape[2:], 1) for time, grid in cells.items()]).to(parts.device)
    reference = torch.cat([grid.flatten(2).transpose(1, 2) for grid in seen.values()], 1)

    def predict(latents: Tensor, time: Tensor, guided: bool) -> Tensor:
        ((text,), known) = (doubled, torch.cat([reference, reference])) if guided else (texts, reference)
        tokens = torch.cat([latents.flatten(2).transpose(1, 2), known], 1)
        predicted = parts.transformer(
            hidden_states=tokens.to(parts.dtype),
            timestep=(time / 1000).expand(len(latents)),
            guidance=None,
            encoder_hidden_states=text,
            txt_ids=words.expand(len(latents), -1, -1),
            img_ids=cells.expand(len(latents), -1, -1),
            return_dict=False,
        )[0]
        return predicted[:, : height * width].transpose(1, 2).unflatten(2, (height, width))

    mu = shift(height * width, steps)
    sigmas = flow.rising_sigmas(steps)
    return flow.denoise(parts, canvas, seeds, shape, predict, steps=steps, sigmas=sigmas, mu=mu, keep=True, **settings)


def places(time: int, height: int, width: int, length: int) -> Tensor:
    """Where tokens stand, int [height * width * length, 4]: time, row, column and place in the text."""
    return torch.cartesian_prod(torch.tensor([time]), *(torch.arange(count) for count in (height, width, length)))


def shift(tokens: int, steps: int) -> float:
    """mu of the schedule's shift: for images of up to 4300 tokens on a line between its values at 10 and 200 steps.

    The numbers are diffusers' (`compute_empirical_mu`).
    """
    at_10, at_200 = 8.73809524e-05 * tokens + 1.89833333, 0.00016927 * tokens + 0.45666666
    return at_200 if tokens > 4300 else at_10 + (at_200 - at_10) * (steps - 10) / 190


@torch.no_grad()
def decode(parts: flow.Parts, latents: Tensor) -> np.ndarray:
    """As `Loaded.decode`."""
    mean, deviation = _statistics(parts)
    latents = functional.pixel_shuffle(latents * deviation + mean, 2).to(parts.vae.dtype)
    return to_images(parts.vae.decode(latents, return_dict=False)[0])


FAMILY = Family(
    kind=KIND,
    solvers=flow.SOLVERS,
    steps=4,
    guidance=1.0,
    knows=("guidance_share", "restyle"),
    load=load,
    refuse=refuse,
    show=partial(flow.show_reference, encoder=encode),
)
