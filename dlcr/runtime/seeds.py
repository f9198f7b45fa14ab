"""Seeds that depend only on names: the same on every machine, in any order, for any number of workers."""

import hashlib
from numbers import Integral


def seed_of(*parts: str | int) -> int:
    """Return a seed in [0, 2**63) made from `parts`.

    Each part enters with its type and length, so ("ab", "c"), ("a", "bc") and ("1",), (1,) give different
    seeds. Raises ValueError when there is no part, or one that is neither a string nor an integer.
    """
    if not parts:
        raise ValueError("seed_of needs at least one part")
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | Integral):
            raise ValueError(f"seed_of takes strings and integers, got {part!r} ({type(part).__name__})")
        kind = b"s" if isinstance(part, str) else b"i"
        text = str(part if isinstance(part, str) else int(part)).encode()
        digest.update(kind + len(text).to_bytes(8, "big") + text)
    return int.from_bytes(digest.digest(), "big") >> 1
