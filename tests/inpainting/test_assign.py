import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcr.inpainting import assign_outfits
from dlcr.runtime.seeds import seed_of

IDS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=8, unique=True)
CLOTHES = [f"{subject}-{suit}" for subject in range(4) for suit in (1, 2)]


@st.composite
def datasets(draw):
    ids = draw(IDS)
    return ids, [draw(st.sampled_from(CLOTHES)) for _ in ids]


@settings(max_examples=40, deadline=None)
@given(datasets(), st.integers(1, 6), st.integers(0, 5))
def test_every_image_gets_k_different_other_outfits(data, k, seed):
    ids, clothes = data
    table = assign_outfits(ids, clothes, CLOTHES, k, seed, "d")
    worn = dict(zip(ids, clothes, strict=True))
    assert len(table) == k * len(ids)
    for image_id, rows in table.groupby("image_id"):
        targets = rows["target_clothes"].tolist()
        assert len(set(targets)) == k
        assert worn[image_id] not in targets
        assert rows["variant"].tolist() == list(range(k))
    assert table[["variant", "image_id"]].apply(tuple, axis=1).is_monotonic_increasing


@settings(max_examples=40, deadline=None)
@given(datasets(), st.integers(1, 6), st.integers(0, 5), st.randoms())
def test_a_larger_k_only_adds_and_order_or_company_do_not_matter(data, k, seed, random):
    ids, clothes = data
    full = assign_outfits(ids, clothes, CLOTHES, 7, seed, "d")
    first = assign_outfits(ids, clothes, CLOTHES, k, seed, "d")
    assert full[full["variant"] < k].reset_index(drop=True).equals(first)
    pairs = list(zip(ids, clothes, strict=True))
    random.shuffle(pairs)
    some = pairs[: max(1, len(pairs) // 2)]
    alone = assign_outfits(*zip(*some, strict=True), CLOTHES[::-1], k, seed, "d")
    expected = first[first["image_id"].isin(alone["image_id"])].reset_index(drop=True)
    assert expected.equals(alone)


def test_seeds_name_dataset_image_and_variant():
    table = assign_outfits(["a", "b"], ["0-1", "0-1"], CLOTHES, 2, 3, "minicc")
    assert table["seed"].tolist() == [seed_of(3, "minicc", i, v) for v in (0, 1) for i in ("a", "b")]


def test_draws_are_uniform():
    ids = [str(number) for number in range(3000)]
    table = assign_outfits(ids, ["0-1"] * len(ids), CLOTHES, 1, 0, "d")
    counts = table["target_clothes"].value_counts()
    assert len(counts) == 7
    assert (abs(counts - 3000 / 7) < 5 * (3000 / 7) ** 0.5).all()


def test_outfits_that_nobody_wears_are_all_others():
    table = assign_outfits(["a"], ["0-1"], ["random-0000", "random-0001"], 2, 0, "d")
    assert sorted(table["target_clothes"]) == ["random-0000", "random-0001"]


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"k is 8, but image 'a' \(clothes '0-1'\) has only 7 other outfits"):
        assign_outfits(["a"], ["0-1"], CLOTHES, 8, 0, "d")
    with pytest.raises(ValueError, match="'a' occurs twice"):
        assign_outfits(["a", "a"], ["0-1", "0-2"], CLOTHES, 1, 0, "d")
    with pytest.raises(ValueError, match="2 image_ids but 1 source clothes"):
        assign_outfits(["a", "b"], ["0-1"], CLOTHES, 1, 0, "d")
