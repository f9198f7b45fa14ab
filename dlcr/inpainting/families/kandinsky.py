"""Kandinsky 2.2 with nine input channels (Razzhigaev et al., 2023): a prior makes of a prompt an image's embedding.

After diffusers' `KandinskyV22InpaintPipeline` and, for the prompts, `KandinskyV22PriorPipeline`, whose networks are a
repository of their own (`inpaint.prior`). The loop is Stable Diffusion's (`dlcr.inpainting.diffusion`); latents outside
the mask are kept.

The prior is a sampler itself. It draws its noise from the prompt's own generator (`seed_of`), so that an outfit always
has the same embedding, and no sample depends on the others of its batch. Its state stays in float32, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting import diffusion
from dlcr.inpainting.canvas import Canvas, draw_from, make_generators, to_images, to_tensors
from dlcr.inpainting.family import Family, Loaded, bind
from dlcr.runtime.networks import find_pretrained, load_part, pipeline_dtype, quiet_libraries
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.weights import PIPELINE, UNUSED, Kind, loading

if TYPE_CHECKING:
    from diffusers import PriorTransformer, UnCLIPScheduler

SOLVERS = ("ddpm", "ddim", "dpm++")
PRIOR_STEPS, PRIOR_GUIDANCE = 25, 4.0
"""Those of diffusers."""
NEIGHBOURS = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
"""By which a mask grows, as the model was trained with: to all sides, and along one of the two diagonals."""
KIND = Kind(
    "model_index.json",
    ("unet/diffusion_pytorch_model", "movq/diffusion_pytorch_model"),
    variants=PIPELINE.variants,
    others=("unet/config.json", "movq/config.json", "scheduler/scheduler_config.json"),
    classes={
        "_class_name": ("KandinskyV22InpaintPipeline",),
        "unet": ("UNet2DConditionModel",),
        "movq": ("VQModel",),
    },
    unused=(*UNUSED, "vae/*"),
    title="Kandinsky 2.2 for inpainting",
)
PRIOR = Kind(
    "model_index.json",
    ("prior/diffusion_pytorch_model", "text_encoder/model", "image_encoder/model"),
    variants=PIPELINE.variants,
    others=("prior/config.json", "text_encoder/config.json", "image_encoder/config.json",
            "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"),
    classes={
        "_class_name": ("KandinskyV22PriorPipeline",),
        "prior": ("PriorTransformer",),
        "text_encoder": ("CLIPTextModelWithProjection",),
        "image_encoder": ("CLIPVisionModelWithProjection",),
        "tokenizer": PIPELINE.classes["tokenizer"],
        "scheduler": ("UnCLIPScheduler",),
    },
    title="Kandinsky 2.2's prior",
)  # fmt: skip


@dataclass
class Parts(diffusion.Inpainter):
    """`vae` is the MoVQ autoencoder; `zero`: the image encoder's embedding of a gray image [D], which is all that is
    needed of it: what stands for no prompt."""

    prior: PriorTransformer
    prior_scheduler: UnCLIPScheduler
    zero: Tensor


def refuse(model: str, settings: Mapping[str, Any]) -> None:
    """As `diffusion.refuse`; raises ValueError where no prior is named too."""
    diffusion.refuse(model, {**settings, "solver": settings.get("solver") or SOLVERS[0]})
    if not settings.get("prior"):
        raise ValueError(
            f"{model}: Kandinsky 2.2 needs inpaint.prior, the repository or folder of its prior, as "
            f"kandinsky-community/kandinsky-2-2-prior@<revision>"
        )


def load(model: str, dtype: str, prior: str) -> Loaded:
    """As `Family.load`. Raises as `diffusion.load_inpainter`, for either repository."""
    number = pipeline_dtype(dtype)
    found, found_prior = find_pretrained(model, KIND), find_pretrained(prior, PRIOR)
    quiet_libraries()
    import diffusers  # seconds
    import transformers

    folder, prior_folder = Path(found.location), Path(found_prior.location)
    diffusion.check_channels(model, folder, "movq")
    unet = load_part(diffusers.UNet2DConditionModel, "unet", model, found, number)
    movq = load_part(diffusers.VQModel, "movq", model, found, number)
    with loading(model):
        scheduler = diffusers.DDPMScheduler.from_config(diffusers.DDPMScheduler.load_config(folder / "scheduler"))
    with loading(prior):
        tokenizer = transformers.CLIPTokenizer.from_pretrained(prior_folder / "tokenizer")
        prior_scheduler = diffusers.UnCLIPScheduler.from_config(
            diffusers.UnCLIPScheduler.load_config(prior_folder / "scheduler")
        )
    parts = Parts(
        unet=unet.to(memory_format=torch.channels_last),
        vae=movq.to(memory_format=torch.channels_last),
        text_encoder=load_part(transformers.CLIPTextModelWithProjection, "text_encoder", prior, found_prior, number),
        tokenizer=tokenizer,
        scheduler=scheduler,
        prior=load_part(diffusers.PriorTransformer, "prior", prior, found_prior, number),
        prior_scheduler=prior_scheduler,
        zero=embed_gray(
            load_part(transformers.CLIPVisionModelWithProjection, "image_encoder", prior, found_prior, number)
        ),
    )
    # Latents are of whole cells of the U-Net too, as in diffusers.
    return bind(parts, diffusion.factor(parts) ** 2, embed, prepare, sample, decode)


@torch.no_grad()
def embed_gray(encoder: torch.nn.Module) -> Tensor:
    """The embedding [D] of an image of zeros."""
    side = encoder.config.image_size
    return encoder(torch.zeros(1, 3, side, side, dtype=encoder.dtype, device=encoder.device)).image_embeds[0].float()


@torch.no_grad()
def embed(parts: Parts, prompt: str) -> Tensor:
    """The image's embedding float32 [D] that the prior samples for a prompt; for "" that of a gray image."""
    if prompt == "":
        return parts.zero
    length = parts.tokenizer.model_max_length
    found = parts.tokenizer(
        ["", prompt], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    ).to(parts.device)
    text = parts.text_encoder(found.input_ids)
    generators = make_generators([seed_of("Kandinsky's prior", prompt)])
    scheduler = type(parts.prior_scheduler).from_config(parts.prior_scheduler.config)
    scheduler.set_timesteps(PRIOR_STEPS, device=parts.device)
    state = draw_from(generators, parts.zero.shape).to(parts.device)
    for time, after in pairwise([*scheduler.timesteps, None]):
        predicted = parts.prior(
            state.expand(2, -1).to(parts.dtype),
            timestep=time,
            proj_embedding=text.text_embeds,
            encoder_hidden_states=text.last_hidden_state,
            attention_mask=found.attention_mask.bool(),
        ).predicted_image_embedding
        without, within = predicted.float().chunk(2)
        guided = without + PRIOR_GUIDANCE * (within - without)
        state = scheduler.step(guided, time, state, prev_timestep=after, generator=generators).prev_sample
    return parts.prior.post_process_latents(state)[0]


@torch.no_grad()
def prepare(parts: Parts, images: np.ndarray, masks: np.ndarray | None) -> Canvas:
    """As `Loaded.prepare`; whole images are encoded, and their latents masked, by a mask that has grown by a cell."""
    pixels, mask = to_tensors(images, masks, diffusion.factor(parts) ** 2, parts.device)
    pixels = pixels.to(parts.vae.dtype, memory_format=torch.channels_last)
    latents = parts.vae.encode(pixels).latents.float().contiguous()  # not quantised
    mask = functional.interpolate(mask, size=latents.shape[-2:])
    mask = grow(mask)
    return Canvas(mask=mask, masked_image=latents * (1 - mask), start=latents if masks is None else None)


def grow(mask: Tensor) -> Tensor:
    """A mask float [N, 1, h, w] of 0 and 1 with the neighbours of its cells."""
    return (functional.conv2d(mask, NEIGHBOURS[None, None].to(mask), padding=1) > 0).to(mask)


@torch.no_grad()
def sample(
    parts: Parts, canvas: Canvas, texts: Tensor, empty: Tensor, seeds: Sequence[int], *, solver: str, **settings: Any
) -> Tensor:
    """As `Loaded.sample`; texts [N, D] and empty [D], as `embed` makes them."""
    doubled = torch.cat([empty.expand_as(texts), texts])
    channels = canvas.masked_image.shape[1]
    variances = solver == "ddpm" and parts.scheduler.config.variance_type in ("learned", "learned_range")

    def predict(inputs: Tensor, time: Tensor, guided: bool) -> Tensor:
        latents, mask, known = inputs.split([channels, 1, channels], 1)
        embeddings = (doubled if guided else texts).to(inputs.dtype)
        predicted = parts.unet(
            torch.cat([latents, known, 1 - mask], 1),
            time,
            encoder_hidden_states=None,
            added_cond_kwargs={"image_embeds": embeddings},
            return_dict=False,
        )[0]
        noise, variance = predicted[:, :channels], predicted[:, channels:]
        if guided:  # that of the prompt alone: guidance of two equal ones leaves them as they are
            variance = variance.chunk(2)[1].repeat(2, 1, 1, 1)
        return torch.cat([noise, variance], 1) if variances else noise

    return diffusion.denoise(parts, canvas, seeds, predict, solver=solver, keep=True, **settings)


@torch.no_grad()
def decode(parts: Parts, latents: Tensor) -> np.ndarray:
    """As `Loaded.decode`."""
    latents = latents.to(parts.vae.dtype, memory_format=torch.channels_last)
    return to_images(parts.vae.decode(latents, force_not_quantize=True, return_dict=False)[0])


FAMILY = Family(
    kind=KIND,
    solvers=SOLVERS,
    steps=100,
    guidance=4.0,
    knows=("guidance_share", "reuse_every", "restyle", "discriminator", "prior"),
    load=load,
    refuse=refuse,
)
