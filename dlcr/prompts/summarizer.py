"""A language model merges all responses of one clothes ID into one outfit text (Sec. 3.1).

    summarizer = load_summarizer("models/mini/summarizer")      # or "meta-llama/Llama-2-7b-chat-hf@<commit>"
    summarize(summarizer, responses, params.summarize, seed)    # Outfit("Gray shirt| Blue jeans| Black
    shoes", "model", ...)

The answer is never trusted: it must name three garments that the responses support, in the form `upper| lower|
footwear` or in free text, else the vote over the responses takes its place, in one body part or in all. Without a
language model, `single_image_outfit` takes the response to one image as it is (Table A3, "LLaVA only").
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dlcr.prompts.generation import asking, generate_texts, pad_on_the_left, require_chat_template
from dlcr.prompts.items import (
    MAX_CHARACTERS,
    PARTS,
    count_items,
    covers_legs,
    most_frequent,
    offered_items,
    outfit_text,
    says_more,
    three_items,
)
from dlcr.runtime.files import write_json
from dlcr.runtime.networks import find_pretrained, load_network, loading
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of

if TYPE_CHECKING:
    import torch

ORIGINS = ("model", "parsed", "repaired", "vote", "empty")
"""How an outfit can have come about, see `Outfit`."""
RANDOM_ATTEMPTS = 5
"""How often a made-up outfit is asked for at most."""
RANDOM_TOKENS = 64
"""At least so many are allowed for a made-up outfit: chat models begin with a sentence of their own."""
RANDOM_BATCH = 16
MAX_LETTERS = 64
"""Of a word in a request; what has no spaces must not become a request of any length."""


class Settings(Protocol):
    """The section `summarize` of params.yaml."""

    instruction: str
    random_instruction: str
    words: int
    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Summarizer:
    """A loaded language model: its name, network, and tokenizer with chat template.

    kept: a folder where answers are kept, if any, so that a stopped stage goes on where it was.
    """

    name: str
    model: torch.nn.Module
    tokenizer: object
    kept: Path | None = None


@dataclass(frozen=True)
class Outfit:
    """One outfit text and how it came about.

    `origin`: "model" (the answer as it is), "parsed" (taken from free text that names one item for each body part,
    all of them supported by the responses; a dress covers two), "repaired" (one of several items chosen, or body parts
    decided by the vote or drawn from other answers), "vote" (nothing of the answer was usable), "empty" (no
    response names a garment: `prompt` is ""). `answer`: what the model said.
    """

    prompt: str
    origin: str
    answer: str


def load_summarizer(model: str) -> Summarizer:
    """Loads LLaMA or another chat model from a folder or `repo@revision`, in evaluation mode.

    Raises FileNotFoundError if it isn't there, ValueError if it can't be loaded whole or has no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pretrained = find_pretrained(model)
    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(pretrained.location, **pretrained.arguments())
    require_chat_template(tokenizer, model)
    pad_on_the_left(tokenizer)
    return Summarizer(model, load_network(AutoModelForCausalLM, model, pretrained), tokenizer)


def summarize(summarizer: Summarizer, responses: Sequence[str], settings: Settings, seed: int) -> Outfit:
    """One outfit text from all responses of a clothes ID (Sec. 3.1)."""
    if not any(count_items(responses).values()):
        return Outfit("", "empty", "")
    (answer,) = ask(summarizer, request(settings.instruction, responses, settings.words), settings, [seed])
    return check_answer(answer, responses)


def request(instruction: str, responses: Sequence[str], words: int) -> str:
    """What the language model is asked: the instruction, then the responses' first `words` words.

    Of a response only MAX_CHARACTERS count, of a word MAX_LETTERS.
    """
    said = (word[:MAX_LETTERS] for response in responses for word in response[:MAX_CHARACTERS].split())
    return " ".join([instruction, *islice(said, words)])


def check_answer(answer: str, responses: Sequence[str]) -> Outfit:
    """What remains of a model's answer in the light of the responses.

    Where the answer offers several items for a body part, the one that most responses name is kept; where no
    response supports any of them, the most frequent item of the responses is taken instead. Ties go to the
    alphabetically first.
    """
    votes = count_items(responses)
    if not any(votes.values()):
        return Outfit("", "empty", answer)
    offered = offered_items(answer)
    supported = {part: most_frequent(votes[part], offered[part]) for part in PARTS}
    # An item for a part that no response mentions can't be checked, but is better than nothing.
    unseen = {part: offered[part][0] for part in PARTS if offered[part] and not votes[part]}
    kept = {part: supported[part] or unseen.get(part) for part in PARTS}
    prompt = outfit_text({part: kept[part] or most_frequent(votes[part]) for part in PARTS})
    if not any(kept.values()):
        return Outfit(prompt, "vote", answer)
    if all(kept.values()) and three_items(answer):
        return Outfit(prompt, "model", answer)
    # Nobody need name what a dress covers.
    wanted = [part for part in PARTS if part != "lower" or votes[part] or not covers_legs(kept["upper"])]
    plain = all(supported[part] for part in wanted) and _one_for_each(offered, wanted)
    return Outfit(prompt, "parsed" if plain else "repaired", answer)


def single_image_outfit(responses_by_image: Mapping[str, str], seed: int) -> Outfit:
    """The response to one image of a clothes ID as its outfit text (Table A3, "LLaVA only").

    The image is drawn by `seed` among the IDs in sorted order; if its response names no garment, the next one is
    drawn. Parts it doesn't name are general, as in `outfit_text`. The origin is "model", or "empty" if no response
    names a garment.
    """
    images = sorted(responses_by_image)
    for place in np.random.default_rng(seed).permutation(len(images)):
        response = responses_by_image[images[place]]
        outfit = check_answer(response, [response])
        if outfit.origin != "empty":
            return Outfit(outfit.prompt, "model", response)
    return Outfit("", "empty", "")


def random_outfits(summarizer: Summarizer, count: int, settings: Settings, seed: int) -> list[Outfit]:
    """`count` outfit texts that the language model makes up alone (Table A1, row 3; Table A3, row 1).

    Outfit i depends on (seed, i) only. An answer that doesn't name something for each body part, apart from words of
    the question, is asked for again with another seed. After RANDOM_ATTEMPTS such answers the last one is repaired:
    what it doesn't name is drawn, by (seed, i), from everything that the model named in all answers. Raises ValueError,
    which shows answers, if that is nothing for some body part.
    """
    outfits: dict[int, Outfit] = {}
    answers: dict[tuple[int, int], str] = {}
    missing = list(range(count))
    with progress(count, "random outfits", unit="outfit") as bar:
        for attempt in range(RANDOM_ATTEMPTS):
            for first in range(0, len(missing), RANDOM_BATCH):
                part = missing[first : first + RANDOM_BATCH]
                seeds = [seed_of("random outfit", seed, index, attempt) for index in part]
                said = ask(summarizer, settings.random_instruction, settings, seeds, RANDOM_TOKENS)
                for index, answer in zip(part, said, strict=True):
                    answers[index, attempt] = answer
                    if made := _made_up(answer, settings.random_instruction):
                        outfits[index] = made
                        bar.update(1)
            missing = [index for index in missing if index not in outfits]
        if missing:
            named = _all_named([answers[key] for key in sorted(answers)], settings.random_instruction)
            for index in missing:
                draw = np.random.default_rng(seed_of("random outfit", seed, index, "repair"))
                answer = answers[index, RANDOM_ATTEMPTS - 1]
                outfits[index] = _completed(answer, settings.random_instruction, named, draw)
                bar.update(1)
    return [outfits[index] for index in range(count)]


def ask(
    summarizer: Summarizer, content: str, settings: Settings, seeds: Sequence[int], least_tokens: int = 1
) -> list[str]:
    """One answer for each seed to the same message, each independent of the others.

    least_tokens: what an answer may have even if `settings.max_new_tokens` is less.
    """
    if summarizer.kept is None:
        return _ask(summarizer, content, settings, seeds, least_tokens)
    key = json.dumps([content, list(seeds), least_tokens]).encode()
    path = summarizer.kept / f"{blake2b(key, digest_size=16).hexdigest()}.json"
    if not path.is_file():
        write_json(path, _ask(summarizer, content, settings, seeds, least_tokens))
    return json.loads(path.read_text(encoding="utf-8"))


def count_origins(outfits: Sequence[Outfit]) -> dict[str, int]:
    """How many outfits have each origin."""
    counts = Counter(outfit.origin for outfit in outfits)
    return {origin: counts[origin] for origin in ORIGINS}


def _ask(
    summarizer: Summarizer, content: str, settings: Settings, seeds: Sequence[int], least_tokens: int
) -> list[str]:
    # A response could contain text that looks like a turn of the conversation; it must stay text.
    with asking(summarizer.name):
        inputs = summarizer.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            sanitize_control_tokens=True,
        )
        inputs = {key: value.repeat(len(seeds), 1).to(summarizer.model.device) for key, value in inputs.items()}
        return generate_texts(
            summarizer.model,
            summarizer.tokenizer,
            inputs,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=max(settings.max_new_tokens, least_tokens),
            seeds=seeds,
        )


def _one_for_each(offered: Mapping[str, Sequence[str]], wanted: Sequence[str] = PARTS) -> bool:
    return all(len(offered[part]) == (part in wanted) for part in PARTS)


def _named(answer: str, instruction: str) -> dict[str, list[str]]:
    """What an answer offers for each body part, without what the instruction said: models repeat its form."""
    return {
        part: [item for item in items if says_more(item, instruction)] for part, items in offered_items(answer).items()
    }


def _made_up(answer: str, instruction: str) -> Outfit | None:
    """An answer as an outfit if it names something for each body part."""
    named = _named(answer, instruction)
    if not all(named.values()):
        return None
    prompt = outfit_text({part: named[part][0] for part in PARTS})
    origin = "model" if three_items(answer) else "parsed" if _one_for_each(named) else "repaired"
    return Outfit(prompt, origin, answer)


def _all_named(answers: Sequence[str], instruction: str) -> dict[str, list[str]]:
    """Everything that the answers name for each body part, as often as they do; ValueError if it is nothing."""
    each = [_named(answer, instruction) for answer in answers]
    named = {part: [item for found in each for item in found[part]] for part in PARTS}
    for part, items in named.items():
        if not items:
            shown = " / ".join(repr(answer[:100]) for answer in list(dict.fromkeys(answers))[:5])
            raise ValueError(
                f"the language model named nothing for the body part {part!r} in {len(answers)} answers to "
                f"{instruction!r} (summarize.random_instruction); it said: {shown}"
            )
    return named


def _completed(answer: str, instruction: str, named: dict[str, list[str]], draw: np.random.Generator) -> Outfit:
    """An incomplete answer as an outfit; the parts that it lacks are drawn from `named`."""
    own = _named(answer, instruction)
    chosen = {part: (own[part] or [named[part][draw.integers(len(named[part]))]])[0] for part in PARTS}
    return Outfit(outfit_text(chosen), "repaired", answer)
