"""Garments in free text: which item a text offers for which body part, and the vote over many texts.

Words decide, not a model: this is what keeps a language model's answer honest (`dlcr.prompts.summarizer`).
Any adjectives and, between separators, any language will do; outside the form `upper| lower| footwear` a
garment must be an English noun. Texts are data: they are cut into words and compared, nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

PARTS = ("upper", "lower", "footwear")
MAX_WORDS = 6
"""An item has at most so many words."""
MAX_CHARACTERS = 4000
"""What comes later in a text is ignored."""

_NOUNS = {
    "upper": "shirt shirts t-shirt t-shirts tee top tops blouse sweater sweatshirt hoodie jacket coat blazer "
    "cardigan vest polo pullover jumper jersey tunic parka windbreaker raincoat overcoat suit tank "
    "turtleneck dress gown robe jumpsuit romper overalls",
    "lower": "jeans pants trousers shorts skirt skirts leggings sweatpants slacks chinos joggers tights "
    "culottes capris khakis miniskirt",
    "footwear": "shoe shoes sneaker sneakers boot boots sandal sandals heels slippers loafers flats "
    "flip-flops trainers footwear pumps clogs moccasins",
}
_PART_OF = {noun: part for part, nouns in _NOUNS.items() for noun in nouns.split()}
_ONE_PIECE = frozenset(("dress", "gown", "robe", "jumpsuit", "romper", "overalls"))
_GENERIC = {"upper": "shirt", "lower": "pants", "footwear": "shoes"}
_FILLER_WORDS = """
    a an the is are was were be it its this that these those he she they his her their and or with of in on
    at as to from for by under over wearing wears wear worn dressed has have appears person man woman men
    women lady boy girl people someone individual pair pairs body upper lower half part feet foot legs torso
    clothes clothing item items outfit there also which while who i can see image picture photo answer here
    sure not no
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_SAME = (
    (r"\bgrey\b", "gray"),
    (r"\bcolou?red\b", ""),
    (r"\bcolour\b", "color"),
    (r"\b(?:tee|t)[ -]?shirt(s?)\b", r"t-shirt\1"),
    (r"\bflip flops\b", "flip-flops"),
)
_BREAKS = re.compile(r"[|,;:.!?\n\r\t()\[\]{}<>\"*/\\]+")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def normalise(text: str) -> str:
    """Lower case, one space between words, one spelling for what English spells in several ways."""
    text = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS])[:MAX_CHARACTERS].casefold()  # NFKC can make many of one
    for pattern, replacement in _SAME:
        text = re.sub(pattern, replacement, text)
    return " ".join(text.split())


def three_items(text: str) -> tuple[str, str, str] | None:
    """The three normalised items of `upper| lower| footwear`, or None if the text isn't exactly of this form.

    An item is one to MAX_WORDS words of letters and digits, in any script that writes without combining marks
    (Hindi and Thai need them); one whose noun is known must stand in the place of its body part, and must be the
    only garment there.
    """
    if len(text) > MAX_CHARACTERS or len(pieces := text.split("|")) != 3:
        return None
    items = tuple(normalise(piece) for piece in pieces)
    for part, item in zip(PARTS, items, strict=True):
        words = item.split(" ")
        if len(words) > MAX_WORDS or not all(_WORD.fullmatch(word) for word in words):
            return None
        if not re.search(r"[^\W\d_]", item) or any(found != (part, item) for found in _garments(item)):
            return None
    return items


def offered_items(text: str) -> dict[str, list[str]]:
    """What a text offers for each body part, normalised, without repetition, in the text's order.

    The form `upper| lower| footwear` is taken by its places, everything else by the nouns: the words before a
    garment's noun, up to a filler word or a separator, belong to it.
    """
    offered = {part: [] for part in PARTS}
    if (items := three_items(text)) is not None:
        return {part: [item] for part, item in zip(PARTS, items, strict=True)}
    # Line ends are separators, so the text is cut first and normalised after.
    for chunk in _BREAKS.split(text[:MAX_CHARACTERS]):
        for part, item in _garments(normalise(chunk)):
            if item not in offered[part]:
                offered[part].append(item)
    return offered


def says_more(item: str, text: str) -> bool:
    """Whether an item has a word that is no filler and not in `text`, such as "blue shirt" after "name a shirt"."""
    return bool(set(_WORD.findall(item)) - _FILLERS - set(_WORD.findall(normalise(text))))


def count_items(responses: Sequence[str]) -> dict[str, Counter]:
    """How many responses offer each item, by body part; a response counts an item once."""
    counts = {part: Counter() for part in PARTS}
    for response in responses:
        for part, items in offered_items(response).items():
            counts[part].update(items)
    return counts


def most_frequent(counts: Counter, candidates: Sequence[str] | None = None) -> str | None:
    """The item with the highest count, the alphabetically first one of a tie; None if there is none.

    With `candidates` only these are compared.
    """
    items = [item for item in (counts if candidates is None else candidates) if counts[item] > 0]
    return min(items, key=lambda item: (-counts[item], item), default=None)


def vote(responses: Sequence[str]) -> str:
    """The most frequent item of every body part over all responses (Sec. 3.1).

    Like "Gray shirt| Blue jeans| Black shoes"; "" if no response names any garment.
    """
    counts = count_items(responses)
    chosen = {part: most_frequent(counts[part]) for part in PARTS}
    return outfit_text(chosen) if any(chosen.values()) else ""


def covers_legs(upper: str | None) -> bool:
    """Whether an item for the upper body is one for the lower body too, such as a dress."""
    return bool(upper and _ONE_PIECE & set(upper.split()))


def outfit_text(chosen: dict[str, str | None]) -> str:
    """Items by body part as one text; what nobody saw is "Shirt", "Pants" (or the dress), "Shoes"."""
    upper = chosen["upper"] or _GENERIC["upper"]
    covered = upper if covers_legs(upper) else _GENERIC["lower"]
    items = (upper, chosen["lower"] or covered, chosen["footwear"] or _GENERIC["footwear"])
    return "| ".join(item[0].upper() + item[1:] for item in items)


def _garments(text: str) -> list[tuple[str, str]]:
    """(body part, item) for every garment noun of a normalised text without separators."""
    words = _WORD.findall(text)
    found, item = [], []
    for index, word in enumerate(words):
        # "and" joins colours ("black and white shirt"), but begins nothing.
        if word in _FILLERS and not (word == "and" and item):
            item = []
            continue
        item.append(word)
        compound = index + 1 < len(words) and words[index + 1] in _PART_OF  # "dress shoes" are shoes
        if word in _PART_OF and not compound:
            item = item[-MAX_WORDS:]
            while item[0] == "and":
                item = item[1:]
            found.append((_PART_OF[word], " ".join(item)))
            item = []
    return found
