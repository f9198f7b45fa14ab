"""Trains the mini InstructBLIP, another describer, to answer what a rendered person wears.

    python -m stages.pretrain instructblip

InstructBLIP's vision tower is a plain transformer on patches, which learns slowly from few pictures. Three helps
make the way short: every patch learns to say what the mini describer's ResNet sees there, as linear maps of the patch's
vector, textures after the first layer and garments after the last (distillation, in the first part of the training);
the first queries of the Q-Former learn to name one word of the outfit each; and Muon trains the matrices of the layers,
which here goes further in as many steps than AdamW does. The language model learns to answer at the same time. What the
help needs is thrown away. Score: as the describer's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Resampling
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BlipImageProcessorPil,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
)

from dlcr.minicc.outfits import COLOURS, FOOTWEAR_KINDS, LOWER_KINDS, PATTERNS, UPPER_KINDS
from dlcr.pretrain import describer
from dlcr.pretrain.describer import QUESTIONS
from dlcr.pretrain.pool import Pool, pool
from dlcr.pretrain.words import make_tokenizer, split_words
from dlcr.prompts import load_describer
from dlcr.runtime.progress import progress

PATCH = 12
GRID = (16, 4)
"""Rows and columns of patches: those of the ResNet's third stage. The class wants a square number of them."""
SIZE = (GRID[0] * PATCH, GRID[1] * PATCH)
"""Height and width that pictures of 96x48 are stretched to."""
WORDS = (tuple(COLOURS), PATTERNS, UPPER_KINDS, tuple(COLOURS), LOWER_KINDS, tuple(COLOURS), FOOTWEAR_KINDS)
"""What each of an outfit's seven words can be (`dlcr.pretrain.words.split_words`)."""
DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Recipe:
    """How the shipped model was made."""

    scenes: int = 30000
    held_out: int = 1000
    steps: int = 1300
    distilled: float = 0.6  # share of the steps with distillation
    rate: float = 1.5e-3
    muon_rate: float = 3e-3  # of the layers' matrices
    batch: int = 32
    weight_decay: float = 0.02
    seed: int = 0
    teacher: str = "models/mini/describer"
    vision_width: int = 160
    vision_layers: int = 4
    width: int = 128  # of the Q-Former and the language model
    layers: int = 2  # of the language model; the Q-Former has one
    queries: int = 16
    head: int = 32  # width of an attention head


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores of what was saved.

    `settings` overrides fields of `Recipe`.
    """
    recipe = Recipe(**settings)
    torch.manual_seed(recipe.seed)
    scenes = pool(recipe.scenes + recipe.held_out)
    processor = make_processor(recipe)
    model = make_model(processor.tokenizer, recipe)
    train(model, processor, Pool(*(column[: recipe.scenes] for column in scenes)), recipe)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    return describer.score(str(folder), scenes, recipe.scenes)


def make_processor(recipe: Recipe) -> InstructBlipProcessor:
    """A BLIP image processor and one tokenizer for both the language model and the Q-Former."""
    language, qformer = (make_tokenizer(list(QUESTIONS), special=["<image>"], chat_template="") for _ in range(2))
    language.chat_template = qformer.chat_template = None
    images = BlipImageProcessorPil(size={"height": SIZE[0], "width": SIZE[1]}, resample=Resampling.BILINEAR)
    return InstructBlipProcessor(images, language, qformer, num_query_tokens=recipe.queries)


def make_model(tokenizer: object, recipe: Recipe) -> InstructBlipForConditionalGeneration:
    """InstructBLIP of a vision transformer, a Q-Former of one layer and LLaMA, all small.

    Positions begin as sines, so that near patches look alike, and queries at random: equal ones would stay equal.
    """
    shape = {"hidden_size": recipe.width, "num_attention_heads": recipe.width // recipe.head}
    vision = InstructBlipVisionConfig(
        hidden_size=recipe.vision_width,
        num_attention_heads=recipe.vision_width // recipe.head,
        num_hidden_layers=recipe.vision_layers,
        intermediate_size=2 * recipe.vision_width,
        image_size=math.isqrt(GRID[0] * GRID[1]) * PATCH,
        patch_size=PATCH,
        hidden_act="relu",
        initializer_range=0.02,
    )
    qformer = InstructBlipQFormerConfig(
        **shape,
        **DROPOUT,
        num_hidden_layers=1,
        cross_attention_frequency=1,
        intermediate_size=2 * recipe.width,
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
    )
    text = LlamaConfig(
        **shape,
        num_hidden_layers=recipe.layers,
        intermediate_size=2 * recipe.width,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = InstructBlipForConditionalGeneration(
        InstructBlipConfig(
            vision_config=vision,
            qformer_config=qformer,
            text_config=text,
            num_query_tokens=recipe.queries,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            tie_word_embeddings=True,
        )
    )
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding[0, 1:] = 0.3 * sines(recipe.vision_width)
        model.query_tokens.normal_()
    return model


def sines(width: int) -> Tensor:
    """Sines and cosines of the rows and columns of GRID, float32 [patches, width]; a column is two rows wide."""
    frequencies = 100 ** -(torch.arange(width // 4) / (width // 4))
    angles = [torch.arange(count)[:, None] * frequencies * wide for count, wide in zip(GRID, (1, 2), strict=True)]
    rows, columns = (torch.cat([angle.sin(), angle.cos()], 1) for angle in angles)
    return torch.cat([rows.repeat_interleave(GRID[1], 0), columns.repeat(GRID[0], 1)], 1)


class Helpers(nn.Module):
    """What the model is trained with and then thrown away: linear maps of patches and of queries."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        loaded = load_describer(recipe.teacher).model.model.vision_tower.embeddings.backbone
        self.teacher = loaded.requires_grad_(False).to(memory_format=torch.channels_last)
        widths = [4 * loaded.config.hidden_sizes[-3], *loaded.config.hidden_sizes[-2:]]
        self.seen = nn.ModuleList(nn.Linear(recipe.vision_width, width) for width in widths)
        self.named = nn.ModuleList(nn.Linear(recipe.width, len(words)) for words in WORDS)

    def distillation(self, pixels: Tensor, layers: Sequence[Tensor]) -> Tensor:
        """Mean squared errors of the teacher's last three stages (32x8, 16x4 and 8x2), added up.

        They are told from the patches [N, 64, D] after an early, a late and the last of the `layers`. A patch tells
        2x2 values of the first stage; four patches together tell one of the last.
        """
        pictures = functional.interpolate(pixels, size=describer.SIZE, mode="bilinear")
        with torch.no_grad():
            stages = self.teacher(pictures.contiguous(memory_format=torch.channels_last)).feature_maps[-3:]
            fine, middle, coarse = (functional.batch_norm(stage.float(), None, None, training=True) for stage in stages)
            wanted = (functional.pixel_unshuffle(fine, 2), middle, coarse)
        early, late, last = (patches.transpose(1, 2).unflatten(2, GRID) for patches in layers)
        told = (early, late, functional.avg_pool2d(last, 2))
        losses = [
            functional.mse_loss(head(grid.flatten(2).mT).float(), seen.flatten(2).mT)
            for head, grid, seen in zip(self.seen, told, wanted, strict=True)
        ]
        return torch.stack(losses).sum()

    def naming(self, queries: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of an outfit's words (`labels`, [N, 7]), word i told from query i of [N, queries, D]."""
        losses = [functional.cross_entropy(head(queries[:, i]), labels[:, i]) for i, head in enumerate(self.named)]
        return torch.stack(losses).mean()


def train(
    model: InstructBlipForConditionalGeneration, processor: InstructBlipProcessor, scenes: Pool, recipe: Recipe
) -> None:
    """Answers, words of queries and, at first, distillation in one loss; Muon and AdamW, one cycle."""
    helpers = Helpers(recipe)
    labels = word_labels(scenes.words)
    model.train()
    model.set_attn_implementation("eager")  # the fused attention's backward pass is slow on CPUs
    parameters = [value for value in (*model.parameters(), *helpers.parameters()) if value.requires_grad]
    optimizers = make_optimizers(model, parameters, recipe)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, optimizer.defaults["lr"], recipe.steps, pct_start=0.05, cycle_momentum=False
        )
        for optimizer in optimizers
    ]
    batches = describer.training_batches(scenes, processor, recipe)
    layers = model.vision_model.encoder.layers
    with progress(recipe.steps, "training InstructBLIP", unit="step") as bar, watched(layers[0], layers[-2]) as inner:
        for step in range(recipe.steps):
            batch = next(batches)
            inputs = answered(processor, batch.question, [scenes.words[row] for row in batch.rows])
            wanted = inputs.pop("labels")
            with torch.autocast("cpu", torch.bfloat16):
                made = model(pixel_values=batch.pixels, **inputs)
                loss = torch.zeros(())
                if step < recipe.distilled * recipe.steps:
                    told = (*inner, made.vision_outputs.last_hidden_state)
                    loss = helpers.distillation(batch.pixels, [states[:, 1:] for states in told])
            loss = loss + helpers.naming(made.qformer_outputs[0].float(), labels[batch.rows])
            asked = wanted[:, 1:] != -100
            loss = loss + functional.cross_entropy(made.logits[:, :-1][asked].float(), wanted[:, 1:][asked])
            model.zero_grad()
            helpers.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for stepped in (*optimizers, *schedules):
                stepped.step()
            bar.update(1)


@contextmanager
def watched(*modules: nn.Module) -> Iterator[list[Tensor]]:
    """Gives a list of what `modules` made in their latest calls: InstructBLIP's output lacks the tower's layers."""
    latest = [torch.empty(0)] * len(modules)
    handles = [
        module.register_forward_hook(lambda _, __, made, place=place: latest.__setitem__(place, made))
        for place, module in enumerate(modules)
    ]
    try:
        yield latest
    finally:
        for handle in handles:
            handle.remove()


def make_optimizers(model: nn.Module, parameters: list[nn.Parameter], recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the model's layers, AdamW for the rest of `parameters`.

    Muon (Jordan et al. 2024) makes the singular values of a matrix's step alike; `match_rms_adamw` gives its
    rate about the meaning of AdamW's.
    """
    matrices = [value for name, value in model.named_parameters() if value.ndim == 2 and ".layer" in name]
    taken = set(map(id, matrices))
    rest = [value for value in parameters if id(value) not in taken]
    decay = recipe.weight_decay
    return [
        torch.optim.Muon(matrices, recipe.muon_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, recipe.rate, betas=(0.9, 0.98), weight_decay=decay),
    ]


def word_labels(outfits: list[str]) -> Tensor:
    """The words of outfit texts as places in WORDS, int64 [N, 7]."""
    rows = [[known.index(word) for known, word in zip(WORDS, split_words(text), strict=True)] for text in outfits]
    return torch.tensor(rows)


def answered(processor: InstructBlipProcessor, question: str, answers: list[str]) -> dict[str, Tensor]:
    """The model's inputs but the pictures, with the answers appended; `labels` are -100 outside them."""
    tokenizer = processor.tokenizer
    prompt = processor.image_token.content * processor.num_query_tokens + question
    start = tokenizer(prompt, return_tensors="pt")["input_ids"]
    ends = [torch.tensor([*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]) for answer in answers]
    labels = nn.utils.rnn.pad_sequence(ends, batch_first=True, padding_value=-100)
    asked = processor.qformer_tokenizer(question, return_tensors="pt")["input_ids"]
    return {
        "qformer_input_ids": asked.repeat(len(answers), 1),
        "input_ids": torch.cat([start.repeat(len(answers), 1), labels.clamp(min=tokenizer.pad_token_id)], 1),
        "labels": torch.cat([torch.full((len(answers), start.shape[1]), -100), labels], 1),
    }
