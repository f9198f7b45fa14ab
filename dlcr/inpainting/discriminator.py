"""Discriminator guidance (Sec. 12, optional): a network that tells real from generated latents steers the sampler.

    real = prepare(pipeline, images, None).start                   # the sampler's own latents, scaling factor included
    generated = prepare(pipeline, variants, None).start
    network = train_discriminator(real, generated, pipeline.scheduler.alphas_cumprod, steps=600, batch=64, seed=0)
    save_discriminator(network, folder, pipeline)
    network = load_discriminator(folder, pipeline)                 # refuses a pipeline that it was not trained for
    predicted += discriminator_guidance(network, latents, time, alphas_cumprod[time])    # in each step of the sampler

The discriminator d(x_t, t) is the probability that x_t comes from a real image. It sees what the sampler sees: the same
latents, and the noise schedule and timesteps of the pipeline.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_blocks import DownBlock2D, UNetMidBlock2D
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dlcr.runtime.files import atomic_path, write_json
from dlcr.runtime.networks import device
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import key_of

if TYPE_CHECKING:
    from dlcr.inpainting.diffusion import Inpainter

WIDTHS = (32, 64, 96)
GROUPS = 8
PREDICTIONS = ("epsilon", "v_prediction")
CLIP = math.log((1 - 1e-5) / 1e-5)
"""The logit at which d leaves [1e-5, 1 - 1e-5]."""
LEAST_SIGNAL = 0.0046
"""The smallest cumulative alpha at which this guides: Stable Diffusion's noisiest step (t = 999) has 0.00466."""


class Discriminator(nn.Module):
    """The encoder half of a U-Net, averaged over all places to one logit; latents may have any size.

    channels: of the latents. widths: channels of each level, multiples of 16; each level halves the sides of the last.
    prediction: what the sampler's network predicts, one of PREDICTIONS; see `discriminator_guidance`.
    """

    def __init__(self, channels: int, widths: Sequence[int] = WIDTHS, prediction: str = "epsilon") -> None:
        super().__init__()
        # a group of one channel would lose that channel's mean, and with it how bright or red an image is
        if not widths or any(width < 1 or width % (2 * GROUPS) for width in widths):
            raise ValueError(f"expected widths that are multiples of {2 * GROUPS}, got {list(widths)}")
        self.channels, self.widths, self.prediction = channels, tuple(widths), prediction
        inner = 4 * widths[0]
        self.waves = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embed = TimestepEmbedding(widths[0], inner)
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            DownBlock2D(before, width, inner, resnet_groups=GROUPS, add_downsample=level < len(widths) - 1)
            for level, (before, width) in enumerate(pairwise((widths[0], *widths)))
        )
        self.middle = UNetMidBlock2D(widths[-1], inner, resnet_groups=GROUPS, add_attention=False)
        self.norm = nn.GroupNorm(GROUPS, widths[-1])
        self.readout = nn.Linear(widths[-1], 1)

    def forward(self, latents: Tensor, times: Tensor) -> Tensor:
        """x_t float [N, C, h, w] and timesteps int [N] to the logits log(d / (1 - d)) [N]."""
        embedding = self.embed(self.waves(times).to(latents.dtype))
        hidden = self.first(latents)
        for block in self.blocks:
            hidden, _ = block(hidden, embedding)
        hidden = self.middle(hidden, embedding)
        return self.readout(functional.silu(self.norm(hidden)).mean((2, 3)))[:, 0]


def discriminator_guidance(
    discriminator: Discriminator,
    latents: Tensor,
    time: Tensor | int,
    alpha_bar: Tensor | float,
    weight: float = 1.0,
    times: tuple[int, int] = (200, 1000),
) -> Tensor:
    """What is added to a predicted noise: w (-sqrt(1 - ab)) grad_x log(d / (1 - d)), of the latents' shape and dtype.

    latents: x_t = sqrt(ab) x_0 + sqrt(1 - ab) noise, float32 [N, C, h, w]. So scaled are the states of both solvers: in
    diffusers 0.42 DPM-Solver++ keeps its sigmas to itself, with alpha_t = 1 / sqrt(1 + sigma²) = sqrt(ab). time: the
    step's timestep t; alpha_bar: its cumulative alpha, ab. Guidance is given for times[0] < t <= times[1].

    With d = sigmoid(logit) the gradient is the logit's; it is zero where d leaves [1e-5, 1 - 1e-5]. A row depends on no
    other. For a network that predicts the velocity v = sqrt(ab) noise - sqrt(1 - ab) x_0 (`discriminator.prediction`)
    the correction is divided by sqrt(ab), which leads to the same x_0. Either way x_0 moves by w (1 - ab) / sqrt(ab)
    times the gradient. In a schedule that ends in noise alone (ab = 0) that would blow up what the discriminator makes
    of nothing, so there is no guidance below LEAST_SIGNAL.
    """
    signal = float(alpha_bar)
    if not times[0] < int(time) <= times[1] or signal < LEAST_SIGNAL:
        return torch.zeros_like(latents)
    with torch.enable_grad():
        point = latents.detach().requires_grad_()
        steps = torch.full((len(point),), int(time), device=point.device)
        logits = discriminator(point, steps).clamp(-CLIP, CLIP)
        (slope,) = torch.autograd.grad(logits.sum(), point)
    correction = -weight * math.sqrt(1 - signal) * slope
    return correction / math.sqrt(signal) if discriminator.prediction == "v_prediction" else correction


def train_discriminator(
    real: Tensor,
    generated: Tensor,
    alphas_cumprod: Tensor,
    *,
    steps: int,
    batch: int,
    widths: Sequence[int] = WIDTHS,
    learning_rate: float = 3e-4,
    weight_decay: float = 1e-7,
    seed: int,
    save_every: int = 100,
    on_step: Callable[[int, float], None] | None = None,
    kept: Path | None = None,
) -> Discriminator:
    """Binary cross-entropy on noised latents, real against generated, with Adam, on the GPU if there is one.

    real float [N, C, h, w], generated float [M, C, h, w]; alphas_cumprod [T], the pipeline's. A batch is half real and
    half generated, at timesteps uniform over all T. on_step(step, loss): after each step, counted from 1. kept: folder
    of the training's state, written every `save_every` steps under a name made of all that shapes the result; a stopped
    training continues from there to the same bytes. Returns the network in eval mode. Raises ValueError for latents or
    a batch that do not fit, or a damaged state.
    """
    if not len(real) or not len(generated) or real.ndim != 4 or real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            f"expected latents [N, C, h, w] of one size, got {list(real.shape)} and {list(generated.shape)}"
        )
    if batch < 2 or batch % 2:
        raise ValueError(f"batch {batch}: expected an even number, half real and half generated")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of("discriminator", seed))
        network = Discriminator(real.shape[1], widths).to(device())
    optimizer = torch.optim.Adam(network.parameters(), learning_rate, weight_decay=weight_decay)
    shape = [*network.widths, steps, batch, learning_rate, weight_decay, seed]
    key = key_of([*shape, *(_digest(tensor) for tensor in (real, generated, alphas_cumprod))])
    state = None if kept is None else Path(kept) / f"discriminator-{key[:32]}.pt"
    for step in range(_restore(state, network, optimizer), steps):
        loss = _batch_loss(network, real, generated, alphas_cumprod, batch, seed_of("discriminator", seed, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if state is not None and ((step + 1) % save_every == 0 or step + 1 == steps):
            _keep(state, network, optimizer, step + 1)
        if on_step is not None:
            on_step(step + 1, loss.item())
    return network.eval().requires_grad_(False)


def _batch_loss(
    network: Discriminator, real: Tensor, generated: Tensor, alphas_cumprod: Tensor, batch: int, seed: int
) -> Tensor:
    generator = torch.Generator().manual_seed(
        seed
    )  # of the step alone: a stopped training draws what it would have drawn
    half = batch // 2
    clean = torch.cat(
        [latents[torch.randint(len(latents), (half,), generator=generator)] for latents in (real, generated)]
    )
    times = torch.randint(len(alphas_cumprod), (batch,), generator=generator)
    logits = network(*_noised(network, clean, times, alphas_cumprod, generator))
    labels = torch.cat([torch.ones(half), torch.zeros(half)]).to(logits)
    return functional.binary_cross_entropy_with_logits(logits, labels)


def _noised(
    network: Discriminator, clean: Tensor, times: Tensor, alphas_cumprod: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw x_t on the CPU (the same on every device); returns it with the timesteps, where the network is."""
    clean = clean.cpu().float()
    signal = alphas_cumprod.cpu()[times].float()[:, None, None, None]
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * torch.randn(clean.shape, generator=generator)
    where = network.readout.weight.device
    return noisy.to(where), times.to(where)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy()).hexdigest() + str(list(tensor.shape))


def _keep(path: Path, network: Discriminator, optimizer: torch.optim.Optimizer, step: int) -> None:
    with atomic_path(path) as part:
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, part)


def _restore(path: Path | None, network: Discriminator, optimizer: torch.optim.Optimizer) -> int:
    """Load the kept state in place; returns the number of steps that it has behind it."""
    if path is None or not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: damaged state of a training; delete it to train again") from error
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


@torch.no_grad()
def scores(
    discriminator: Discriminator,
    real: Tensor,
    generated: Tensor,
    alphas_cumprod: Tensor,
    *,
    seed: int,
    bands: int = 4,
    batch: int = 64,
) -> list[dict[str, float]]:
    """How well real and generated latents are told apart in each of `bands` equal parts of the schedule.

    The latents are best held-out ones; each is noised once in each band, the same for a seed. One row a band: its
    `first` and `last` timestep, and `accuracy` in [0, 1] and `loss` (nats), each the mean of that of the real and that
    of the generated latents.
    """
    rows = []
    for first, end in pairwise(len(alphas_cumprod) * band // bands for band in range(bands + 1)):
        accuracies, losses = [], []
        for label, latents in enumerate((generated, real)):
            generator = torch.Generator().manual_seed(seed_of("discriminator scores", seed, first, label))
            parts = []
            for clean in latents.split(batch):
                times = torch.randint(first, end, (len(clean),), generator=generator)
                parts.append(discriminator(*_noised(discriminator, clean, times, alphas_cumprod, generator)))
            logits = torch.cat(parts)
            accuracies.append(((logits > 0) == bool(label)).float().mean().item())
            losses.append(functional.softplus(-logits if label else logits).mean().item())
        rows.append({"first": first, "last": end - 1, "accuracy": sum(accuracies) / 2, "loss": sum(losses) / 2})
    return rows


def save_discriminator(discriminator: Discriminator, folder: str | Path, pipeline: Inpainter) -> None:
    """Write model.safetensors, then config.json with the latents and the schedule of the pipeline it was trained for.

    Raises ValueError for a pipeline that predicts neither noise nor velocity.
    """
    folder = Path(folder)
    config = {"widths": list(discriminator.widths), "pipeline": _identity(pipeline, str(folder))}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in discriminator.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as part:
        save_file(weights, part)
    write_json(folder / "config.json", config)


def load_discriminator(folder: str | Path, pipeline: Inpainter) -> Discriminator:
    """The discriminator of `folder`, float32 in eval mode, on the pipeline's device.

    Raises FileNotFoundError naming a missing file; ValueError naming a damaged one, or the latents' channels or scaling
    factor, the noise schedule or kind of prediction in which the pipeline differs from the one it was trained for.
    """
    config_path, weights_path = Path(folder) / "config.json", Path(folder) / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a folder written by save_discriminator")
    identity = _identity(pipeline, str(folder))
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        trained = {key: config["pipeline"][key] for key in identity}
        network = Discriminator(trained["channels"], config["widths"], trained["prediction_type"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{config_path}: not the description of a discriminator: {error!r}") from error
    differences = [f"{key} {trained[key]}, not {identity[key]}" for key in identity if trained[key] != identity[key]]
    if differences:
        raise ValueError(f"{config_path}: trained for another pipeline than this one: {'; '.join(differences)}")
    try:
        network.load_state_dict(load_file(weights_path))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{weights_path}: not the weights of this discriminator: {reason}") from error
    return network.to(pipeline.device).eval().requires_grad_(False)


def _identity(pipeline: Inpainter, folder: str) -> dict[str, object]:
    """What a discriminator's pipeline must agree in, as JSON; schedulers leave out what they do not know."""
    schedule = pipeline.scheduler.config
    if schedule.prediction_type not in PREDICTIONS:
        raise ValueError(
            f"{folder}: the pipeline predicts {schedule.prediction_type!r}, "
            f"discriminator guidance needs one of: {', '.join(PREDICTIONS)}"
        )
    betas = schedule.get("trained_betas")
    return {
        "channels": pipeline.vae.config.latent_channels,
        "scaling_factor": pipeline.vae.config.scaling_factor,
        "num_train_timesteps": schedule.num_train_timesteps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": schedule.beta_schedule,
        "trained_betas": None if betas is None else [float(beta) for beta in betas],
        "rescale_betas_zero_snr": bool(schedule.get("rescale_betas_zero_snr", False)),
        "prediction_type": schedule.prediction_type,
    }
