"""Trains the mini summarizer, a small LLaMA, to merge descriptions of one outfit, and to make up outfits.

    python -m stages.pretrain summarizer        # about 5 minutes on one core with bfloat16 units

Its texts are synthetic: an outfit of the pretraining stream described many times with the describer's kinds
of mistakes. The answer to be learned is the paper's vote over these descriptions. Score: share of right items
per body part on new texts, and the share of answers that need no repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from dlcr.minicc import (
    COLOURS,
    FOOTWEAR_KINDS,
    LOWER_KINDS,
    PATTERNS,
    UPPER_KINDS,
    outfit_words,
    sample_outfit,
)
from dlcr.params import Summarize
from dlcr.pretrain.words import make_tokenizer, split_words
from dlcr.prompts import count_origins, load_summarizer, random_outfits, summarize, vote
from dlcr.prompts.items import PARTS
from dlcr.prompts.summarizer import request
from dlcr.runtime.progress import progress

INSTRUCTIONS = (
    "Extract the clothing items from the following text:",
    "Summarize the clothes in the following text:",
    "Which clothes are these?",
)
"""The first one is the release's and that of params.yaml."""
RANDOM_INSTRUCTION = "Name random clothing items for the upper body, the lower body and the feet."
"""That of profile minicc; longer ones are beyond this model."""
WORDS = 200
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<s>[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }} </s>{% endif %}{% endfor %}"
)
_KINDS = {
    **dict.fromkeys(UPPER_KINDS, UPPER_KINDS),
    **dict.fromkeys(LOWER_KINDS, LOWER_KINDS),
    **dict.fromkeys(FOOTWEAR_KINDS, FOOTWEAR_KINDS),
}


@dataclass(frozen=True)
class Recipe:
    """How the shipped summarizer was made."""

    steps: int = 700
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    width: int = 128
    layers: int = 3
    heads: int = 4
    random_share: float = 0.06  # of the batches: made-up outfits
    tested: int = 200


def pretrain(folder: Path, settings: dict) -> dict:
    """Trains, saves into `folder` and returns the scores of what was saved.

    `settings` overrides fields of `Recipe`.
    """
    recipe = Recipe(**settings)
    torch.manual_seed(recipe.seed)
    tokenizer = make_tokenizer(
        ["[INST] [/INST]", RANDOM_INSTRUCTION, *INSTRUCTIONS], special=[], chat_template=CHAT_TEMPLATE
    )
    model = make_model(tokenizer, recipe)
    train(model, tokenizer, recipe)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return score(str(folder), recipe)


def make_model(tokenizer: object, recipe: Recipe) -> LlamaForCausalLM:
    """A small LLaMA."""
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=recipe.width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=3 * recipe.width,
            vocab_size=len(tokenizer),
            max_position_embeddings=1024,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def noisy_responses(rng: np.random.Generator, words: Sequence[str], count: int) -> list[str]:
    """`count` descriptions of one outfit (seven words as of `split_words`) with mistakes.

    A word that is hard to see is mistaken for the same other word again and again, others now and then for
    any. Items go missing or change places, and the form varies a little.
    """
    alternatives = {0: COLOURS, 1: PATTERNS, 3: COLOURS, 5: COLOURS} | {i: _KINDS[words[i]] for i in (2, 4, 6)}
    favourite = [str(rng.choice(list(alternatives[i]))) for i in range(7)]
    doubt = rng.uniform(0, 0.45, 7) * (rng.uniform(size=7) < 0.5)
    stray = rng.uniform(0, 0.12)
    messy = rng.uniform() < 0.3
    responses = []
    for _ in range(count):
        said = list(words)
        for i in range(7):
            if rng.uniform() < doubt[i]:
                said[i] = favourite[i]
            elif rng.uniform() < stray:
                said[i] = str(rng.choice(list(alternatives[i])))
        responses.append(_say(rng, said, messy))
    return responses


def _say(rng: np.random.Generator, words: Sequence[str], messy: bool) -> str:
    """Seven words as a response, in the usual form or in another one."""
    upper = f"{words[0]} {words[2]}" if words[1] == PATTERNS[0] else f"{words[0]} {words[1]} {words[2]}"
    items = [item.capitalize() for item in (upper, f"{words[3]} {words[4]}", f"{words[5]} {words[6]}")]
    if not messy or rng.uniform() < 0.6:
        return "| ".join(items)
    if rng.uniform() < 0.3:
        rng.shuffle(items)
    items = [item for item in items if rng.uniform() > 0.15]
    separator = str(rng.choice(["| ", ", ", ". ", " and "]))
    return separator.join(items if rng.uniform() < 0.5 else [item.lower() for item in items])


def make_texts(rng: np.random.Generator, count: int, recipe: Recipe) -> tuple[list[str], list[str]]:
    """Messages and answers of one batch; all with about as many descriptions, so that little is padded."""
    outfits = [outfit_words(sample_outfit(rng, "pretrain")) for _ in range(count)]
    if rng.uniform() < recipe.random_share:
        return [RANDOM_INSTRUCTION] * count, outfits
    number = int(rng.integers(1, 9)) if rng.uniform() < 0.92 else int(rng.integers(9, 31))
    messages, answers = [], []
    for outfit in outfits:
        responses = noisy_responses(rng, split_words(outfit), number)
        instruction = INSTRUCTIONS[0 if rng.uniform() < 0.7 else rng.integers(len(INSTRUCTIONS))]
        messages.append(request(instruction, responses, WORDS))
        # A vote without any item is never asked for; the true outfit stands in.
        answers.append(vote(responses) or outfit)
    return messages, answers


def train(model: LlamaForCausalLM, tokenizer: object, recipe: Recipe) -> None:
    """AdamW with a one-cycle learning rate; only answers count in the loss."""
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.steps, pct_start=0.1)
    model.train()
    model.set_attn_implementation("eager")  # the fused attention's backward pass is slow on CPUs
    with progress(recipe.steps, "training the summarizer", unit="step") as bar:
        for _ in range(recipe.steps):
            ids, asked = _encode(tokenizer, *make_texts(rng, recipe.batch, recipe))
            with torch.autocast("cpu", torch.bfloat16):
                hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][asked[:, 1:]]
                logits = model.lm_head(hidden)
            loss = functional.cross_entropy(logits.float(), ids[:, 1:][asked[:, 1:]])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.update(1)


def score(model: str, recipe: Recipe) -> dict:
    """Right items (the vote's, and the true outfit's) per body part on texts with 4 and 8 descriptions."""
    summarizer = load_summarizer(model)
    settings = Summarize(
        instruction=INSTRUCTIONS[0],
        random_instruction=RANDOM_INSTRUCTION,
        words=WORDS,
        temperature=0.6,
        top_p=0.9,
        max_new_tokens=32,
    )
    rng = np.random.default_rng(10_000 + recipe.seed)
    outfits, agree, right, voted = [], [], [], []
    for index in range(recipe.tested):
        truth = outfit_words(sample_outfit(rng, "pretrain"))
        responses = noisy_responses(rng, split_words(truth), 4 + 4 * (index % 2))
        outfits.append(summarize(summarizer, responses, settings, seed=index))
        agree.append(_same_items(outfits[-1].answer, vote(responses)))
        right.append(_same_items(outfits[-1].prompt, truth))
        voted.append(_same_items(vote(responses), truth))
    scores = {f"answer_is_vote_{part}": round(float(np.mean(agree, 0)[i]), 4) for i, part in enumerate(PARTS)}
    scores |= {f"accuracy_{part}": round(float(np.mean(right, 0)[i]), 4) for i, part in enumerate(PARTS)}
    scores |= {f"vote_accuracy_{part}": round(float(np.mean(voted, 0)[i]), 4) for i, part in enumerate(PARTS)}
    scores |= {f"origin_{key}": number for key, number in count_origins(outfits).items()}
    made_up = random_outfits(summarizer, recipe.tested, settings, seed=0)
    return scores | {
        "texts": recipe.tested,
        "different_random_outfits": len({outfit.prompt for outfit in made_up}),
    }


def _same_items(text: str, wanted: str) -> list[bool]:
    items = [item.strip() for item in text.split("|")]
    return [len(items) == 3 and items[i] == item.strip() for i, item in enumerate(wanted.split("|"))]


def _encode(tokenizer: object, messages: list[str], answers: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token IDs [N, T], padded on the right, and where the answers stand, bool [N, T]."""
    rows, marks = [], []
    for message, answer in zip(messages, answers, strict=True):
        start = tokenizer.apply_chat_template([{"role": "user", "content": message}], tokenize=False)
        ids = tokenizer(start, add_special_tokens=False)["input_ids"]
        end = [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
        rows.append(torch.tensor(ids + end))
        marks.append(torch.tensor([False] * len(ids) + [True] * len(end)))
    pad = nn.utils.rnn.pad_sequence
    return pad(rows, batch_first=True, padding_value=tokenizer.pad_token_id), pad(marks, batch_first=True)
