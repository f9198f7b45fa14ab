"""Inpainting with a Stable Diffusion pipeline, in batches whose samples do not depend on each other (Sec. 3.1).

The networks are those of `diffusers`, its pipeline is not: that one draws noise for a batch and encodes prompt and
image again for every variant. Here each sample has its own generator, and prompts and images are encoded once:

    pipeline = load_inpainter("models/mini/inpainter", "float32")
    canvas = prepare(pipeline, images, masks)                      # once for all variants of these images
    latents = sample(pipeline, canvas, texts, empty, seeds, steps=8, guidance=4.0, solver="dpm++")
    painted = decode(pipeline, latents)                            # uint8 [N, H, W, 3]

Where the networks work in bfloat16, the sampler's own state stays in float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting.canvas import (
    Canvas,
    count_guided,
    draw_from,
    first_step,
    make_generators,
    to_images,
    to_tensors,
)
from dlcr.runtime.networks import find_pretrained, load_part, pipeline_dtype, quiet_libraries
from dlcr.runtime.weights import PIPELINE, Kind, loading

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

SOLVERS = ("ddim", "dpm++", "lcm", "lightning", "hyper")
"""Two for any model, then those that few-step models, or a LoRA, were trained for: see `make_scheduler`."""
STOCHASTIC = ("lcm", "ddpm")
"""Those that add noise after every step but the last."""
GUIDABLE = ("ddim", "dpm++")
"""Those that a discriminator guides: their states are x_t = sqrt(ab) x_0 + sqrt(1 - ab) noise, without noise added."""
Correction = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents x_t, timestep, cumulative alpha of that step) to what is added to the network's prediction."""
LATENTS = {"thresholding": False, "steps_offset": 1}
"""For both solvers; an offset of 1 is what the pipelines of diffusers insist on."""


@dataclass
class Inpainter:
    """The parts of a Stable Diffusion pipeline for inpainting, without its safety checker.

    Not diffusers' own class: that one runs what a model's index names, and complains of packages that only the safety
    checker would need.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: SchedulerMixin

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the networks."""
        return self.unet.dtype


def load_inpainter(model: str, dtype: str = "float32") -> Inpainter:
    """Load a pipeline from a folder or `owner/name@revision`, onto the GPU if there is one; safetensors only.

    dtype: "float32", "bfloat16" or "float16", of the networks. Where a part has no weights in full precision, its
    variant fp16 is taken. Raises FileNotFoundError naming the folder or file that is missing; ValueError for another
    kind of pipeline, a U-Net without the nine input channels of inpainting, weights that are not whole, and float16
    without a GPU.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    return load_unet_pipeline(
        Inpainter, model, dtype, PIPELINE, {"text_encoder": CLIPTextModel, "tokenizer": CLIPTokenizer}
    )


def load_unet_pipeline(
    made: type[Inpainter], model: str, dtype: str, kind: Kind, texts: Mapping[str, type]
) -> Inpainter:
    """As `load_inpainter`: a pipeline of the class `made`, whose text encoders and tokenizers are loaded by `texts`."""
    number = pipeline_dtype(dtype)
    pretrained = find_pretrained(model, kind)
    quiet_libraries()
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel  # seconds

    folder = Path(pretrained.location)
    check_channels(model, folder)
    parts = {
        part: load_part(cls, part, model, pretrained, number).to(memory_format=torch.channels_last)
        for part, cls in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
    }
    for part, cls in texts.items():
        if part.startswith("tokenizer"):
            with loading(model):
                parts[part] = cls.from_pretrained(folder / part)
        else:
            parts[part] = load_part(cls, part, model, pretrained, number)
    with loading(model):
        parts["scheduler"] = DDIMScheduler.from_config(DDIMScheduler.load_config(folder / "scheduler"))
    return made(**parts)


def check_channels(model: str, folder: Path, autoencoder: str = "vae") -> None:
    """Raises ValueError for a U-Net without the input channels of inpainting; autoencoder: the folder of that part."""
    channels, latent = (
        json.loads((folder / part / "config.json").read_text(encoding="utf-8")).get(key, 4)
        for part, key in (("unet", "in_channels"), (autoencoder, "latent_channels"))
    )
    if channels != 2 * latent + 1:
        raise ValueError(
            f"{model}: its U-Net takes {channels} channels, inpainting needs {2 * latent + 1} "
            f"(latents, mask, masked image): use an inpainting model"
        )


def factor(pipeline: Inpainter) -> int:
    """Pixels on each side of one latent cell."""
    return 2 ** (len(pipeline.vae.config.block_out_channels) - 1)


@torch.no_grad()
def embed(pipeline: Inpainter, prompt: str) -> Tensor:
    """A prompt's text embedding [L, D], made alone so that it depends on nothing else; too long texts are cut."""
    return pipeline.text_encoder(tokens(pipeline.tokenizer, prompt).to(pipeline.device)).last_hidden_state[0]


def tokens(tokenizer: CLIPTokenizer, prompt: str) -> Tensor:
    """A prompt's tokens [1, L], cut or padded to the tokenizer's length."""
    length = tokenizer.model_max_length
    return tokenizer(prompt, padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids


@torch.no_grad()
def prepare(pipeline: Inpainter, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """Encode images uint8 [N, H, W, 3] with their masks bool [N, H, W] (True = to be painted).

    Without masks (the *standard* baseline, image to image) everything is painted, starting from the image itself.
    Latents are the means of the encoder's distributions. H and W are multiples of `factor(pipeline)`.
    """
    cell = factor(pipeline)
    pixels, mask = to_tensors(images, masks, cell, pipeline.device)
    small = (images.shape[1] // cell, images.shape[2] // cell)
    return Canvas(
        mask=functional.interpolate(mask, size=small),  # each cell's first pixel, as the models were trained with
        # Without masks everything is gray: the same for all images, so it is encoded once.
        masked_image=_encode(pipeline, pixels * (mask < 0.5))
        if masks is not None
        else _encode(pipeline, torch.zeros_like(pixels[:1])).repeat(len(pixels), 1, 1, 1),
        start=_encode(pipeline, pixels) if masks is None else None,
    )


def _encode(pipeline: Inpainter, pixels: Tensor) -> Tensor:
    vae = pipeline.vae
    pixels = pixels.to(vae.dtype, memory_format=torch.channels_last)
    return vae.encode(pixels).latent_dist.mean.float().contiguous() * vae.config.scaling_factor


@torch.no_grad()
def sample(
    pipeline: Inpainter, canvas: Canvas, texts: Tensor, empty: Tensor, seeds: Sequence[int], **settings: Any
) -> Tensor:
    """Denoise N latents [N, C, h, w] with classifier-free guidance; sample i uses row i of every argument.

    texts [N, L, D]; empty [L, D], the embedding of ""; seeds: of each sample's noise; settings: see `denoise`.
    """
    context = torch.cat([empty.expand_as(texts), texts])

    def predict(inputs: Tensor, time: Tensor, guided: bool) -> Tensor:
        return pipeline.unet(inputs, time, context if guided else texts, return_dict=False)[0]

    return denoise(pipeline, canvas, seeds, predict, **settings)


@torch.no_grad()
def denoise(
    pipeline: Inpainter,
    canvas: Canvas,
    seeds: Sequence[int],
    predict: Callable[[Tensor, Tensor, bool], Tensor],
    *,
    steps: int,
    guidance: float,
    solver: str,
    strength: float = 1.0,
    guidance_share: float = 1.0,
    reuse_every: int = 1,
    correction: Correction | None = None,
    keep: bool = False,
) -> Tensor:
    """The sampler's loop, to latents float32 [N, C, h, w].

    predict: from the U-Net's input, a timestep, and whether it is guided, to the U-Net's output. The input is that of
    the N samples, [N, 2C + 1, h, w], or, guided, that input twice: first without text, then with it.
    guidance: the guidance scale, by how much a step follows the text; at 1 nothing is guided.
    strength: share of the noise that a canvas with a `start` is given, and of the `steps` that are then made.
    guidance_share: share of the steps, the first ones, that are guided; the others take one pass of the U-Net, not two.
    reuse_every: the U-Net's deep blocks are computed in every n-th step only (`deep_features`); 1: in each.
    correction: what is added to the network's prediction (discriminator guidance, Sec. 12).
    keep: latents outside the canvas's mask are, after every step, those of its masked image with that step's noise, at
    the end its own.
    """
    scheduler = make_scheduler(pipeline, solver)
    scheduler.set_timesteps(steps, device=pipeline.device)
    generators = make_generators(seeds)
    noise = draw_from(generators, canvas.masked_image.shape[1:]).to(pipeline.device)
    own = {"generator": generators} if solver in STOCHASTIC else {}
    latents, times = noise * scheduler.init_noise_sigma, scheduler.timesteps
    if canvas.start is not None:
        first = first_step(steps, strength)
        times = times[first:]
        if hasattr(scheduler, "set_begin_index"):  # DDIM goes by the timestep alone
            scheduler.set_begin_index(first)
        latents = scheduler.add_noise(canvas.start, noise, times[:1].repeat(len(noise)))
    guided_steps = count_guided(guidance, guidance_share, len(times))
    known = torch.cat([canvas.mask, canvas.masked_image], 1)
    with deep_features(pipeline.unet, reuse_every > 1) as reuse:
        for number, time in enumerate(times):
            guided = number < guided_steps
            # What was computed for twice the batch does not fit the first step without guidance.
            reuse(number % reuse_every != 0 and number != guided_steps)
            inputs = torch.cat([scheduler.scale_model_input(latents, time), known], 1)
            inputs = torch.cat([inputs, inputs]) if guided else inputs
            inputs = inputs.to(pipeline.unet.dtype, memory_format=torch.channels_last)
            predicted = predict(inputs, time, guided).float()
            if guided:
                without, within = predicted.chunk(2)
                predicted = without + guidance * (within - without)
            if correction is not None:
                predicted = predicted + correction(latents, time, scheduler.alphas_cumprod[time.cpu()])
            latents = scheduler.step(predicted, time, latents, return_dict=False, **own)[0]
            if keep:
                after = times[number + 1 : number + 2].repeat(len(noise))  # none after the last step
                kept = scheduler.add_noise(canvas.masked_image, noise, after) if len(after) else canvas.masked_image
                latents = torch.lerp(kept, latents, canvas.mask)
    return latents


@contextmanager
def deep_features(unet: torch.nn.Module, enabled: bool) -> Iterator[Callable[[bool], None]]:
    """Step caching: yields `reuse(yes)`, which says whether the next passes compute all of the U-Net or only its
    outermost blocks, with the output of the deep ones as it was in the last full pass.

    Neighbouring steps differ little in these (DeepCache, Ma et al., CVPR 2024); a pass without them costs a fraction.
    """
    if not enabled:
        yield lambda yes: None
        return
    kept: dict[torch.nn.Module, object] = {}
    state = {"reuse": False}
    deep = [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]]

    def wrap(module: torch.nn.Module) -> None:
        whole = module.forward

        def forward(*arguments: object, **keywords: object) -> object:
            if not state["reuse"]:
                kept[module] = whole(*arguments, **keywords)
            return kept[module]

        module.forward = forward

    for module in deep:
        wrap(module)
    try:
        yield lambda yes: state.update(reuse=yes)
    finally:
        for module in deep:
            del module.forward  # its class's own is used again


def make_scheduler(pipeline: Inpainter, solver: str) -> SchedulerMixin:
    """The solver over the model's own noise schedule.

    ddim, dpm++: DDIM, and DPM-Solver++ of second order; deterministic. lcm: latent consistency models (Luo et al.,
    2023), which add noise between steps. lightning: Euler's steps, the first at the noisiest timestep, as
    SDXL-Lightning (Lin et al., 2024) is sampled; hyper: DDIM's from there, as Hyper-SD (Ren et al., 2024). ddpm: adds
    noise in every step, of the variance that the model's configuration names or the network predicts (Ho et al., 2020;
    Nichol and Dhariwal, 2021), at the model's own timesteps.

    What belongs to pixels, which lie between -1 and 1, is off whatever the model's configuration says: latents do not.
    """
    from diffusers import (
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        EulerDiscreteScheduler,
        LCMScheduler,
    )

    config = pipeline.scheduler.config
    if solver == "ddim":
        return DDIMScheduler.from_config(config, clip_sample=False, **LATENTS)
    if solver == "dpm++":
        # A learned variance is of no use to it, and it would take what networks of three channels predict.
        own = {"algorithm_type": "dpmsolver++", "variance_type": None}
        return DPMSolverMultistepScheduler.from_config(config, **own, **LATENTS)
    if solver == "lcm":
        return LCMScheduler.from_config(config, clip_sample=False, **LATENTS)
    if solver == "lightning":
        return EulerDiscreteScheduler.from_config(config, timestep_spacing="trailing", steps_offset=1)
    if solver == "hyper":
        return DDIMScheduler.from_config(config, clip_sample=False, timestep_spacing="trailing", **LATENTS)
    if solver == "ddpm":
        return DDPMScheduler.from_config(config, clip_sample=False, thresholding=False)
    raise ValueError(f"unknown solver {solver!r}, expected one of: {', '.join(SOLVERS)}")


def refuse(model: str, settings: Mapping[str, Any]) -> None:
    """Raises ValueError for a discriminator with a solver whose states it does not know."""
    solver = settings.get("solver") or SOLVERS[0]
    if settings.get("discriminator") and solver not in GUIDABLE:
        raise ValueError(f"{model}: a discriminator does not guide solver {solver}, only one of: {', '.join(GUIDABLE)}")


@torch.no_grad()
def decode(pipeline: Inpainter, latents: Tensor) -> np.ndarray:
    """Latents [N, C, h, w] to images uint8 [N, H, W, 3]; what is no number, as from half precision, is gray."""
    vae = pipeline.vae
    latents = (latents / vae.config.scaling_factor).to(vae.dtype, memory_format=torch.channels_last)
    return to_images(vae.decode(latents, return_dict=False)[0])
