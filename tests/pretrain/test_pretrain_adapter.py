"""The adapter's recipe: garments worn by another person, the files that diffusers loads, the shipped model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline

from dlcr.inpainting import Expander
from dlcr.inpainting.diffusion import load_inpainter
from dlcr.minicc import pretrain_scene, render
from dlcr.pretrain import adapter
from dlcr.pretrain.adapter_parts import FOLDER, WEIGHTS, attach, pixels_of
from dlcr.pretrain.adapter_score import make_shown_trials
from dlcr.pretrain.diffusion_score import nearest_colour

MINI = Path(__file__).parents[2] / "models" / "mini"
SMALL = {
    "inpainter": str(MINI / "inpainter"), "scenes": 4, "held_out": 3, "encoder_steps": 3, "encoder_batch": 4,
    "steps": 2, "batch": 2, "warm_up": 1, "save_every": 2, "workers": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def inpainter():
    return load_inpainter(SMALL["inpainter"])


def test_outside_the_mask_an_example_is_the_scene_as_worn_and_the_garment_is_worn_by_another() -> None:
    for index in range(3):
        worn = render(pretrain_scene(index))
        target, mask, words, garment = adapter.scene_examples(index)[0]
        assert (target[~mask] == worn.image[~mask]).all()
        assert (target[mask] != worn.image[mask]).any()
        assert words.count("|") == 2
        assert garment.shape[0] == garment.shape[1]
        assert (garment == 255).all(axis=2).mean() > 0.3  # nothing but clothes


def test_what_is_said_of_words_is_at_each_garment_and_the_end(inpainter) -> None:
    texts = ["Gray striped shirt| Blue jeans| Black shoes", "Red t-shirt| Black shorts| White sneakers"]
    ids = inpainter.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    said = adapter._words(inpainter, ids)
    for row, text in enumerate(texts):
        names = [inpainter.tokenizer.decode([token]) for token in ids[row]]
        places = [names.index("|") - 1, len(names) - 1 - names[::-1].index("|") - 1]
        places += [names.index("<|endoftext|>") - 1, names.index("<|endoftext|>")]
        assert names[places[2]] == text.split()[-1].lower()
        states = inpainter.text_encoder(ids[row : row + 1]).last_hidden_state[0]
        torch.testing.assert_close(said[row], states[places])


def test_a_new_adapter_begins_with_the_layers_for_text_and_nothing_else_learns() -> None:
    unet = load_inpainter(SMALL["inpainter"]).unet.requires_grad_(False)
    layers = [name for name in unet.attn_processors if "attn2" in name]
    own = [unet.get_submodule(name.removesuffix(".processor")).to_k.weight.clone() for name in layers]
    projection, processors = attach(unet)
    for weight, processor in zip(own, processors, strict=True):
        assert torch.equal(processor.to_k_ip[0].weight, weight)
    learning = {name for name, one in unet.named_parameters() if one.requires_grad}
    assert learning
    assert all("_ip." in name or name.startswith("encoder_hid_proj") for name in learning)
    assert sum(p.numel() for p in (*projection.parameters(), *processors.parameters())) == sum(
        one.numel() for one in unet.parameters() if one.requires_grad
    )


@pytest.mark.slow
def test_recipe_saves_what_diffusers_loads_and_continues_where_it_was_stopped(tmp_path, monkeypatch, inpainter) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "a"))
    scores = adapter.pretrain(tmp_path / "whole", SMALL)
    assert {"told_psnr_holes", "shown_colour_upper", "both_colour_lower", "recipe"} <= set(scores)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "b"))
    monkeypatch.setattr(adapter, "adapter_loss", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        adapter.pretrain(tmp_path / "parts", SMALL)
    monkeypatch.undo()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "b"))
    adapter.pretrain(tmp_path / "parts", SMALL)
    for path in (tmp_path / "whole").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes(), path.name
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(SMALL["inpainter"], safety_checker=None)
    pipeline.load_ip_adapter(tmp_path / "whole", subfolder=FOLDER, weight_name=WEIGHTS)
    pictures = pixels_of([np.full((20, 20, 3), 90, np.uint8)])
    shown = pipeline.image_encoder(pictures).image_embeds
    generator = torch.Generator().manual_seed(0)
    inputs, texts = torch.randn(1, 9, 24, 12, generator=generator), torch.randn(1, 16, 128, generator=generator)
    found = pipeline.unet(inputs, 7, texts, added_cond_kwargs={"image_embeds": [shown[:, None]]}).sample
    plain = inpainter.unet(inputs, torch.tensor(7), texts).sample
    assert (found - plain).abs().max() > 1e-3


def test_the_shipped_adapter_paints_the_colours_that_it_is_shown() -> None:
    """Of plain garments on people, outfits and cameras that training never showed; the text is empty."""
    trials, garments = make_shown_trials(range(7_000, 7_024))
    expander = Expander(
        str(MINI / "inpainter"), steps=4, guidance=3.25, size=(96, 48), solver="dpm++", adapter=str(MINI / "adapter")
    )
    images, masks = [trial.image for trial in trials], [trial.mask for trial in trials]
    painted = expander.expand(images, masks, [""] * len(trials), list(range(len(trials))), garments=garments)
    for part, least in (("upper", 0.7), ("lower", 0.6)):
        right = [
            nearest_colour(trial, image, part) == getattr(trial.wanted, part).colour
            for trial, image in zip(trials, painted, strict=True)
            if trial.visible(part).sum() >= 40 and getattr(trial.wanted, part).pattern == "plain"
        ]
        assert len(right) >= 8
        assert np.mean(right) >= least, part
