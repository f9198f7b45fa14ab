"""Trains the mini image encoder and IP-Adapter: the mini inpainter is shown clothes instead of being told of them.

    python -m stages.pretrain adapter      # continues when stopped

First the encoder learns, from pictures of garments, to say what the inpainter's text encoder says of their words: so
the adapter, which begins as a copy of the layers that read the text, can see from its first step. Then encoder and
adapter learn the inpainter's own task together, with the text left out of most examples; the U-Net stays as it is. A
garment's picture never shows the person to be painted: another one wears it (`scene_examples`). Scores are measured on
scenes after the training pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcr.inpainting.diffusion import Inpainter, load_inpainter, tokens
from dlcr.inpainting.garments import garment_picture
from dlcr.minicc import outfit_words, pretrain_scene, render, sample_outfit
from dlcr.pretrain.adapter_parts import TOKENS, attach, build_image_encoder, pixels_of, save_adapter
from dlcr.pretrain.diffusion import encode, learning_rate
from dlcr.pretrain.diffusion_pool import CLOTHES, Examples, roughen
from dlcr.runtime.code import code_of
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import key_of, work_folder


@dataclass(frozen=True)
class Recipe:
    """How the shipped adapter was made."""

    inpainter: str = "models/mini/inpainter"
    scenes: int = 2_560
    held_out: int = 200
    encoder_steps: int = 1_500
    encoder_batch: int = 64
    encoder_learning_rate: float = 1e-3
    steps: int = 450
    batch: int = 32
    learning_rate: float = 5e-4
    warm_up: int = 50
    weight_decay: float = 0.01
    no_text: float = 0.7
    no_picture: float = 0.1
    outside: float = 0.1
    save_every: int = 100
    seed: int = 0
    workers: int = 2


@dataclass(frozen=True)
class Encoded:
    """Examples as the U-Net sees them, and the garment of each as the image encoder does."""

    targets: Tensor  # float16 [N, 4, h, w]
    masked: Tensor  # float16 [N, 4, h, w], pictures with the mask at gray
    masks: Tensor  # bool [N, 1, h, w]
    touched: Tensor  # bool [N, 1, h, w]
    tokens: Tensor  # int64 [N, L]
    garments: Tensor  # float16 [N, 3, s, s]


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores. `settings` overrides fields of `Recipe`."""
    from dlcr.pretrain.adapter_score import measure  # with the code that uses adapters

    recipe = Recipe(**settings)
    work = work_folder("pretrain-adapter-" + key_of([asdict(recipe), code_of(pretrain_scene, render)])[:16])
    work.mkdir(parents=True, exist_ok=True)
    inpainter = load_inpainter(recipe.inpainter)
    encoded = _encoded(inpainter, recipe, work)
    train(inpainter, encoded, recipe, folder, work)
    scenes = range(recipe.scenes, recipe.scenes + recipe.held_out)
    return measure(folder, recipe.inpainter, scenes) | {"recipe": asdict(recipe)}


def scene_examples(index: int) -> list[tuple[np.ndarray, np.ndarray, str, np.ndarray]]:
    """Two (target, mask, words, garment) of pretraining scene `index`, in its own outfit and in another one.

    The target is the other outfit's silhouette filled, as for the inpainter; the garment's picture is of the person of
    another scene in the outfit, cut out along a mask as a parser would find it or as it is.
    """
    rng = np.random.default_rng(seed_of("adapter", "example", index))
    scene, other = pretrain_scene(index), pretrain_scene(index + 1 + int(rng.integers(1_000)))
    outfits = scene.outfit, sample_outfit(rng, "pretrain")
    rendered = [render(scene, outfit) for outfit in outfits]

    def silhouette(labels: np.ndarray) -> np.ndarray:
        exact = np.isin(labels, CLOTHES)
        mask = roughen(exact, rng) if rng.uniform() < 0.5 else exact
        return mask if mask.any() else exact

    examples = []
    for worn, wanted in ((0, 1), (1, 0)):
        mask, shown = silhouette(rendered[worn].labels), render(other, outfits[wanted])
        cut = silhouette(shown.labels)
        if mask.any() and cut.any():
            target = np.where(mask[..., None], rendered[wanted].image, rendered[worn].image)
            examples.append((target, mask, outfit_words(outfits[wanted]), garment_picture(shown.image, cut)))
    return examples


def example_chunks(scenes: range, workers: int, size: int = 128) -> Iterator[tuple[Examples, Tensor]]:
    """Examples of these scenes and the pixels of their garments, in order, rendered by `workers` processes."""
    chunks = [tuple(scenes[start : start + size]) for start in range(0, len(scenes), size)]
    with ProcessPoolExecutor(workers) as executor:
        yield from executor.map(_examples, chunks)


def _examples(indices: tuple[int, ...]) -> tuple[Examples, Tensor]:
    parts = [example for index in indices for example in scene_examples(index)]
    targets, masks, words, garments = zip(*parts, strict=True)
    return Examples(np.stack(targets), np.stack(masks), list(words)), pixels_of(list(garments)).half()


def _encoded(inpainter: Inpainter, recipe: Recipe, work: Path) -> Encoded:
    path = work / "encoded.pt"
    if not path.is_file():
        parts = []
        with progress(recipe.scenes, "encoding examples", unit="scene") as bar:
            for examples, garments in example_chunks(range(recipe.scenes), recipe.workers):
                parts.append((*encode(inpainter.vae, examples), garments))
                bar.update(min(128, recipe.scenes))
        columns = [torch.cat(column) for column in zip(*parts, strict=True)]
        with atomic_path(path) as part:
            torch.save(columns, part)
    return Encoded(*torch.load(path, weights_only=True))


class Networks(nn.Module):
    """What is trained: the image encoder, and the adapter's parts as diffusers puts them into the U-Net."""

    def __init__(self, inpainter: Inpainter) -> None:
        super().__init__()
        self.encoder = build_image_encoder()
        self.projection, self.layers = attach(inpainter.unet)


def train(inpainter: Inpainter, encoded: Encoded, recipe: Recipe, folder: Path, work: Path) -> None:
    """AdamW with warm-up and cosine decay: `words_loss` for `encoder_steps`, then `adapter_loss` for `steps`.

    Every `save_every` steps the state goes to `work`, from where a stopped training continues, and at the end the
    weights to `folder`.
    """
    torch.manual_seed(recipe.seed)
    inpainter.unet.requires_grad_(False)
    networks = Networks(inpainter)
    said = _words(inpainter, encoded.tokens)
    empty = inpainter.text_encoder(tokens(inpainter.tokenizer, "")).last_hidden_state[0].detach()
    parts = [
        ("image encoder", recipe.encoder_steps, recipe.encoder_learning_rate, lambda *drawn: words_loss(*drawn)),
        ("adapter", recipe.steps, recipe.learning_rate, lambda *drawn: adapter_loss(inpainter, empty, *drawn)),
    ]
    for number, (name, steps, rate, loss_of) in enumerate(parts):
        own = Recipe(**asdict(recipe) | {"steps": steps, "learning_rate": rate})
        optimizer = torch.optim.AdamW(networks.parameters(), rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay)
        state, first = work / f"{number}.pt", 0
        if state.is_file():
            saved = torch.load(state, weights_only=True)
            networks.load_state_dict(saved["networks"])
            optimizer.load_state_dict(saved["optimizer"])
            first = saved["step"]
        running = 0.0
        with progress(steps - first, f"training the {name}", unit="step") as bar:
            for step in range(first, steps):
                # seeded by the step alone: a training that was stopped draws what it would have drawn
                generator = torch.Generator().manual_seed(seed_of("adapter", recipe.seed, number, step) % 2**63)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, own)
                loss = loss_of(networks, encoded, said, recipe, generator)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
                optimizer.step()
                running += loss.item()
                bar.update(1)
                if (step + 1) % recipe.save_every == 0 or step + 1 == steps:
                    print(f"{name}, step {step + 1}: loss {running / recipe.save_every:.4f}", flush=True)
                    running = 0.0
                    with atomic_path(state) as part:
                        kept = {"networks": networks.state_dict(), "optimizer": optimizer.state_dict()}
                        torch.save(kept | {"step": step + 1}, part)
    save_adapter(folder, networks.encoder, networks.projection, networks.layers)


@torch.no_grad()
def _words(inpainter: Inpainter, every: Tensor) -> Tensor:
    """What the text encoder says of each outfit's words, float32 [N, TOKENS, D]: at the last word of each garment and
    at the end, where it has read all that was before."""
    bar = inpainter.tokenizer("|", add_special_tokens=False).input_ids
    end = inpainter.tokenizer.eos_token_id
    parts = []
    for rows in every.split(256):
        states = inpainter.text_encoder(rows).last_hidden_state
        last = [[place - 1 for place, token in enumerate(row) if token in bar] for row in rows.tolist()]
        closing = [row.index(end) for row in rows.tolist()]
        places = torch.tensor([[*own, place - 1, place] for own, place in zip(last, closing, strict=True)])
        parts.append(states[torch.arange(len(rows))[:, None], places])
    found = torch.cat(parts)
    assert found.shape[1] == TOKENS  # three garments and the end
    return found


def words_loss(
    networks: Networks, encoded: Encoded, said: Tensor, recipe: Recipe, generator: torch.Generator
) -> Tensor:
    """Squared error of the adapter's tokens to what the text encoder says of the outfit's words, on a random batch."""
    rows = torch.randint(len(said), (recipe.encoder_batch,), generator=generator)
    seen = networks.encoder(encoded.garments[rows].float()).image_embeds
    return functional.mse_loss(networks.projection.image_projection_layers[0](seen), said[rows])


def adapter_loss(
    inpainter: Inpainter,
    empty: Tensor,
    networks: Networks,
    encoded: Encoded,
    said: Tensor,
    recipe: Recipe,
    generator: torch.Generator,
) -> Tensor:
    """Squared error of the predicted velocity on a random batch, as `diffusion.unet_loss`, with garments shown.

    empty: the embedding of no text, which replaces a share `no_text` of the texts; a share `no_picture` is shown none.
    """
    batch, schedule = recipe.batch, inpainter.scheduler.alphas_cumprod
    rows = torch.randint(len(said), (batch,), generator=generator)
    places = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    times = (places * len(schedule)).long()
    clean, mask = encoded.targets[rows].float(), encoded.masks[rows].float()
    noise = torch.randn(clean.shape, generator=generator)
    kept = schedule[times][:, None, None, None]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    silent, blind = (torch.rand(batch, generator=generator) < share for share in (recipe.no_text, recipe.no_picture))
    with torch.no_grad():
        texts = inpainter.text_encoder(encoded.tokens[rows]).last_hidden_state
    texts = torch.where(silent[:, None, None], empty, texts)
    seen = networks.encoder(encoded.garments[rows].float()).image_embeds
    shown = torch.where(blind[:, None], torch.zeros_like(seen), seen)[:, None]
    inputs = torch.cat([noisy, mask, encoded.masked[rows].float()], 1).contiguous(memory_format=torch.channels_last)
    predicted = inpainter.unet(inputs, times, texts, added_cond_kwargs={"image_embeds": [shown]}).sample
    weight = recipe.outside + (1 - recipe.outside) * encoded.touched[rows].float()
    return (weight * (predicted - velocity).square()).sum() / weight.sum() / clean.shape[1]
