"""What families share that predict a flow (Esser et al., ICML 2024): x_t = (1 - sigma) x_0 + sigma noise.

The steps are Euler's, over the model's own schedule; there is no other solver, so `solver` is `flow`. Sampling is
deterministic. The sampler's own state stays in float32 whatever the type of the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dlcr.inpainting.canvas import Canvas, count_guided, draw_noise, first_step, join_texts, to_tensors
from dlcr.runtime.networks import find_pretrained, load_part, pipeline_dtype, quiet_libraries
from dlcr.runtime.weights import Kind, loading, read_index

if TYPE_CHECKING:
    from diffusers import SchedulerMixin
    from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

    from dlcr.inpainting.family import Loaded

SOLVERS = ("flow",)
VARIANTS = ("", "fp16", "bf16")
SCHEDULER = {"scheduler": ("FlowMatchEulerDiscreteScheduler",)}
CLIP_TOKENIZERS, T5_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast"), ("T5Tokenizer", "T5TokenizerFast")


@dataclass
class Parts:
    """A pipeline's networks; `texts`: tokenizers with their text encoders, in order; `index`: its model_index.json;
    `processor`: how a text encoder that looks at images is shown them."""

    transformer: torch.nn.Module
    vae: torch.nn.Module
    texts: tuple[tuple[PreTrainedTokenizerBase, PreTrainedModel], ...]
    scheduler: SchedulerMixin
    index: Mapping[str, Any]
    processor: BaseImageProcessor | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.transformer.device

    @property
    def dtype(self) -> torch.dtype:
        """That of the networks."""
        return self.transformer.dtype


def make_kind(title: str, classes: Mapping[str, tuple[str, ...]]) -> Kind:
    """The files of a pipeline of these classes, by its parts; text encoders, and tokenizers, begin with these words."""
    networks = [part for part in classes if not part.startswith(("_", "tokenizer", "processor"))]
    tokenizers = [part for part in classes if part.startswith("tokenizer")]
    processors = [part for part in classes if part.startswith("processor")]
    return Kind(
        "model_index.json",
        tuple(f"{part}/{'model' if part.startswith('text') else 'diffusion_pytorch_model'}" for part in networks),
        variants=VARIANTS,
        others=(
            *(f"{part}/config.json" for part in networks),
            "scheduler/scheduler_config.json",
            *(f"{part}/tokenizer_config.json" for part in tokenizers),
            *(f"{part}/preprocessor_config.json" for part in processors),
        ),
        classes={**classes, **SCHEDULER},
        title=title,
    )


def load_parts(model: str, dtype: str, kind: Kind) -> Parts:
    """The pipeline's parts, each as the first class that `kind` names for it, on the GPU if there is one, with whole
    weights from safetensors alone.

    Raises FileNotFoundError naming what is missing; ValueError for another kind of pipeline, weights that are not
    whole, and float16 without a GPU.
    """
    number = pipeline_dtype(dtype)
    pretrained = find_pretrained(model, kind)
    quiet_libraries()
    import diffusers
    import transformers

    folder, parts = Path(pretrained.location), {}
    for part, (name, *_) in kind.classes.items():
        if part.startswith("tokenizer"):
            with loading(model):
                parts[part] = getattr(transformers, name).from_pretrained(folder / part, **pretrained.arguments())
        elif part == "processor":  # with PIL whether torchvision is there or not: it resizes a little differently
            with loading(model):
                parts[part] = transformers.AutoImageProcessor.from_pretrained(
                    folder / part, backend="pil", **pretrained.arguments()
                )
        elif part not in ("_class_name", "scheduler"):
            cls = getattr(transformers if part.startswith("text_encoder") else diffusers, name)
            parts[part] = load_part(cls, part, model, pretrained, number)
    with loading(model):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(
            diffusers.FlowMatchEulerDiscreteScheduler.load_config(folder / "scheduler"), stochastic_sampling=False
        )
    texts = [(parts[part], parts[part.replace("tokenizer", "text_encoder")]) for part in parts if "tokeniz" in part]
    processor = parts.get("processor")
    return Parts(parts["transformer"], parts["vae"], tuple(texts), scheduler, read_index(model, kind), processor)


def tokenize(tokenizer: PreTrainedTokenizerBase, prompt: str, length: int, device: torch.device) -> Tensor:
    """A prompt's tokens [1, length], cut or padded."""
    found = tokenizer(prompt, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return found.input_ids.to(device)


# --- images


def cell(parts: Parts) -> int:
    """Pixels on each side of a latent cell of the autoencoder."""
    return 2 ** (len(parts.vae.config.block_out_channels) - 1)


def encode(parts: Parts, pixels: Tensor) -> Tensor:
    """Pixels [N, 3, H, W] in [-1, 1] to latents float32, the means of the encoder's distributions."""
    config = parts.vae.config
    latents = parts.vae.encode(pixels.to(parts.vae.dtype)).latent_dist.mean.float()
    return (latents - config.shift_factor) * config.scaling_factor


def unscale(parts: Parts, latents: Tensor) -> Tensor:
    """Latents as `encode` gives them, to what the decoder takes."""
    return (latents / parts.vae.config.scaling_factor + parts.vae.config.shift_factor).to(parts.vae.dtype)


def blended(
    parts: Parts,
    encoder: Callable[[Parts, Tensor], Tensor],
    images: np.ndarray,
    masks: np.ndarray | None,
    multiple: int,
    mode: str = "nearest",
) -> Canvas:
    """A canvas for models that are not shown the mask: latents outside of it are kept by `denoise`.

    encoder: pixels to latents. multiple: pixels that the sides of images are multiples of. mode: how the mask is
    resized to the latents (`torch.nn.functional.interpolate`).
    """
    pixels, mask = to_tensors(images, masks, multiple, parts.device)
    start = encoder(parts, pixels)
    return Canvas(functional.interpolate(mask, size=start.shape[-2:], mode=mode), None, start)


def show_reference(
    loaded: Loaded,
    size: tuple[int, int],
    adapter: None,
    scale: float,
    encoder: Callable[[Parts, Tensor], Tensor] = encode,
) -> Loaded:
    """As `Family.show`, without an adapter, for models that a picture is shown to as a reference image, which has the
    shorter side of the images; `sample` is given its latents. encoder: pixels to latents."""
    return replace(loaded, look=partial(look, loaded.parts, encoder, min(size)))


@torch.no_grad()
def look(parts: Parts, encoder: Callable[[Parts, Tensor], Tensor], side: int, picture: np.ndarray) -> tuple[Tensor]:
    """A picture uint8 [S, S, 3] to latents [C, s, s], resized to this side first."""
    small = np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
    pixels, _ = to_tensors(small[None], None, 2 * cell(parts), parts.device)
    return (encoder(parts, pixels)[0],)


# --- tokens of 2x2 cells


def pack(latents: Tensor) -> Tensor:
    """Latents [N, C, h, w] to tokens [N, h/2 * w/2, 4C], row by row; C varies slowest."""
    return functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`, for latents of this height and width."""
    cells = tokens.transpose(1, 2).unflatten(2, (height // 2, width // 2))
    return functional.pixel_shuffle(cells, 2)


# --- sampling


def linear_shift(parts: Parts, tokens: int, highest: float = 1.15) -> float:
    """mu of the schedule's shift for so many image tokens: on a line through the scheduler's two points."""
    config = parts.scheduler.config
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", highest)
    return low + (high - low) * (tokens - few) / (many - few)


def double(texts: tuple[Tensor, ...], empty: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a guided step is given: N times the text of "", then the N texts."""
    count = len(texts[0])
    return join_texts([*[empty] * count, *zip(*texts, strict=True)])


def rising_sigmas(steps: int) -> np.ndarray:
    """From 1 to 1 / steps, as FLUX and its kin are sampled, before any shift."""
    return np.linspace(1.0, 1 / steps, steps)


def guide(without: Tensor, within: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans, 2022) of predictions without and with text."""
    return without + scale * (within - without)


@torch.no_grad()
def denoise(
    parts: Parts,
    canvas: Canvas,
    seeds: Sequence[int],
    shape: Sequence[int],
    predict: Callable[[Tensor, Tensor, bool], Tensor],
    *,
    steps: int,
    guidance: float = 1.0,
    strength: float = 1.0,
    guidance_share: float = 1.0,
    sigmas: np.ndarray | None = None,
    mu: float | None = None,
    keep: bool = False,
    combine: Callable[[Tensor, Tensor, float], Tensor] = guide,
) -> Tensor:
    """Latents float32 [N, *shape] from noise, or from a canvas's `start` with a share `strength` of noise.

    predict: from latents float32, a timestep in [0, 1000] and whether it is guided, to the network's prediction;
    guided, latents are given twice, first without text (`double`). sigmas: of the steps before the shift mu, None: the
    scheduler's own. keep: latents outside the canvas's mask are, after every step, those of the image with that step's
    noise, at the end the image's own. combine: predictions without and with text and the guidance scale to one.

    Raises ValueError for one step of a schedule that is stretched between its two ends.
    """
    scheduler = type(parts.scheduler).from_config(parts.scheduler.config)
    if steps == 1 and scheduler.config.shift_terminal:
        raise ValueError("steps 1: this model's schedule ends at a noise of its own, expected at least 2")
    scheduler.set_timesteps(steps if sigmas is None else None, sigmas=sigmas, mu=mu, device=parts.device)
    first = 0 if canvas.start is None else first_step(steps, strength)
    scheduler.set_begin_index(first)
    times, levels = scheduler.timesteps[first:], scheduler.sigmas[first:]
    noise = draw_noise(seeds, shape).to(parts.device)

    def noisy(level: Tensor) -> Tensor:
        return (1 - level) * canvas.start + level * noise

    latents = noise if canvas.start is None else noisy(levels[0])
    guided_steps = count_guided(guidance, guidance_share, len(times))
    for number, time in enumerate(times):
        guided = number < guided_steps
        predicted = predict(torch.cat([latents, latents]) if guided else latents, time, guided).float()
        if guided:
            predicted = combine(*predicted.chunk(2), guidance)
        latents = scheduler.step(predicted, time, latents, return_dict=False)[0]
        if keep:
            latents = torch.lerp(noisy(levels[number + 1]), latents, canvas.mask)
    return latents
