"""Generators derived from what they are for, so that everything can be made in any order."""

import hashlib

import numpy as np

from dlcr.minicc.difficulty import VERSION


def derive_seed(*key: str | int) -> int:
    """A 64-bit seed from a key of strings and integers; the same on every machine and in every run."""
    text = "\x1f".join(str(part) for part in ("minicc", VERSION, *key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*key: str | int) -> np.random.Generator:
    """The random generator of a key."""
    return np.random.Generator(np.random.PCG64(derive_seed(*key)))
