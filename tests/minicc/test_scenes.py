"""The benchmark's layout, and that pretraining shares nothing with it."""

import random

import numpy as np
import pytest

from dlcr.minicc import DOMAINS, benchmark_cameras, benchmark_scenes, outfit_words, pool_of, pretrain_scene
from dlcr.minicc.difficulty import KEPT

SLOTS = ("upper", "lower", "footwear")


@pytest.fixture(scope="module")
def scenes():
    return benchmark_scenes()


def test_layout_has_the_documented_counts(scenes):
    counts = {split: sum(scene.split == split for scene in scenes) for split in {scene.split for scene in scenes}}
    assert counts == {
        "train": 576,
        "val_gallery": 48,
        "val_query": 48,
        "gallery": 240,
        "query": 240,
        "query_sc": 120,
    }
    assert len({scene.image_id for scene in scenes}) == len(scenes)
    assert [scene.image_id for scene in scenes] == sorted(scene.image_id for scene in scenes)
    assert "train/0007/A_0007-1_003.png" in {scene.image_id for scene in scenes}


def test_cameras_a_and_b_share_clothes_and_c_differs(scenes):
    worn: dict[tuple[str, str], set] = {}
    for scene in scenes:
        worn.setdefault((scene.subject, scene.camera), set()).add((scene.clothes, scene.outfit))
    for (subject, camera), outfits in worn.items():
        assert len(outfits) == 1
        if camera == "B":
            assert outfits == worn[subject, "A"]
        if camera == "C":
            assert not {clothes for clothes, _ in outfits} & {clothes for clothes, _ in worn[subject, "A"]}
            assert not {outfit for _, outfit in outfits} & {outfit for _, outfit in worn[subject, "A"]}


def test_some_garments_are_kept_and_uppers_change() -> None:
    scenes = benchmark_scenes(train_subjects=0, val_subjects=0, test_subjects=400, images_per_camera=1)
    first = {scene.subject: scene.outfit for scene in scenes if scene.camera == "A"}
    then = {scene.subject: scene.outfit for scene in scenes if scene.camera == "C"}
    same = {slot: np.mean([getattr(first[s], slot) == getattr(then[s], slot) for s in first]) for slot in SLOTS}
    assert same["upper"] == 0
    assert same["lower"] == pytest.approx(KEPT["lower"], abs=0.08)
    assert same["footwear"] == pytest.approx(KEPT["footwear"], abs=0.08)
    assert {pool_of(outfit) for outfit in (*first.values(), *then.values())} == {"benchmark"}


def test_roles_have_their_cameras_and_subjects(scenes):
    cameras = {split: {s.camera for s in scenes if s.split == split} for split in ("gallery", "query", "query_sc")}
    assert cameras == {"gallery": {"A"}, "query": {"C"}, "query_sc": {"B"}}
    roles = [{s.subject for s in scenes if s.image_id.startswith(role)} for role in ("train", "val", "test")]
    assert [len(role) for role in roles] == [48, 12, 60]
    assert len(set.union(*roles)) == 120


def test_more_subjects_change_nobody(scenes):
    small = benchmark_scenes(train_subjects=2, val_subjects=1, test_subjects=1, images_per_camera=2)
    known = {scene.image_id: scene for scene in scenes}
    assert all(known[scene.image_id] == scene for scene in small)
    assert benchmark_scenes(train_subjects=2, val_subjects=0, test_subjects=0, seed=1)[0].person != scenes[0].person


def test_domains_and_pretraining_are_disjoint(scenes):
    groups = [
        scenes,
        *(benchmark_scenes(domain, train_subjects=8, val_subjects=2, test_subjects=8) for domain in DOMAINS[1:]),
        [pretrain_scene(index) for index in range(150)],
    ]
    people = [
        {scene.person for scene in group} | {other.person for scene in group for other in scene.view.companions}
        for group in groups
    ]
    cameras = [{scene.setup for scene in group} for group in groups]
    for sets in (people, cameras):
        assert sum(len(one) for one in sets) == len(set.union(*sets))
    outfits = [{outfit_words(scene.outfit) for scene in group} for group in groups]
    others = [{outfit_words(other.outfit) for scene in group for other in scene.view.companions} for group in groups]
    assert not set.union(*outfits[:3], *others[:3]) & (outfits[3] | others[3])
    assert {pool_of(scene.outfit) for scene in groups[3]} == {"pretrain"}


def test_pretrain_scenes_have_random_access_and_mix_domains():
    order = list(range(40))
    random.Random(0).shuffle(order)
    shuffled = {index: pretrain_scene(index) for index in order}
    assert [shuffled[index] for index in range(40)] == [pretrain_scene(index) for index in range(40)]
    assert {scene.domain for scene in shuffled.values()} == set(DOMAINS)
    assert {pretrain_scene(index, domain_mix=False).domain for index in range(20)} == {"minicc"}
    with pytest.raises(ValueError, match="negative"):
        pretrain_scene(-1)


def test_unknown_domain_is_named():
    with pytest.raises(ValueError, match=r"minicc-fog.*minicc-night"):
        benchmark_scenes("minicc-fog")
    assert set(benchmark_cameras("minicc")) == {"A", "B", "C"}
