"""Pictures and label maps, and re-rendering in other clothes."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from dlcr.minicc import (
    COLOURS,
    DOMAINS,
    FOOTWEAR_KINDS,
    LABELS,
    LOWER_KINDS,
    PATTERNS,
    UPPER_KINDS,
    Outfit,
    benchmark_scenes,
    contact_sheet,
    make_garment,
    pretrain_scene,
    render,
    sample_outfit,
)

CLOTHES = (4, 5, 6)


def same(first, second):
    return np.array_equal(first.image, second.image) and np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize("domain", DOMAINS)
def test_rendering_twice_gives_the_same_bytes(domain):
    for scene in benchmark_scenes(domain, train_subjects=2, val_subjects=0, test_subjects=0)[::7]:
        assert same(render(scene), render(scene))


def test_rendering_keeps_no_state():
    alone = render(pretrain_scene(5))
    for index in (3, 9, 1):
        render(pretrain_scene(index))
    assert same(alone, render(pretrain_scene(5)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_any_scene_is_a_picture_with_a_person(index):
    rendered = render(pretrain_scene(index))
    assert (rendered.image.shape, rendered.image.dtype) == ((96, 48, 3), np.uint8)
    assert (rendered.labels.shape, rendered.labels.dtype) == ((96, 48), np.uint8)
    assert rendered.labels.max() < len(LABELS)
    assert np.isin(rendered.labels, CLOTHES).mean() > 0.02
    assert rendered.image.std() > 8


def test_labels_cover_everything_a_person_shows():
    seen = np.zeros(len(LABELS), int)
    for index in range(40):
        seen += np.bincount(render(pretrain_scene(index, domain_mix=False)).labels.ravel(), minlength=len(LABELS))
    assert (seen > 500).all()
    assert 0.10 < 1 - seen[0] / seen.sum() < 0.40


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_other_clothes_change_only_clothes(index, seed):
    scene = pretrain_scene(index)
    other = sample_outfit(np.random.default_rng(seed), "pretrain")
    before, after = render(scene), render(scene, other)
    assert same(after, render(dataclasses.replace(scene, outfit=other)))
    # Edges of what stands in front let unlabelled clothes shine through, so the masks are taken without it.
    bare = dataclasses.replace(scene, view=dataclasses.replace(scene.view, companions=(), occluder=""))
    clothes = np.isin(render(bare).labels, CLOTHES) | np.isin(render(bare, other).labels, CLOTHES)
    near = binary_dilation(clothes, structure=np.ones((3, 3)), iterations=4)
    assert np.array_equal(before.image[~near], after.image[~near])
    assert np.array_equal(before.labels[~near], after.labels[~near])


@cache
def plain_scene():
    scene = next(s for s in map(pretrain_scene, range(100)) if s.domain == "minicc" and not s.view.occluder)
    return dataclasses.replace(scene, pose=dataclasses.replace(scene.pose, yaw=0.4))


def test_every_kind_colour_and_pattern_renders():
    scene, seen = plain_scene(), set()
    lowers = [(kind, colour) for kind in LOWER_KINDS for colour in COLOURS]
    shoes = [(kind, colour) for kind in FOOTWEAR_KINDS for colour in COLOURS]
    uppers = [(kind, colour, pattern) for kind in UPPER_KINDS for colour in COLOURS for pattern in PATTERNS]
    for number, upper in enumerate(uppers):
        outfit = Outfit(make_garment(*upper), make_garment(*lowers[number % 44]), make_garment(*shoes[number * 3 % 44]))
        rendered = render(scene, outfit)
        assert set(CLOTHES) <= set(np.unique(rendered.labels).tolist())
        seen.add(rendered.image.tobytes())
    assert len(seen) == len(uppers)


@pytest.mark.parametrize("colour", COLOURS)
def test_cloth_has_its_named_colour(colour):
    scene = plain_scene()
    outfit = Outfit(make_garment("t-shirt", colour), make_garment("trousers", "white"), make_garment("shoes", "black"))
    rendered = render(scene, outfit)
    cloth = np.percentile(rendered.image[rendered.labels == 4], 75, axis=0) / np.asarray(scene.setup.tint)

    def level(rgb):
        """Chromaticity, and a little of the brightness."""
        return np.append(np.asarray(rgb, float) / (np.sum(rgb) + 60), np.sum(rgb) / 2000)

    nearest = min(COLOURS, key=lambda name: np.linalg.norm(level(COLOURS[name]) - level(cloth)))
    assert nearest == colour


def test_other_pedestrians_are_background():
    scene = next(
        s
        for s in map(pretrain_scene, range(200))
        if any(not c.front for c in s.view.companions) and not any(c.front for c in s.view.companions)
    )
    alone = dataclasses.replace(scene, view=dataclasses.replace(scene.view, companions=()))
    assert np.array_equal(render(scene).labels, render(alone).labels)
    assert not np.array_equal(render(scene).image, render(alone).image)


def test_larger_pictures_show_the_same():
    scene = plain_scene()
    small, large = render(scene), render(scene, size=(192, 96))
    assert (large.labels[::2, ::2] == small.labels).mean() > 0.93


def test_contact_sheet_lays_pictures_out():
    sheet = contact_sheet([np.zeros((96, 48, 3), np.uint8)] * 3, columns=2, scale=2)
    assert sheet.size == (2 * (2 * 48 + 2), 2 * (2 * 96 + 2))
    with pytest.raises(ValueError, match="pictures"):
        contact_sheet([], columns=2)
