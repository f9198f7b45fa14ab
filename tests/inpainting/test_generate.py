import multiprocessing
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_diffusion import SIZE

from dlcr.data import open_generated, open_images, open_masks, read_table
from dlcr.data.shards import MEASURES, checksum, encode_png
from dlcr.inpainting import Sample, generate_set, plan_set
from dlcr.inpainting.kinds import colour, inpainting, standard
from dlcr.inpainting.painters import one_by_one
from dlcr.inpainting.quality import measure
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.store import Store

PROMPTS = {
    f"{subject}-{suit}": f"Gray shirt| Blue jeans| {colour} shoes"
    for subject, suit, colour in (
        (1, 1, "Black"),
        (1, 2, "White"),
        (2, 1, "Red"),
        (2, 2, "Brown"),
        (3, 1, "Blue"),
    )
}


def plan(dataset: Path, k: int, seed: int = 0) -> pd.DataFrame:
    rows = pd.read_parquet(dataset / "manifest.parquet")
    masks = open_masks(dataset / "masks")
    skipped = {image_id: "empty mask" for image_id in rows["image_id"] if masks.status(image_id) == "empty"}
    return plan_set(rows, PROMPTS, k, seed, "tiny", dict.fromkeys(rows["image_id"], "source"), skipped)


def plain_painter():
    """Stands for a model: an image of one colour that depends on the seed alone."""

    def paint(chunk):
        images = [np.full((4, 2, 3), seed % 251, np.uint8) for seed in chunk.seeds]
        return [Sample(encode_png(image), "", dict.fromkeys(MEASURES, 0.5)) for image in images]

    return paint


def nothing(image_id):
    return b"", b""


def pixels_of(dataset: Path):
    """Reads images with their masks."""
    images, masks = open_images(dataset / "images"), open_masks(dataset / "masks")
    return lambda image_id: (images.encoded(image_id), masks.encoded(image_id))


def make(folder: Path, rows: pd.DataFrame, block: int, store: Store, identity: dict | None = None, build=plain_painter):
    return generate_set(folder, rows, build, nothing, identity or {}, block, store)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.arrow"))}


def test_rows_say_what_they_are(tiny_dataset, tmp_path):
    counts = make(tmp_path / "set", plan(tiny_dataset, 2), 4, Store(tmp_path))
    generated = open_generated(tmp_path / "set")
    assert (generated.variants, len(generated.image_ids)) == (2, 6)
    assert (counts.made, counts.taken, counts.skipped) == (12, 0, 2)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        f"variant-00{variant}-block-000{block}.arrow" for variant in (0, 1) for block in (0, 1)
    ]
    for row in generated.table().itertuples():
        assert row.target_clothes != row.source_clothes
        assert row.prompt == PROMPTS[row.target_clothes]
        assert row.seed == seed_of(0, "tiny", row.image_id, row.variant)
        image = generated[row.image_id, row.variant]
        if row.skipped:
            assert (row.image_id, row.skipped, image, row.checksum) == ("train/002.png", "empty mask", None, "")
        else:
            assert (image == row.seed % 251).all()
            assert row.checksum == checksum(encode_png(image))


def test_a_larger_k_keeps_the_files_and_a_smaller_one_removes_the_rest(tiny_dataset, tmp_path):
    store, built, asked = Store(tmp_path / "store"), [], []

    def build():
        built.append(True)
        paint = plain_painter()
        return lambda chunk: asked.append(chunk.image_ids) or paint(chunk)

    make(tmp_path / "set", plan(tiny_dataset, 2), 4, store, build=build)
    two = contents(tmp_path / "set")
    asked.clear()
    counts = make(tmp_path / "set", plan(tiny_dataset, 3), 4, store, build=build)
    three = contents(tmp_path / "set")
    assert (counts.made, counts.taken) == (6, 12)
    assert len(asked) == 2  # each block once, for the new variant
    assert {name: three[name] for name in two} == two
    assert len(three) == 6
    assert len(built) == 2
    counts = make(tmp_path / "set", plan(tiny_dataset, 2), 4, store, build=build)
    assert counts.made == 0
    assert len(built) == 2  # a model is loaded only if something is to be made
    assert contents(tmp_path / "set") == two


def test_whatever_makes_a_file_is_part_of_its_key(tiny_dataset, tmp_path):
    store = Store(tmp_path / "store")
    rows = plan(tiny_dataset, 1)
    make(tmp_path / "set", rows, 6, store, {"model": "a"})

    def made(rows, identity):
        return make(tmp_path / "set", rows, 6, store, identity).made

    assert made(rows, {"model": "a"}) == 0
    assert made(rows, {"model": "b"}) == 6
    for column in ("prompt", "source", "subject"):
        assert made(rows.assign(**{column: "other"}), {"model": "a"}) == 6
    assert made(plan(tiny_dataset, 1, seed=1), {"model": "a"}) == 6


SETTINGS = {"steps": 2, "guidance": 2.0, "size": SIZE, "batch": 3}


@pytest.mark.parametrize("kind", ["inpainting", "colour"])
def test_masked_kinds_keep_what_is_outside_the_masks(tiny_model, tiny_dataset, tmp_path, kind):
    build = partial(inpainting.build, tiny_model, SETTINGS) if kind == "inpainting" else colour.build
    read = pixels_of(tiny_dataset)
    generate_set(tmp_path / "set", plan(tiny_dataset, 2), build, read, {}, 4, Store(tmp_path / "store"))
    generated, table = open_generated(tmp_path / "set"), open_generated(tmp_path / "set").table()
    images, masks = open_images(tiny_dataset / "images"), open_masks(tiny_dataset / "masks")
    for image_id in generated.image_ids:
        if masks.status(image_id) == "ok":
            first, second = generated[image_id, 0], generated[image_id, 1]
            outside = ~masks[image_id]
            assert (first[outside] == images[image_id][outside]).all()
            assert (first != second).any()
            found = table[(table["image_id"] == image_id) & (table["variant"] == 1)].iloc[0]
            expected = measure(images[image_id], second, masks[image_id])
            assert found[list(MEASURES)].to_dict() == pytest.approx(expected)


def test_standard_repaints_everything(tiny_model, tiny_dataset, tmp_path):
    build = partial(standard.build, tiny_model, SETTINGS)
    generate_set(
        tmp_path / "set", plan(tiny_dataset, 1), build, pixels_of(tiny_dataset), {}, 4, Store(tmp_path / "store")
    )
    generated, images = open_generated(tmp_path / "set"), open_images(tiny_dataset / "images")
    assert (generated["train/000.png", 0][:4] != images["train/000.png"][:4]).any()


def test_what_is_drawn_one_by_one_knows_image_and_clothes(tiny_dataset, tmp_path):
    def draw(image, mask, chunk, place):
        return np.full((*SIZE, 3), len(chunk.image_ids[place]) + int(chunk.clothes[place][0]), np.uint8)

    read, store = pixels_of(tiny_dataset), Store(tmp_path / "store")
    generate_set(tmp_path / "set", plan(tiny_dataset, 2), partial(one_by_one, draw), read, {}, 4, store)
    generated = open_generated(tmp_path / "set")
    clothes = generated.target_clothes("train/000.png", 1)
    assert (generated["train/000.png", 1] == 13 + int(clothes[0])).all()


@pytest.mark.parametrize("kind", ["inpainting", "colour", "oracle"])
def test_an_unreadable_image_is_skipped_with_the_reason(tiny_model, tiny_dataset, tmp_path, kind):
    """Each image's own failure: truncated, foreign, empty; the others are made as without it."""
    build = {
        "inpainting": partial(inpainting.build, tiny_model, SETTINGS),
        "colour": colour.build,
        "oracle": partial(one_by_one, lambda image, mask, chunk, place: np.zeros((*SIZE, 3), np.uint8)),
    }[kind]
    read = pixels_of(tiny_dataset)
    broken = {"train/001.png": read("train/001.png")[0][:60], "train/004.png": b"GIF89a", "train/005.png": b""}

    def read_broken(image_id):
        return broken.get(image_id, read(image_id)[0]), read(image_id)[1]

    rows = plan(tiny_dataset, 2)
    counts = generate_set(tmp_path / "set", rows, build, read_broken, {}, 3, Store(tmp_path / "a"))
    generated = open_generated(tmp_path / "set")
    assert counts.skipped == 2 * 4
    for image_id in broken:
        assert generated[image_id, 1] is None
        assert generated.skipped(image_id, 1).startswith(f"unreadable image: {image_id}: ")
    generate_set(tmp_path / "whole", rows, build, read, {}, 3, Store(tmp_path / "b"))
    whole = open_generated(tmp_path / "whole")
    for image_id in ("train/000.png", "train/003.png"):
        assert np.abs(generated[image_id, 1].astype(int) - whole[image_id, 1]).max() <= 1


def generate_with(model: str, dataset: Path, folder: Path, store: Path):
    build = partial(inpainting.build, model, SETTINGS | {"batch": 2, "solver": "dpm++"})
    return generate_set(folder, plan(dataset, 4), build, pixels_of(dataset), {}, 1, Store(store))


def generate_quietly(model: str, dataset: Path, folder: Path, store: Path) -> None:
    torch.set_num_threads(1)
    generate_with(model, dataset, folder, store)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_bytes(tiny_model, tiny_dataset, tmp_path):
    """SIGKILL at random moments, of loading, painting and writing alike; the output is removed each time, as by DVC."""
    generate_with(tiny_model, tiny_dataset, tmp_path / "whole", tmp_path / "other")
    whole = contents(tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")  # starts a process in no time
    context.set_forkserver_preload(["dlcr.inpainting.expander"])
    rng, kills, taken, latest = np.random.default_rng(0), 0, 0, 1.6
    store, folder = tmp_path / "store", tmp_path / "killed"
    while kills < 20:
        process = context.Process(target=generate_quietly, args=(tiny_model, tiny_dataset, folder, store))
        process.start()
        process.join(rng.uniform(0.2, latest))
        if process.is_alive():
            kills += 1
            process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        found = contents(folder)
        assert found.items() <= whole.items()  # a file is whole or not there
        taken = max(taken, len(found))
        latest *= 1 if found else 1.15  # a slow machine writes its first file later
        if len(found) == len(whole):
            shutil.rmtree(store)  # finished between the kills: from the beginning
        shutil.rmtree(folder, ignore_errors=True)
    assert taken > 0
    counts = generate_with(tiny_model, tiny_dataset, folder, store)
    assert counts.made + counts.taken == 24
    assert contents(folder) == whole


def test_a_mask_of_another_size_is_refused(tiny_model, tiny_dataset, tmp_path):
    images, mask = open_images(tiny_dataset / "images"), encode_png(np.ones((3, 3), bool))
    build = partial(inpainting.build, tiny_model, SETTINGS)
    with pytest.raises(ValueError, match=r"mask of 'train/000.png' is \[3, 3\], its image \[32, 16\]"):
        generate_set(
            tmp_path / "set",
            plan(tiny_dataset, 1),
            build,
            lambda image_id: (images.encoded(image_id), mask),
            {},
            4,
            Store(tmp_path / "store"),
        )


def test_the_order_of_chunks_changes_nothing(tiny_model, tiny_dataset, tmp_path):
    """Every file alone, last first: the same bytes as all in order, where each follows from the one before."""
    rows, read = plan(tiny_dataset, 2), pixels_of(tiny_dataset)
    build = partial(inpainting.build, tiny_model, SETTINGS)
    generate_set(tmp_path / "all", rows, build, read, {}, 2, Store(tmp_path / "a"))
    store = Store(tmp_path / "b")
    for variant in (1, 0):
        for first in (4, 2, 0):
            ids = sorted(set(rows["image_id"]))[first : first + 2]
            part = rows[(rows["variant"] == variant) & rows["image_id"].isin(ids)]
            generate_set(tmp_path / "part", part, build, read, {}, 2, store)
    counts = generate_set(tmp_path / "joined", rows, build, read, {}, 2, store)
    assert counts.made == 0
    assert contents(tmp_path / "joined") == contents(tmp_path / "all")


def test_shards_carry_what_made_them(tiny_dataset, tmp_path):
    make(tmp_path / "set", plan(tiny_dataset, 1), 6, Store(tmp_path / "store"), {"kind": "test"})
    path = tmp_path / "set" / "variant-000-block-0000.arrow"
    assert read_table(path).num_rows == 6
    assert open_generated(tmp_path / "set").fingerprint["set"] == {"kind": "test"}
