"""The words of outfits and the two pools they are split into."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcr.minicc import (
    COLOURS,
    FOOTWEAR_KINDS,
    LOWER_KINDS,
    PATTERNS,
    UPPER_KINDS,
    Outfit,
    make_garment,
    outfit_words,
    parse_words,
    pool_of,
    sample_outfit,
)

colours = st.sampled_from(sorted(COLOURS))
outfits = st.builds(
    Outfit,
    st.builds(make_garment, st.sampled_from(UPPER_KINDS), colours, st.sampled_from(PATTERNS)),
    st.builds(make_garment, st.sampled_from(LOWER_KINDS), colours),
    st.builds(make_garment, st.sampled_from(FOOTWEAR_KINDS), colours),
)


@given(outfits)
def test_words_round_trip(outfit):
    text = outfit_words(outfit)
    assert "| ".join(parse_words(text)) == text
    assert "| ".join(parse_words(f"  {text.upper().replace('|', '  |')} ")) == text


def test_words_read_as_documented():
    outfit = Outfit(
        make_garment("shirt", "gray", "striped"),
        make_garment("jeans", "blue"),
        make_garment("shoes", "black"),
    )
    assert outfit_words(outfit) == "Gray striped shirt| Blue jeans| Black shoes"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Mauve shirt| Blue jeans| Black shoes", "mauve"),
        ("Gray dotted shirt| Blue jeans| Black shoes", "dotted"),
        ("Gray shirt| Blue striped jeans| Black shoes", "striped"),
        ("Gray jeans| Blue jeans| Black shoes", "jeans"),
        ("Gray shirt| Blue jeans", "2 items"),
        ("Gray shirt| jeans| Black shoes", "jeans"),
    ],
)
def test_unknown_words_are_named(text, word):
    with pytest.raises(ValueError, match=word):
        parse_words(text)


def test_unknown_word_error_lists_what_is_known():
    with pytest.raises(ValueError, match="sneakers"):
        parse_words("Gray shirt| Blue jeans| Black clogs")
    with pytest.raises(ValueError, match="orange"):
        make_garment("shirt", "mauve")


def test_pools_never_share_words():
    rng = np.random.default_rng(0)
    drawn = {pool: [sample_outfit(rng, pool) for _ in range(200)] for pool in ("benchmark", "pretrain")}
    assert all(pool_of(outfit) == pool for pool, some in drawn.items() for outfit in some)
    assert len(set(drawn["pretrain"])) == 200
    with pytest.raises(ValueError, match="benchmark, pretrain"):
        sample_outfit(rng, "test")


def test_benchmark_holds_a_quarter_of_the_texts():
    benchmark = [
        pool_of(Outfit(make_garment(upper, colour), make_garment(lower, below), make_garment("boots", "black")))
        for upper in UPPER_KINDS
        for colour in COLOURS
        for lower in LOWER_KINDS
        for below in COLOURS
    ].count("benchmark")
    assert 0.22 < benchmark / (len(UPPER_KINDS) * len(LOWER_KINDS) * len(COLOURS) ** 2) < 0.28
