import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import SIZE

from dlcr.data import open_generated, open_images, open_masks, read_table
from dlcr.data.shards import checksum, encode_png
from dlcr.inpainting import (
    Expander,
    generate_set,
    inpainting_painter,
    oracle_painter,
    plan_set,
    standard_painter,
)
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


def paint_plainly(image_ids):
    """Stands for a model: an image of one colour that depends on the seed alone."""

    def paint(rows):
        return [np.full((4, 2, 3), seed % 251, np.uint8) for seed in rows["seed"]]

    return paint


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.arrow"))}


def test_rows_say_what_they_are(tiny_dataset, tmp_path):
    counts = generate_set(tmp_path / "set", plan(tiny_dataset, 2), paint_plainly, {"kind": "test"}, 4, Store(tmp_path))
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
    store, asked = Store(tmp_path / "store"), []

    def painter(image_ids):
        asked.append(image_ids)
        return paint_plainly(image_ids)

    generate_set(tmp_path / "set", plan(tiny_dataset, 2), painter, {}, 4, store)
    two = contents(tmp_path / "set")
    asked.clear()
    counts = generate_set(tmp_path / "set", plan(tiny_dataset, 3), painter, {}, 4, store)
    three = contents(tmp_path / "set")
    assert (counts.made, counts.taken) == (6, 12)
    assert len(asked) == 2  # each block opened once, for the new variant
    assert {name: three[name] for name in two} == two
    assert len(three) == 6
    counts = generate_set(tmp_path / "set", plan(tiny_dataset, 2), painter, {}, 4, store)
    assert counts.made == 0
    assert contents(tmp_path / "set") == two


def test_whatever_makes_a_file_is_part_of_its_key(tiny_dataset, tmp_path):
    store = Store(tmp_path / "store")
    rows = plan(tiny_dataset, 1)
    generate_set(tmp_path / "set", rows, paint_plainly, {"model": "a"}, 6, store)

    def made(rows, identity):
        return generate_set(tmp_path / "set", rows, paint_plainly, identity, 6, store).made

    assert made(rows, {"model": "a"}) == 0
    assert made(rows, {"model": "b"}) == 6
    for column in ("prompt", "source", "subject"):
        assert made(rows.assign(**{column: "other"}), {"model": "a"}) == 6
    assert made(plan(tiny_dataset, 1, seed=1), {"model": "a"}) == 6


def test_inpainting_keeps_what_is_outside_the_masks(tiny_model, tiny_dataset, tmp_path):
    images, masks = open_images(tiny_dataset / "images"), open_masks(tiny_dataset / "masks")
    expander = Expander(tiny_model, steps=2, guidance=2.0, size=SIZE, solver="ddim", batch=3)
    painter = inpainting_painter(expander, images, masks)
    generate_set(tmp_path / "set", plan(tiny_dataset, 2), painter, {}, 4, Store(tmp_path / "store"))
    generated = open_generated(tmp_path / "set")
    for image_id in generated.image_ids:
        if masks.status(image_id) == "ok":
            first, second = generated[image_id, 0], generated[image_id, 1]
            outside = ~masks[image_id]
            assert (first[outside] == images[image_id][outside]).all()
            assert (first != second).any()
    standard = standard_painter(expander, images)
    generate_set(tmp_path / "standard", plan(tiny_dataset, 1), standard, {}, 4, Store(tmp_path / "store"))
    assert open_generated(tmp_path / "standard")["train/000.png", 0].shape == (*SIZE, 3)


def test_oracle_asks_for_image_and_clothes(tiny_dataset, tmp_path):
    def draw(image_id, clothes):
        return np.full((4, 2, 3), len(image_id) + int(clothes[0]), np.uint8)

    generate_set(tmp_path / "set", plan(tiny_dataset, 2), oracle_painter(draw), {}, 4, Store(tmp_path / "store"))
    generated = open_generated(tmp_path / "set")
    clothes = generated.target_clothes("train/000.png", 1)
    assert (generated["train/000.png", 1] == 13 + int(clothes[0])).all()


def generate_with(model: str, dataset: Path, folder: Path, store: Path):
    expander = Expander(model, steps=2, guidance=2.0, size=SIZE, solver="dpm++", batch=2)
    painter = inpainting_painter(expander, open_images(dataset / "images"), open_masks(dataset / "masks"))
    return generate_set(folder, plan(dataset, 4), painter, {}, 1, Store(store))


SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from test_generate import generate_with
generate_with({model!r}, *map(Path, sys.argv[1:]))
"""


def test_killed_in_the_middle_it_continues_with_the_same_bytes(tiny_model, tiny_dataset, tmp_path):
    script = SCRIPT.format(tests=str(Path(__file__).parent), model=tiny_model)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", script, tiny_dataset, killed, tmp_path / "store"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list(killed.glob("*.arrow"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = contents(killed)
    assert 3 <= len(before) < 24
    for path in killed.iterdir():  # as DVC does before it runs a stage again
        path.unlink()
    counts = generate_with(tiny_model, tiny_dataset, killed, tmp_path / "store")
    assert counts.taken >= 2  # the file in work when the process died may lack in the store
    assert generate_with(tiny_model, tiny_dataset, whole, tmp_path / "other").taken == 0
    assert contents(killed) == contents(whole)
    assert {name: contents(whole)[name] for name in before} == before


def test_a_mask_of_another_size_is_refused(tiny_model, tiny_dataset, tmp_path):
    class Masks:
        folder = "masks"

        def __getitem__(self, image_id):
            return np.ones((3, 3), bool)

    expander = Expander(tiny_model, steps=1, size=SIZE)
    painter = inpainting_painter(expander, open_images(tiny_dataset / "images"), Masks())
    with pytest.raises(ValueError, match=r"mask of 'train/000.png' is \[3, 3\], its image \[32, 16\]"):
        generate_set(tmp_path / "set", plan(tiny_dataset, 1), painter, {}, 4, Store(tmp_path / "store"))


def test_shards_carry_what_made_them(tiny_dataset, tmp_path):
    generate_set(tmp_path / "set", plan(tiny_dataset, 1), paint_plainly, {"kind": "test"}, 6, Store(tmp_path / "store"))
    path = tmp_path / "set" / "variant-000-block-0000.arrow"
    assert read_table(path).num_rows == 6
    assert open_generated(tmp_path / "set").fingerprint["set"] == {"kind": "test"}
