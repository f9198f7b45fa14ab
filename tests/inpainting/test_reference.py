"""Clothes shown as a reference image, by FLUX.2 klein and FLUX.1 Kontext; and the families that can show none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_adapter import draw_garments
from tiny_all import TINY
from tiny_diffusion import SIZE, draw_pictures

from dlcr.inpainting import Expander
from dlcr.inpainting.canvas import draw_noise, join_texts
from dlcr.inpainting.families import find_family

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]


@pytest.fixture(scope="module", params=["flux2_klein", "flux_kontext"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reference") / request.param
    TINY[request.param].save(folder)
    return str(folder)


def make(model: str, batch: int = 4) -> Expander:
    return Expander(model, steps=2, guidance=4.0, size=SIZE, batch=batch)


def expand(expander: Expander, garments: list[np.ndarray | None] | None) -> np.ndarray:
    images, masks = draw_pictures(4)
    return np.stack(expander.expand(images, masks, PROMPTS * 2, list(range(4)), garments)).astype(int)


def test_agrees_with_the_pipeline_of_diffusers(model: str) -> None:
    expander = make(model)
    images, masks = draw_pictures(1)
    (picture,) = draw_garments(1)
    loaded, canvas = expander.loaded, expander.prepare(images, masks)
    texts, empty = join_texts([loaded.embed(PROMPTS[0])]), loaded.embed("")
    settings = expander._sampler | {"steps": 3}
    ours = loaded.sample(canvas, texts, empty, [5], shown=join_texts([loaded.look(picture)]), **settings)
    theirs = TINY[Path(model).name].reference(
        Path(model),
        PROMPTS[0],
        torch.from_numpy(images[0]).permute(2, 0, 1)[None].float() / 127.5 - 1,
        torch.from_numpy(masks[0]).float()[None, None],
        draw_noise([5], ours.shape[1:]),
        image_reference=Image.fromarray(picture).resize((min(SIZE), min(SIZE)), Image.Resampling.LANCZOS),
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=3,
        guidance_scale=4.0,
    )
    difference = (ours - theirs).abs().max().item()
    print(f"{Path(model).name} with a reference: {difference:.1e} of {theirs.std():.1f}")
    assert difference < 1e-5
    plain = loaded.sample(canvas, texts, empty, [5], **settings)
    assert (ours - plain).abs().max() > 100 * 1e-5


def test_the_picture_counts_and_outside_the_mask_nothing_changes(model: str) -> None:
    images, masks = draw_pictures(4)
    garments = draw_garments(5)
    first, again = (expand(make(model), garments[:4]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for new, other, old, mask in zip(first, expand(make(model), garments[1:]), images, masks, strict=True):
        assert (new[~mask] == old[~mask]).all()
        assert (new != other).any()


def test_a_sample_does_not_depend_on_its_batch(model: str) -> None:
    garments = draw_garments(4)
    alone, four = (expand(make(model, batch), garments) for batch in (1, 4))
    mixed = expand(make(model), [garments[0], None, None, garments[3]])
    print(f"largest difference: {np.abs(alone - four).max()}, mixed {np.abs(mixed - four)[[0, 3]].max()}")
    assert np.abs(alone - four).max() <= 1
    assert np.abs(mixed - four)[[0, 3]].max() <= 1
    np.testing.assert_array_equal(expand(make(model), [None] * 4), expand(make(model), None))


@pytest.mark.parametrize("name", ["flux_fill", "qwen_image", "stable_diffusion_3"])
def test_families_without_a_way_say_which_have_one(name: str, tmp_path: Path) -> None:
    TINY[name].save(tmp_path)
    images, masks = draw_pictures(1)
    expander = Expander(str(tmp_path), steps=2, size=SIZE)
    with pytest.raises(ValueError, match=r"can't be shown a picture of clothes; these can: FLUX.1 K.*FLUX.2 k.*XL"):
        expander.expand(images, masks, PROMPTS[:1], [0], draw_garments(1))
    with pytest.raises(ValueError, match="takes no adapter; of such settings it knows: "):
        Expander("not loaded", adapter="folder", family=find_family(str(tmp_path)))


def test_a_reference_needs_no_adapter(model: str) -> None:
    with pytest.raises(ValueError, match=r"takes no adapter; of such"):
        Expander("not loaded", adapter="folder", family=find_family(model))
