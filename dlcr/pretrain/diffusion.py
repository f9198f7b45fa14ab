"""Trains the mini inpainting model, a small Stable Diffusion, on rendered scenes.

    python -m stages.pretrain inpainter      # about an hour on two cores with bfloat16 units; continues when stopped

First the autoencoder, then on its latents the U-Net together with the text encoder. A work folder (`runtime.store`)
keeps the autoencoder, the encoded examples and the training state; every few hundred steps the averaged weights are
saved as a usable pipeline. Scores are measured on scenes after the training pool.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from dlcr.inpainting import Expander
from dlcr.minicc import pretrain_scene, render
from dlcr.pretrain.diffusion_parts import (
    SIZE,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    build_vae,
    save_pipeline,
)
from dlcr.pretrain.diffusion_pool import Examples, all_examples, example_chunks
from dlcr.pretrain.diffusion_score import make_trials, paint_trials, score
from dlcr.pretrain.diffusion_vae import mask_out, polish_decoder, reconstruction_psnr, to_unit, train_vae
from dlcr.reid.models.resnet import mini_resnet
from dlcr.runtime.code import code_of
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress
from dlcr.runtime.store import key_of, work_folder

SAMPLER = {"steps": 6, "guidance": 3.25, "solver": "dpm++"}
"""With which the scores are measured; as profiles/minicc.yaml has it."""


@dataclass(frozen=True)
class Recipe:
    """How the shipped model was made."""

    scenes: int = 9_984
    eyes: str = "models/mini/backbone"
    held_out: int = 200
    vae_steps: int = 1_000
    vae_batch: int = 8
    vae_learning_rate: float = 3e-4
    polish_steps: int = 4_000
    polish_batch: int = 16
    polish_learning_rate: float = 6e-4
    steps: int = 2_600
    batch: int = 48
    learning_rate: float = 4e-4
    warm_up: int = 150
    weight_decay: float = 0.01
    average: float = 0.995
    no_text: float = 0.1
    outside: float = 0.1
    save_every: int = 200
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True)
class Encoded:
    """Examples as the U-Net sees them; all but the words are in the latents' resolution."""

    targets: Tensor  # float16 [N, 4, h, w]
    masked: Tensor  # float16 [N, 4, h, w], pictures with the mask at gray
    masks: Tensor  # bool [N, 1, h, w], a cell's first pixel: as diffusers scales masks
    touched: Tensor  # bool [N, 1, h, w], cells with at least one pixel in the mask
    tokens: Tensor  # int64 [N, L]


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores. `settings` overrides fields of `Recipe`."""
    recipe = Recipe(**settings)
    work = work_folder("pretrain-inpainter-" + key_of([asdict(recipe), code_of(pretrain_scene, render)])[:16])
    work.mkdir(parents=True, exist_ok=True)
    vae = _trained_vae(recipe, work)
    train_unet(vae, _encoded(recipe, vae, work), recipe, folder, work)
    return measure(vae, folder, range(recipe.scenes, recipe.scenes + recipe.held_out)) | {"recipe": asdict(recipe)}


def measure(vae: AutoencoderKL, folder: Path, scenes: range) -> dict[str, float]:
    """Scores of the saved model on scenes that it was not trained on: of the autoencoder alone, then of the whole."""
    examples = next(example_chunks(scenes, 1, len(scenes)))
    psnr = reconstruction_psnr(vae, examples)
    trials = make_trials(scenes)
    painted = paint_trials(Expander(str(folder), size=SIZE, batch=32, **SAMPLER), trials)
    return {f"vae_psnr_{part}": value for part, value in psnr.items()} | score(trials, painted)


def _trained_vae(recipe: Recipe, work: Path) -> AutoencoderKL:
    torch.manual_seed(recipe.seed)
    vae, path = build_vae(), work / "vae.pt"
    if not path.is_file():
        pool = all_examples(range(recipe.scenes), recipe.workers)
        train_vae(
            vae,
            pool,
            steps=recipe.vae_steps,
            batch=recipe.vae_batch,
            learning_rate=recipe.vae_learning_rate,
            seed=recipe.seed,
        )
        polish_decoder(
            vae,
            mini_resnet(recipe.eyes),
            pool,
            steps=recipe.polish_steps,
            batch=recipe.polish_batch,
            learning_rate=recipe.polish_learning_rate,
            seed=recipe.seed,
        )
        with atomic_path(path) as part:
            torch.save(vae.state_dict(), part)
    vae.load_state_dict(torch.load(path, weights_only=True))
    return vae.eval()


def _encoded(recipe: Recipe, vae: AutoencoderKL, work: Path) -> Encoded:
    path = work / "encoded.pt"
    if not path.is_file():
        worker = copy.deepcopy(vae).to(torch.bfloat16, memory_format=torch.channels_last)
        with progress(recipe.scenes, "encoding examples", unit="scene") as bar:
            parts = []
            for chunk in example_chunks(range(recipe.scenes), recipe.workers):
                parts.append(encode(worker, chunk))
                bar.update(min(256, recipe.scenes))
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        with atomic_path(path) as part:
            torch.save(columns, part)
    return Encoded(*torch.load(path, weights_only=True))


@torch.no_grad()
def encode(vae: AutoencoderKL, examples: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Examples as the columns of `Encoded`; the latents of `vae` are standardised."""
    targets, masked = [], []
    for rows in torch.arange(len(examples.words)).split(64):
        images = to_unit(examples.targets[rows]).contiguous(memory_format=torch.channels_last)
        masks = torch.from_numpy(examples.masks[rows])[:, None]
        both = torch.cat([images, mask_out(images, masks)]).to(vae.dtype)
        pair = vae.encode(both).latent_dist.mean.half().contiguous().chunk(2)
        targets.append(pair[0])
        masked.append(pair[1])
    masks = torch.from_numpy(examples.masks)[:, None]
    touched = functional.max_pool2d(masks.float(), 4) > 0
    tokens = build_tokenizer()(examples.words, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return torch.cat(targets), torch.cat(masked), masks[:, :, ::4, ::4].contiguous(), touched, tokens


class _Networks(nn.Module):
    """What is trained jointly, so that one optimiser, one average and one state hold both."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = build_unet().to(memory_format=torch.channels_last)
        # plain attention: PyTorch's fused kernel is several times slower backwards at these few cells on a CPU
        self.unet.set_attn_processor(AttnProcessor())
        self.text_encoder = build_text_encoder(build_tokenizer())
        for module in self.unet.modules():
            if isinstance(module, ResnetBlock2D):
                _zero(module.conv2)
            elif isinstance(module, Transformer2DModel):
                _zero(module.proj_out)
        _zero(self.unet.conv_out)

    def forward(self, inputs: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        """inputs float [N, 9, h, w], times int [N], tokens int [N, L] to the predicted velocity [N, 4, h, w]."""
        return self.unet(inputs, times, self.text_encoder(tokens).last_hidden_state, return_dict=False)[0]


def _zero(layer: nn.Module) -> None:
    """Residual branches that start at zero: the network learns from its first step on."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def train_unet(vae: AutoencoderKL, encoded: Encoded, recipe: Recipe, folder: Path, work: Path) -> UNet2DConditionModel:
    """AdamW, warm-up and cosine decay, velocity loss in cells the mask touches (others count `outside`).

    Every `save_every` steps the averaged weights go to `folder` and the training state to `work`, from where a
    stopped training continues. Returns the averaged U-Net.
    """
    torch.manual_seed(recipe.seed)
    networks = _Networks()
    averaged = copy.deepcopy(networks).eval()
    optimizer = torch.optim.AdamW(
        networks.parameters(), recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay, fused=True
    )
    state, first = work / "unet.pt", 0
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        networks.load_state_dict(saved["networks"])
        averaged.load_state_dict(saved["averaged"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    schedule = build_scheduler().alphas_cumprod
    empty = build_tokenizer()("", padding="max_length", return_tensors="pt").input_ids[0]
    running = 0.0
    with progress(recipe.steps - first, "training the U-Net", unit="step") as bar:
        for step in range(first, recipe.steps):
            # seeded by the step alone: a training that was stopped draws what it would have drawn
            generator = torch.Generator().manual_seed(recipe.seed * 10_000_000 + step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            loss = unet_loss(networks, encoded, schedule, empty, recipe, generator)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
            optimizer.step()
            _average(averaged, networks, min(recipe.average, (1 + step) / (10 + step)))
            running += loss.item()
            bar.update(1)
            if (step + 1) % 100 == 0:
                print(f"U-Net step {step + 1}: loss {running / 100:.4f}", flush=True)
                running = 0.0
            if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
                _save(folder, state, vae, networks, averaged, optimizer, step + 1)
    return averaged.unet


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine to a twentieth of the peak."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def unet_loss(
    networks: nn.Module, encoded: Encoded, schedule: Tensor, empty: Tensor, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """Squared error of the predicted velocity v = sqrt(a) noise - sqrt(1 - a) x on one random batch.

    schedule: the cumulative products a, [T]; empty: tokens of no text, which replace a share `no_text` of the texts.
    """
    batch = recipe.batch
    rows = torch.randint(len(encoded.tokens), (batch,), generator=generator)
    # one time in each of `batch` equal parts of the schedule: the same distribution with less variance
    places = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    times = (places * len(schedule)).long()
    clean, mask = encoded.targets[rows].float(), encoded.masks[rows].float()
    noise = torch.randn(clean.shape, generator=generator)
    kept = schedule[times][:, None, None, None]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    silent = torch.rand(batch, 1, generator=generator) < recipe.no_text
    tokens = torch.where(silent, empty, encoded.tokens[rows])
    inputs = torch.cat([noisy, mask, encoded.masked[rows].float()], 1).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = networks(inputs, times, tokens)
    weight = recipe.outside + (1 - recipe.outside) * encoded.touched[rows].float()
    return (weight * (predicted.float() - velocity).square()).sum() / weight.sum() / clean.shape[1]


@torch.no_grad()
def _average(averaged: nn.Module, networks: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(networks.parameters()), 1 - decay)


def _save(
    folder: Path,
    state: Path,
    vae: AutoencoderKL,
    networks: nn.Module,
    averaged: _Networks,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    parts = copy.deepcopy((vae, averaged.text_encoder, averaged.unet))  # saving makes them float16
    save_pipeline(folder, parts[0], parts[1], build_tokenizer(), parts[2])
    with atomic_path(state) as part:
        torch.save(
            {
                "networks": networks.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            },
            part,
        )
