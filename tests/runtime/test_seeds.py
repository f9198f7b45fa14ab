"""seed_of: stable, injective in its parts, 63 bits."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.runtime.seeds import seed_of

PARTS = st.lists(st.text(max_size=8) | st.integers(), min_size=1, max_size=4)


def test_is_the_same_on_every_machine() -> None:
    """By its definition, and as a number: were it ever to change, every generated set would."""
    message = b"i" + bytes(7) + b"\x010" + b"s" + bytes(7) + b"\x06minicc" + b"i" + bytes(7) + b"\x0212"
    expected = int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big") >> 1
    assert seed_of(0, "minicc", 12) == expected == 4681960770730037080


@settings(deadline=None)
@given(PARTS, PARTS)
def test_other_parts_other_seed(a: list, b: list) -> None:
    assert 0 <= seed_of(*a) < 2**63
    same = [(type(x), x) for x in a] == [(type(x), x) for x in b]
    assert (seed_of(*a) == seed_of(*b)) == same


def test_numpy_integers_count_as_integers() -> None:
    assert seed_of("x", np.int64(5)) == seed_of("x", 5) != seed_of("x", "5")


@pytest.mark.parametrize("parts", [(), (1.0,), (None,), (True,), (b"x",)])
def test_rejects_other_parts(parts: tuple) -> None:
    with pytest.raises(ValueError, match="seed_of"):
        seed_of(*parts)
