"""Sets of kind garment: whose picture is shown, file by file, whatever the order, the batch and K."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_adapter import save_adapter
from tiny_diffusion import SIZE

from dlcr.data import open_generated, open_images, open_masks
from dlcr.inpainting import generate_set, plan_set
from dlcr.inpainting.adapter_files import adapter_fingerprint
from dlcr.inpainting.expander import Expander
from dlcr.inpainting.families import find_family
from dlcr.inpainting.garments import choose_garments, decode_garment, garment_picture, shown_garments
from dlcr.inpainting.kinds import garment, inpainting
from dlcr.params import Params, load_params
from dlcr.params.items import Garment
from dlcr.runtime.store import Store

PROMPTS = {"1-1": "Gray shirt| Blue jeans| Black shoes", "2-1": "Red coat| Black skirt| Brown boots"}
FILE = "models/ip-adapter_sd15.safetensors"


@pytest.fixture(scope="module")
def adapter(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(folder, tiny_model, FILE)
    return str(folder)


def made_up_plan(people: int, k: int, shuffle: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A plan for `people` of four images in two clothes, and their images, in an order of its own."""
    rows = pd.DataFrame(
        [
            {"image_id": f"{person}-{suit}-{number}", "subject": str(person), "clothes": f"{person}-{suit}"}
            for person in range(people)
            for suit in range(2)
            for number in range(2)
        ]
    ).sample(frac=1, random_state=shuffle)
    prompts = dict.fromkeys(sorted(rows["clothes"]), "Red coat")
    return plan_set(rows, prompts, k, 0, "tiny", dict.fromkeys(rows["image_id"], "own"), {}), rows


def choose(people: int = 4, k: int = 3, shuffle: int = 0, unusable: dict | None = None, seed: int = 0) -> pd.DataFrame:
    plan, rows = made_up_plan(people, k, shuffle)
    sources = {image_id: f"sum of {image_id}" for image_id in rows["image_id"]}
    return choose_garments(plan, rows, sources, unusable or {}, seed, "tiny")


def test_an_outfit_is_shown_by_an_image_of_it() -> None:
    found = choose()
    assert (found["garment"].str.rsplit("-", n=1).str[0] == found["target_clothes"]).all()
    assert (found["garment_source"] == "sum of " + found["garment"]).all()
    assert (found["skipped"] == "").all()
    assert found.groupby("target_clothes")["garment"].nunique().max() == 2  # not always the same one


def test_the_choice_depends_on_image_and_variant_alone() -> None:
    whole, columns = choose(), ["image_id", "variant", "garment"]
    pd.testing.assert_frame_equal(choose(shuffle=1), whole)
    grown = choose(k=4)
    pd.testing.assert_frame_equal(grown[grown["variant"] < 3].reset_index(drop=True)[columns], whole[columns])
    assert (choose(seed=1)["garment"] != whole["garment"]).any()


def test_images_without_a_usable_mask_are_not_shown_and_clothes_without_any_are_skipped() -> None:
    found = choose(unusable={"1-0-0": "empty mask", "2-1-0": "empty mask", "2-1-1": "implausible mask"})
    assert not set(found["garment"]) & {"1-0-0", "2-1-0", "2-1-1"}
    assert "1-0-1" in set(found["garment"])
    lacking = found["target_clothes"] == "2-1"
    assert lacking.any()
    assert (found.loc[lacking, "skipped"] == "no garment: no usable mask of clothes 2-1").all()
    assert (found.loc[lacking, ["garment", "garment_source"]] == "").all(axis=None)
    assert (found.loc[~lacking, "skipped"] == "").all()


def test_clothes_of_another_dataset_are_an_error() -> None:
    plan, rows = made_up_plan(3, 2)
    rows = rows[rows["clothes"] != "0-1"]
    with pytest.raises(ValueError, match="tiny: no training image of clothes '0-1', whose picture is to be shown"):
        choose_garments(plan, rows, {}, {}, 0, "tiny")


def tiny_plan(dataset: Path, k: int = 1, prompts: dict[str, str] = PROMPTS) -> pd.DataFrame:
    rows, masks = pd.read_parquet(dataset / "manifest.parquet"), open_masks(dataset / "masks")
    skipped = {image_id: "empty mask" for image_id in rows["image_id"] if masks.status(image_id) == "empty"}
    sources = dict.fromkeys(rows["image_id"], "source")
    plan = plan_set(rows, prompts, k, 0, "tiny", sources, skipped)
    return choose_garments(plan, rows, sources, skipped, 0, "tiny")


def make(
    folder: Path, dataset: Path, build: partial, store: Path, rows: pd.DataFrame | None = None, block: int = 2
) -> dict[str, bytes]:
    images, masks = open_images(dataset / "images"), open_masks(dataset / "masks")
    read = lambda image_id: (images.encoded(image_id), masks.encoded(image_id))  # noqa: E731
    generate_set(folder, tiny_plan(dataset) if rows is None else rows, build, read, {"kind": "x"}, block, Store(store))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.arrow"))}


def painter(model: str, adapter: str | None, told: bool = True, batch: int = 4, scale: float = 1.0) -> partial:
    settings = {"steps": 2, "guidance": 2.0, "size": SIZE, "batch": batch, "family": find_family(model)}
    if adapter is None:
        return partial(inpainting.build, model, settings)
    return partial(garment.build, model, settings | {"adapter": adapter, "adapter_scale": scale}, told)


def test_a_set_shows_the_picture_and_says_which(
    tiny_model: str, adapter: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    """Every variant is what `Expander` makes of the picture that the set names, and the text plays no part."""
    make(tmp_path / "set", tiny_dataset, painter(tiny_model, adapter, told=False), tmp_path / "store")
    made, shown = open_generated(tmp_path / "set"), shown_garments(tmp_path / "set").set_index(["image_id", "variant"])
    images, masks = open_images(tiny_dataset / "images"), open_masks(tiny_dataset / "masks")
    table = made.table()
    assert (table["prompt"] == table["target_clothes"].map(PROMPTS)).all()  # what is to be seen, told or not
    expander = Expander(tiny_model, steps=2, guidance=2.0, size=SIZE, adapter=adapter)
    clothes = pd.read_parquet(tiny_dataset / "manifest.parquet").set_index("image_id")["clothes"]
    for row in table[table["skipped"] == ""].itertuples():
        picture = shown.loc[(row.image_id, row.variant), "garment"]
        assert clothes[picture] == row.target_clothes
        image, mask = images[row.image_id], masks[row.image_id]
        garments = [garment_picture(images[picture], masks[picture])]
        (alone,) = expander.expand([image], [mask], [""], [row.seed], garments)
        variant = made[row.image_id, row.variant]
        assert np.abs(variant.astype(int) - alone).max() <= 1
        assert (variant[~mask] == image[~mask]).all()
        assert row.change > 0


def test_the_same_bytes_in_any_order_and_after_a_stop(
    tiny_model: str, adapter: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    build, rows = painter(tiny_model, adapter), tiny_plan(tiny_dataset)
    whole = make(tmp_path / "whole", tiny_dataset, build, tmp_path / "a")
    assert make(tmp_path / "again", tiny_dataset, build, tmp_path / "b") == whole
    ids = sorted(set(rows["image_id"]))
    for first in (4, 2, 0):
        part = rows[rows["image_id"].isin(ids[first : first + 2])]
        make(tmp_path / "part", tiny_dataset, build, tmp_path / "c", part)
    assert make(tmp_path / "joined", tiny_dataset, build, tmp_path / "c") == whole
    (tmp_path / "whole" / min(whole)).unlink()
    assert make(tmp_path / "whole", tiny_dataset, build, tmp_path / "a") == whole


def test_batches_of_one_and_four_differ_by_a_level_at_most(
    tiny_model: str, adapter: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    for batch in (1, 4):
        build = painter(tiny_model, adapter, batch=batch)
        make(tmp_path / str(batch), tiny_dataset, build, tmp_path / f"store-{batch}", block=6)
    one, four = (open_generated(tmp_path / str(batch)) for batch in (1, 4))
    for image_id in one.image_ids:
        if not one.skipped(image_id, 0):
            assert np.abs(one[image_id, 0].astype(int) - four[image_id, 0]).max() <= 1


def test_at_scale_0_with_the_text_it_is_the_set_of_kind_inpainting(
    tiny_model: str, adapter: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    make(tmp_path / "shown", tiny_dataset, painter(tiny_model, adapter, scale=0.0), tmp_path / "a")
    rows = tiny_plan(tiny_dataset).drop(columns=["garment", "garment_source"])
    make(tmp_path / "told", tiny_dataset, painter(tiny_model, None), tmp_path / "b", rows)
    shown, told = open_generated(tmp_path / "shown"), open_generated(tmp_path / "told")
    pd.testing.assert_frame_equal(shown.table(), told.table())
    assert [shown.encoded(i, 0) for i in shown.image_ids] == [told.encoded(i, 0) for i in told.image_ids]


def test_what_is_shown_is_part_of_a_files_key(tiny_dataset: Path, tmp_path: Path) -> None:
    store, rows = tmp_path / "store", tiny_plan(tiny_dataset).assign(skipped="a reason")
    plain = partial(lambda: lambda chunk: [])
    make(tmp_path / "set", tiny_dataset, plain, store, rows)
    make(tmp_path / "set", tiny_dataset, plain, store, rows)
    for column in ("garment", "garment_source"):
        other = make(tmp_path / "other", tiny_dataset, plain, store, rows.assign(**{column: "train/001.png"}))
        assert other != make(tmp_path / "set", tiny_dataset, plain, store, rows)


def test_sets_of_other_kinds_do_not_say_what_was_shown(tiny_model: str, tiny_dataset: Path, tmp_path: Path) -> None:
    rows = tiny_plan(tiny_dataset).drop(columns=["garment", "garment_source"])
    make(tmp_path / "set", tiny_dataset, painter(tiny_model, None), tmp_path / "store", rows)
    with pytest.raises(ValueError, match=r"block-0000\.arrow: does not say what was shown"):
        shown_garments(tmp_path / "set")


def test_a_damaged_picture_is_named(tiny_dataset: Path) -> None:
    masks = open_masks(tiny_dataset / "masks")
    with pytest.raises(ValueError, match=r"train/000\.png"):
        decode_garment("train/000.png", b"GIF89a", masks.encoded("train/000.png"))


# --- params.yaml


@pytest.fixture
def params(repository: Path, tiny_model: str, adapter: str) -> Params:
    params = load_params(repository / "profiles" / "smoke.yaml")
    models = params.models.model_copy(update={"inpainter": tiny_model})
    return params.model_copy(update={"models": models})


def test_the_adapter_is_of_sets_of_this_kind_alone(params: Params, adapter: str) -> None:
    entry = params.generated["inpainting"]
    own = entry.model_copy(update={"garment": Garment(adapter=adapter)})
    (with_it, shown), (plain, identity) = (inpainting.choose(params, one) for one in (own, entry))
    assert shown == identity
    assert with_it.args == plain.args
    entry = entry.model_copy(update={"kind": "garment", "garment": Garment(adapter=adapter, text=True, scale=0.6)})
    build, identity = garment.choose(params, entry)
    assert build.args[1]["adapter"] == adapter
    assert build.args[1]["adapter_scale"] == 0.6
    assert build.args[2] is True
    assert identity["adapter"] == adapter_fingerprint(adapter, FILE)
    assert (identity["adapter_scale"], identity["text"]) == (0.6, True)
    with pytest.raises(ValueError, match=r"is shown clothes by an IP-Adapter: name one \(garment\.adapter\)"):
        garment.choose(params, entry.model_copy(update={"garment": Garment()}))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: colour, k: 1}", "kind: colour, k: 1, garment: {}}", "generated.colour.garment: kind colour shows no"),
        ("kind: colour, k: 1}", "kind: garment, garment: {txt: true}}", "generated.colour.garment.txt: unknown key"),
        ("kind: colour, k: 1}", "kind: garment, garment: {scale: -1.0}}", "generated.colour.garment.scale: .*, found"),
        ("  solver: dpm++", "  solver: dpm++\n  adaptor: x", "inpaint.adaptor: unknown key"),
    ],
)
def test_bad_settings_name_the_key(repository: Path, tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (repository / "profiles" / "smoke.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        load_params(tmp_path / "params.yaml")
