"""IP-Adapter (Ye et al., 2023): a Stable Diffusion U-Net that is shown a picture of clothes beside the text.

    shown = show(loaded, (768, 256), "h94/IP-Adapter@<commit>", 0.6, file="models/ip-adapter_sd15.safetensors")
    picture = shown.look(garment)                                          # once for all samples that are shown it
    latents = shown.sample(canvas, texts, empty, seeds, shown=torch.stack([picture]), steps=8, ...)

diffusers' own conversion loads it. The adapter is a part of the U-Net only while it samples with pictures: without any,
the U-Net is the one that it was, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dlcr.inpainting.adapter_files import CONFIG, PREPROCESSOR, adapter_files
from dlcr.inpainting.family import Loaded
from dlcr.runtime.networks import load_checked
from dlcr.runtime.weights import HUB_FILE, find_hub_file, loading

PLAIN = {"proj.weight", "proj.bias", "norm.weight", "norm.bias"}
SUPPORTED = "expected an IP-Adapter or an IP-Adapter Plus"


@dataclass(frozen=True)
class Adapter:
    """A loaded IP-Adapter: what it puts into the U-Net, and what it sees with.

    nothing: what stands for no picture, as `look` gives one. plus: the encoder's last layer but one is seen, not its
    embedding.
    """

    processors: dict[str, Any]
    projection: torch.nn.Module
    encoder: torch.nn.Module
    preprocess: Callable[..., Any]
    nothing: Tensor
    plus: bool


def show(loaded: Loaded, size: tuple[int, int], adapter: str, scale: float, *, file: str) -> Loaded:
    """As `Family.show`, for models with a U-Net. file: the weights that fit it. Raises as `load_adapter`."""
    found = load_adapter(loaded.parts, adapter, file)
    sampling = partial(sample, loaded.parts.unet, found, scale, loaded.sample)
    return replace(loaded, look=partial(look, found), sample=sampling)


@torch.no_grad()
def load_adapter(pipeline: Any, adapter: str, default: str) -> Adapter:
    """Load an adapter for a pipeline's U-Net, in its type and on its device; safetensors only.

    adapter, default: as for `adapter_files`. Raises FileNotFoundError for a missing file; ValueError, in one line that
    names the file, for a damaged one, an adapter of another kind, and one for another U-Net or image encoder.
    """
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    weights, config, encoder_weights = adapter_files(adapter, default)
    tensors, folder = _read(weights), find_hub_file(config, "json").parent
    find_hub_file(encoder_weights, "safetensors")
    settings = {"use_safetensors": True, "dtype": pipeline.dtype}
    name = config.removesuffix(f"/{CONFIG}")
    encoder = load_checked(CLIPVisionModelWithProjection, name, folder, **settings).requires_grad_(False)
    side, plus = encoder.config.image_size, "latents" in tensors["image_proj"]
    _check_layers(weights, tensors["ip_adapter"], pipeline.unet)
    _check_projection(weights, tensors["image_proj"], encoder.config)
    with loading(name):
        own = _has_preprocessor(config, folder)
        kind = CLIPImageProcessorPil
        preprocess = kind.from_pretrained(folder) if own else kind(size=side, crop_size=side)
    processors, projection = _convert(weights, tensors, pipeline.unet)
    channels = encoder.config.num_channels
    nothing = _encode(encoder, torch.zeros(1, channels, side, side), plus)
    # Adapters were trained with zeros in place of an embedding; a Plus with an image of zeros.
    return Adapter(processors, projection, encoder, preprocess, nothing if plus else torch.zeros_like(nothing), plus)


def _has_preprocessor(config: str, folder: Path) -> bool:
    """Whether the image encoder says how pictures are made ready; a hub is asked for it."""
    if HUB_FILE.fullmatch(config):
        with suppress(FileNotFoundError):  # not there, or the hub can't be reached
            find_hub_file(config.replace(CONFIG, PREPROCESSOR), "json")
    return (folder / PREPROCESSOR).is_file()


def _read(weights: str) -> dict[str, dict[str, Tensor]]:
    """The tensors of an adapter's two parts."""
    path = find_hub_file(weights, "safetensors")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{weights}: not a safetensors file, or cut short: {error}") from error
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{weights}: {name}: {SUPPORTED}, whose tensors are image_proj.… and ip_adapter.…")
        if not tensor.isfinite().all():
            raise ValueError(f"{weights}: {name}: not finite")
        parts[part][rest] = tensor
    return parts


def _check_layers(weights: str, tensors: dict[str, Tensor], unet: Any) -> None:
    """Refuses what is not two matrices, of the right shape, for each layer that sees the text."""
    layers = [name.removesuffix(".processor") for name in unet.attn_processors if not name.endswith("attn1.processor")]
    expected = {
        f"{2 * number + 1}.to_{part}_ip.weight": list(getattr(unet.get_submodule(layer), f"to_{part}").weight.shape)
        for number, layer in enumerate(layers)
        for part in "kv"
    }
    found = {name: list(tensor.shape) for name, tensor in tensors.items()}
    for name in [*expected, *sorted(set(found) - set(expected))]:
        if found.get(name) != expected.get(name):
            raise ValueError(
                f"{weights}: ip_adapter.{name} is {found.get(name, 'not there')}, this U-Net needs "
                f"{expected.get(name, 'none')}; {SUPPORTED} for it"
            )


def _check_projection(weights: str, tensors: dict[str, Tensor], encoder: Any) -> None:
    """Refuses what is no IP-Adapter or Plus, or sees with another image encoder."""
    plus = "latents" in tensors
    if "proj_in.weight" not in tensors if plus else set(tensors) != PLAIN:
        raise ValueError(f"{weights}: its image_proj has {', '.join(sorted(tensors)[:3])}…; {SUPPORTED}")
    name, given = ("proj_in.weight", encoder.hidden_size) if plus else ("proj.weight", encoder.projection_dim)
    taken = tensors[name].shape[1]
    if taken != given:
        raise ValueError(
            f"{weights}: image_proj.{name} takes {taken} numbers, its image encoder gives {given}: made for another one"
        )


def _convert(weights: str, tensors: dict[str, dict[str, Tensor]], unet: Any) -> tuple[dict[str, Any], torch.nn.Module]:
    """The parts that diffusers makes of an adapter for this U-Net, which is left as it was."""
    own, kind = unet.attn_processors, unet.config.encoder_hid_dim_type
    with loading(weights):
        unet._load_ip_adapter_weights([tensors], low_cpu_mem_usage=False)
    projection = unet.encoder_hid_proj.eval()
    unet.requires_grad_(False)
    unet.encoder_hid_proj = None
    processors = unet.attn_processors
    _set(unet, own, None, kind)
    return processors, projection


def _set(unet: Any, processors: dict[str, Any], projection: torch.nn.Module | None, kind: str | None) -> None:
    unet.encoder_hid_proj = None  # a Plus's has attention layers, which are not among those of `processors`
    unet.set_attn_processor(dict(processors))
    unet.encoder_hid_proj = projection
    unet.config.encoder_hid_dim_type = kind


@torch.no_grad()
def look(adapter: Adapter, picture: np.ndarray) -> Tensor:
    """What an adapter sees of a picture uint8 [H, W, 3], alone: its embedding [D], or for a Plus its layers' [L, D]."""
    pixels = adapter.preprocess(picture, return_tensors="pt", input_data_format="channels_last").pixel_values
    return _encode(adapter.encoder, pixels, adapter.plus)


def _encode(encoder: torch.nn.Module, pixels: Tensor, plus: bool) -> Tensor:
    found = encoder(pixels.to(encoder.device, encoder.dtype), output_hidden_states=plus)
    return (found.hidden_states[-2] if plus else found.image_embeds)[0]


def sample(
    unet: Any,
    adapter: Adapter,
    scale: float,
    plain: Callable[..., Tensor],
    *arguments: Any,
    shown: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """As `Loaded.sample`, which `plain` is. shown: of each sample its picture, [N, ...]; None: as without one."""
    if shown is None:
        return plain(*arguments, **settings)
    with attached(unet, adapter, scale, shown):
        return plain(*arguments, **settings)


@contextmanager
def attached(unet: Any, adapter: Adapter, scale: float, shown: Tensor) -> Iterator[None]:
    """The U-Net with the adapter: N inputs are shown N pictures; of 2N, a guided pass, the first N are shown none."""
    own, kind, before = unet.attn_processors, unet.config.encoder_hid_dim_type, vars(unet).get("forward")
    forward, doubled = unet.forward, torch.cat([adapter.nothing.expand_as(shown), shown])

    def see(inputs: Tensor, *arguments: Any, added_cond_kwargs: dict | None = None, **settings: Any) -> Any:
        pictures = shown if len(inputs) == len(shown) else doubled
        added = {**(added_cond_kwargs or {}), "image_embeds": [pictures[:, None]]}
        return forward(inputs, *arguments, added_cond_kwargs=added, **settings)

    for processor in adapter.processors.values():
        if hasattr(processor, "to_k_ip"):
            processor.scale = [scale]
    _set(unet, adapter.processors, adapter.projection, "ip_image_proj")
    unet.forward = see
    try:
        yield
    finally:
        if before is None:
            del unet.forward
        else:
            unet.forward = before
        _set(unet, own, None, kind)
