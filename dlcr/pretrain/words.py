"""What the mini language models share: a tokenizer over outfit words, and the words themselves."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dlcr.minicc import COLOURS, FOOTWEAR_KINDS, LOWER_KINDS, PATTERNS, UPPER_KINDS


def make_tokenizer(texts: list[str], special: list[str], chat_template: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: words of outfits and `texts` are one token each, the rest is bytes.

    It has the tokens <pad>, <s>, </s> and `special`; padding is on the left.
    """
    items = [f"{colour} {kind}" for colour in COLOURS for kind in (*UPPER_KINDS, *LOWER_KINDS, *FOOTWEAR_KINDS)]
    items += [f"{colour} {pattern} shirt" for colour in COLOURS for pattern in PATTERNS[1:]]
    corpus = [f"{item.capitalize()}| {item}, {item}. {item}" for item in items] + texts * 20
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        min_frequency=2,
        special_tokens=["<pad>", "<s>", "</s>", *special],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        chat_template=chat_template,
    )


def split_words(text: str) -> list[str]:
    """Colour, pattern and kind of the upper, colour and kind of the lower and of the footwear: seven words.

    "Gray striped shirt| Blue jeans| Black shoes" -> gray, striped, shirt, blue, jeans, black, shoes; no
    pattern is "plain".
    """
    upper, lower, footwear = (item.casefold().split() for item in text.split("|"))
    return [upper[0], upper[1] if len(upper) == 3 else PATTERNS[0], upper[-1], *lower, *footwear]
