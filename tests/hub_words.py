"""Tokenizers of the language models in `hub`, and how these models come to say something about clothes."""

import json
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

LINES = """The person is wearing a red white gray shirt jacket sweater with blue beige brown jeans pants shorts
and black yellow pink shoes sneakers boots. USER: ASSISTANT: What clothes is the person wearing? Sure! Here are the
clothing items: White shirt, Blue jeans and Black shoes. [INST] [/INST]"""
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def token(content: str) -> dict:
    """A special token, as the files of tokenizers write it."""
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def llama_tokenizer(folder: Path, added: list[str], config: dict) -> Tokenizer:
    """Llama 2's kind of tokenizer, a BPE that falls back to bytes, in which each word of LINES is one token.

    Writes the files that come with it into `folder`; `added` are special tokens after the vocabulary.
    """
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation("isolated")]
    )
    learner.train_from_iterator([LINES] * 5, trainers.BpeTrainer(vocab_size=4000, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    words = ["<unk>", "<s>", "</s>", *BYTES, *sorted(learned["vocab"], key=learned["vocab"].get)]
    special = {number: words[number] for number in range(3)}
    special |= {len(words) + number: content for number, content in enumerate(added)}
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    made = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, **token(content), "special": True} for number, content in special.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text],
            "pair": [start, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": learned | {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
        | {"vocab": {word: number for number, word in enumerate(words)}},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False))
    (folder / "tokenizer.model").write_bytes(b"what only sentencepiece reads")
    decoder = {str(number): {**token(content), "special": True} for number, content in special.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder, **config}))
    return Tokenizer.from_str(json.dumps(made))


def say(state: dict[str, Tensor], embeddings: str, head: str, tokenizer: Tokenizer, words: str) -> None:
    """Lets a Llama say a sentence: each token decides the next, and of several that may follow ("a/b") one is drawn.

    words: what is said after the prompt's last token, with that token before it, separated by blanks, as tokens without
    "▁": where a token begins a word it is found with it. Layers add nothing then: the last token alone counts.
    """
    for name, values in state.items():
        if name.endswith(("self_attn.o_proj.weight", "mlp.down_proj.weight")):
            values.zero_()
    chain = [[_number(tokenizer, word) for word in place.split("/")] for place in words.split()] + [[2]]
    directions = state[embeddings] / state[embeddings].norm(dim=1, keepdim=True)
    strength = 30 / directions.shape[1] ** 0.5  # a logit of 30, as the last norm makes vectors as long as sqrt(width)
    for before, after in pairwise(chain):
        for number in after:
            state[head][number] += strength * directions[before].sum(0)


def _number(tokenizer: Tokenizer, word: str) -> int:
    number = next((n for n in map(tokenizer.token_to_id, (f"▁{word}", word)) if n is not None), None)
    assert number is not None, f"{word!r} is no token"
    return number
