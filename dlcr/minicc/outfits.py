"""Outfits: garments, the words for them, and which outfits belong to the benchmark."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from dlcr.minicc.difficulty import BENCHMARK_SHARE, KEPT

RGB = tuple[float, float, float]

UPPER_KINDS = ("t-shirt", "shirt", "sweater", "hoodie", "jacket", "coat")
LOWER_KINDS = ("jeans", "trousers", "shorts", "skirt")
FOOTWEAR_KINDS = ("shoes", "sneakers", "boots", "sandals")
PATTERNS = ("plain", "striped", "checked")
"""Patterns of uppers; "plain" is never said."""
PATTERN_SHARES = (0.6, 0.2, 0.2)
"""How often each pattern is worn: most uppers are plain."""
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (28, 28, 32),
    "white": (240, 240, 236),
    "gray": (132, 134, 136),
    "red": (200, 28, 36),
    "green": (34, 132, 58),
    "blue": (36, 74, 190),
    "yellow": (240, 208, 40),
    "orange": (240, 120, 20),
    "purple": (112, 44, 150),
    "pink": (244, 138, 178),
    "brown": (112, 68, 36),
}
"""Named colours, RGB from 0 to 255, before an outfit's own small deviation."""
JEANS_COLOURS = ("blue", "black", "gray")
FOOTWEAR_COLOURS = ("black", "white", "gray", "brown", "red", "blue")
_KINDS = (UPPER_KINDS, LOWER_KINDS, FOOTWEAR_KINDS)
_SLOTS = ("upper", "lower", "footwear")


@dataclass(frozen=True)
class Garment:
    """One garment: its words (kind, colour, pattern) and what tells it from others of the same words."""

    kind: str
    colour: str
    pattern: str = "plain"
    rgb: RGB = (0.5, 0.5, 0.5)  # the named colour with its deviation, in [0, 1]
    fit: float = 0.5  # 0 (tight, short) to 1 (loose, long)
    seed: int = 0  # of folds and pattern phase


@dataclass(frozen=True)
class Outfit:
    """What a person wears."""

    upper: Garment
    lower: Garment
    footwear: Garment


def make_garment(kind: str, colour: str, pattern: str = "plain", rng: np.random.Generator | None = None) -> Garment:
    """A garment of the given words; without a generator it has no deviation.

    Raises ValueError for a kind, colour or pattern that does not exist.
    """
    for word, known in ((kind, sum(_KINDS, ())), (colour, tuple(COLOURS)), (pattern, PATTERNS)):
        if word not in known:
            raise ValueError(f"unknown word {word!r}; known are: {', '.join(known)}")
    base = np.asarray(COLOURS[colour], float) / 255
    if rng is None:
        return Garment(kind, colour, pattern, tuple(base.tolist()))
    base = np.clip(base * rng.uniform(0.93, 1.06) + rng.normal(0, 0.012, 3), 0, 1)
    return Garment(kind, colour, pattern, tuple(base.tolist()), float(rng.uniform()), int(rng.integers(1 << 30)))


def colours_of(kind: str) -> tuple[str, ...]:
    """The colours in which a kind of garment is sampled."""
    if kind == "jeans":
        return JEANS_COLOURS
    return FOOTWEAR_COLOURS if kind in FOOTWEAR_KINDS else tuple(COLOURS)


def _sample_garment(rng: np.random.Generator, kinds: tuple[str, ...], patterns: tuple[str, ...]) -> Garment:
    kind = str(rng.choice(kinds))
    pattern = str(rng.choice(patterns, p=PATTERN_SHARES if len(patterns) > 1 else None))
    return make_garment(kind, str(rng.choice(colours_of(kind))), pattern, rng)


def pool_of(outfit: Outfit) -> str:
    """Which pool an outfit's words belong to: "benchmark" or "pretrain"."""
    digest = hashlib.blake2b(outfit_words(outfit).encode(), digest_size=8).digest()
    return "pretrain" if int.from_bytes(digest, "little") % BENCHMARK_SHARE else "benchmark"


def sample_outfit(rng: np.random.Generator, pool: str) -> Outfit:
    """Draws an outfit of a pool, "benchmark" or "pretrain"; raises ValueError for other pools."""
    if pool not in ("benchmark", "pretrain"):
        raise ValueError(f"unknown pool {pool!r}; known are: benchmark, pretrain")
    while True:
        outfit = Outfit(
            _sample_garment(rng, UPPER_KINDS, PATTERNS),
            _sample_garment(rng, LOWER_KINDS, ("plain",)),
            _sample_garment(rng, FOOTWEAR_KINDS, ("plain",)),
        )
        if pool_of(outfit) == pool:
            return outfit


def change_outfit(rng: np.random.Generator, worn: Outfit, pool: str) -> Outfit:
    """What somebody in the outfit `worn` puts on next: another upper, and, but for the garments that `KEPT` lets them
    keep, another lower and footwear. Its words are of a pool, as in `sample_outfit`."""
    kept = {slot: getattr(worn, slot) for slot, share in KEPT.items() if rng.uniform() < share}
    while True:
        outfit = replace(sample_outfit(rng, pool), **kept)
        if pool_of(outfit) == pool:
            return outfit


def _item_words(garment: Garment) -> str:
    pattern = "" if garment.pattern == "plain" else f"{garment.pattern} "
    return f"{garment.colour} {pattern}{garment.kind}".capitalize()


def outfit_words(outfit: Outfit) -> str:
    """The outfit in words, like "Gray striped shirt| Blue jeans| Black shoes"."""
    return "| ".join(_item_words(item) for item in (outfit.upper, outfit.lower, outfit.footwear))


def parse_item(text: str, slot: str) -> tuple[str, str, str]:
    """(colour, pattern, kind) of one item's words; slot is "upper", "lower" or "footwear".

    Raises ValueError that names the word which is not known and lists those that are.
    """
    words = text.lower().split()
    kinds = _KINDS[_SLOTS.index(slot)]
    patterns = PATTERNS if slot == "upper" else ("plain",)
    if len(words) == 2:
        words.insert(1, "plain")
    if len(words) != 3:
        raise ValueError(f"{slot} item {text!r} is not '<colour> [pattern] <kind>'")
    for word, known in zip(words, (tuple(COLOURS), patterns, kinds), strict=True):
        if word not in known:
            raise ValueError(f"unknown word {word!r} in {slot} item {text!r}; known are: {', '.join(known)}")
    return words[0], words[1], words[2]


def parse_words(text: str) -> tuple[str, str, str]:
    """The three normalised items of an outfit's words, as `outfit_words` writes them.

    Case and spacing do not matter. Raises ValueError that names what is wrong and lists what is known.
    """
    items = text.split("|")
    if len(items) != 3:
        raise ValueError(f"{text!r} has {len(items)} items; 'upper| lower| footwear' has 3")
    parsed = [parse_item(item, slot) for item, slot in zip(items, _SLOTS, strict=True)]
    return tuple(_item_words(Garment(kind, colour, pattern)) for colour, pattern, kind in parsed)
