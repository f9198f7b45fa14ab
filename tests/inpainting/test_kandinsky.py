"""What Kandinsky 2.2 does besides: its prior, its mask, noise in every step, guidance by a discriminator."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file, save_file
from tiny_diffusion import SIZE, draw_pictures
from tiny_kandinsky import kandinsky as run_diffusers
from tiny_kandinsky import kandinsky_prior, save_kandinsky

from dlcr.doctor import check_weights
from dlcr.inpainting import Expander
from dlcr.inpainting.canvas import join_texts
from dlcr.inpainting.discriminator import Discriminator, save_discriminator
from dlcr.inpainting.families import kandinsky
from dlcr.params import load_params, weight_names

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("kandinsky") / "model"
    save_kandinsky(folder)
    return str(folder)


def make(model: str, **settings: object) -> Expander:
    own = {"steps": 4, "guidance": 3.0, "size": SIZE, "batch": 2, "prior": f"{model}/prior"}
    return Expander(model, **(own | settings))


def expand(expander: Expander) -> np.ndarray:
    images, masks = draw_pictures(2)
    return np.stack(expander.expand(images, masks, PROMPTS, [1, 2])).astype(int)


# --- the prior


def test_the_prior_is_that_of_diffusers(model: str) -> None:
    expander = make(model)
    for prompt in PROMPTS:
        image, zero = kandinsky_prior(Path(model), prompt)
        difference = (expander.loaded.embed(prompt) - image[0]).abs().max().item()
        print(f"prior: {difference:.1e} of {image.std():.1f}")
        assert difference < 1e-5
        assert torch.allclose(expander.loaded.embed(""), zero[0], atol=1e-6)


def test_an_outfit_has_one_embedding_whatever_was_asked_before(model: str) -> None:
    first, second = make(model), make(model)
    alone = first.loaded.embed(PROMPTS[0])
    second.loaded.embed(PROMPTS[1])
    torch.manual_seed(1)
    assert torch.equal(second.loaded.embed(PROMPTS[0]), alone)
    assert not torch.equal(second.loaded.embed(PROMPTS[1]), alone)


def test_without_a_prior_it_is_refused_and_so_is_a_prior_where_there_is_none(model: str, tiny_model: str) -> None:
    with pytest.raises(ValueError, match=r": Kandinsky 2\.2 needs inpaint\.prior, .*@<revision>$"):
        make(model, prior=None)
    with pytest.raises(ValueError, match=r" takes no prior; of such settings it knows: guidance_share, "):
        Expander(tiny_model, size=SIZE, prior=f"{model}/prior")


def test_another_model_as_prior_is_refused(model: str, tiny_model: str) -> None:
    with pytest.raises(ValueError, match=r"_class_name, expected KandinskyV22PriorPipeline: only Kandinsky 2\.2's pr"):
        make(model, prior=tiny_model)


@pytest.mark.parametrize("part", kandinsky.PRIOR.parts)
def test_a_prior_that_is_not_whole_is_refused(model: str, part: str, tmp_path: Path) -> None:
    folder = tmp_path / "prior"
    shutil.copytree(f"{model}/prior", folder)
    file = folder / f"{part}.safetensors"
    tensors = load_file(file)
    del tensors[min(tensors)]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="tensors missing: ") as found:
        make(model, prior=str(folder))
    assert str(found.value).startswith(f"{folder}, {Path(part).parent}: ")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(FileNotFoundError, match="weights are loaded as safetensors only"):
        make(model, prior=str(folder))


def test_doctor_and_pins_know_the_prior(model: str, tiny_model: str, repository: Path) -> None:
    params = load_params(repository / "profiles" / "smoke.yaml")
    models = params.models.model_copy(update={"inpainter": model})

    def look(prior: str) -> tuple[str, str]:
        inpaint = params.inpaint.model_copy(update={"prior": prior})
        asked = params.model_copy(update={"models": models, "inpaint": inpaint})
        assert weight_names(asked)["inpaint.prior"] == prior
        (found,) = [row for row in check_weights(asked, "none") if row.subject == "weights of inpaint.prior"]
        return found.state, found.found

    assert look(f"{model}/prior") == ("ok", f"{model}/prior")
    state, problem = look(tiny_model)
    assert state == "problem"
    assert "expected KandinskyV22PriorPipeline" in problem
    assert look("owner/name@main") == ("problem", "owner/name@main: not in the cache")


# --- images and masks


@given(arrays(bool, (5, 4), elements=st.booleans()))
def test_a_mask_grows_by_a_cell_as_in_diffusers(mask: np.ndarray) -> None:
    """The neighbours that diffusers' `prepare_mask` names, one by one."""
    grown = mask.copy()
    for row, column in np.argwhere(mask):
        for down, right in ((-1, 0), (0, -1), (-1, -1), (1, 0), (0, 1), (1, 1)):
            if 0 <= row + down < 5 and 0 <= column + right < 4:
                grown[row + down, column + right] = True
    assert (kandinsky.grow(torch.from_numpy(mask).float()[None, None])[0, 0].bool().numpy() == grown).all()


@pytest.mark.parametrize("solver", kandinsky.SOLVERS)
def test_latents_outside_the_mask_are_the_images(model: str, solver: str) -> None:
    expander = make(model, solver=solver)
    images, masks = draw_pictures(2)
    canvas, whole = expander.prepare(images, masks), expander.prepare(images, None).start
    texts = join_texts([expander.loaded.embed(prompt) for prompt in PROMPTS])
    latents = expander.loaded.sample(canvas, texts, expander.loaded.embed(""), [1, 2], **expander._sampler)
    kept = (canvas.mask == 0).expand_as(latents)
    assert kept.any()
    assert not kept.all()
    assert torch.equal(latents[kept], whole[kept])
    assert (latents[~kept] != whole[~kept]).float().mean() > 0.9


def test_weak_noise_keeps_the_image(model: str) -> None:
    images, _ = draw_pictures(2)
    strong, weak = (
        make(model, steps=20, guidance=1.0, strength=share).restyle(images, PROMPTS, [1, 2]) for share in (1, 0.05)
    )
    expander = make(model)
    kept = expander.loaded.decode(expander.prepare(images, None).start).astype(int)
    assert np.abs(np.stack(weak) - kept).mean() < 0.8 * np.abs(np.stack(strong) - kept).mean()


def test_sizes_are_whole_cells_of_the_latents_cells(model: str) -> None:
    with pytest.raises(ValueError, match=r"size 34x16: .* needs multiples of 4"):
        make(model, size=(34, 16))


def test_four_channels_are_refused(model: str, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    config = tmp_path / "model" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 4}))
    with pytest.raises(ValueError, match="its U-Net takes 4 channels, inpainting needs 9"):
        make(str(tmp_path / "model"))


# --- steps


@pytest.mark.parametrize(
    "change", [{"guidance_share": 0.5}, {"reuse_every": 2}, {"solver": "ddim"}, {"solver": "dpm++"}]
)
def test_settings_of_the_fast_path_count(model: str, change: dict) -> None:
    assert (expand(make(model, **change)) != expand(make(model))).any()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The published model's configuration leaves the variance that the network predicts aside; this one's takes it."""
    folder = tmp_path_factory.mktemp("learned") / "model"
    save_kandinsky(folder, "learned_range")
    return str(folder)


def test_a_learned_variance_is_that_of_diffusers(learned: str) -> None:
    expander = make(learned)
    images, masks = draw_pictures(1)
    canvas, loaded = expander.prepare(images, masks), expander.loaded
    ours = loaded.sample(canvas, join_texts([loaded.embed(PROMPTS[0])]), loaded.embed(""), [5], **expander._sampler)
    theirs = run_diffusers(
        Path(learned),
        PROMPTS[0],
        torch.from_numpy(images[0]).permute(2, 0, 1)[None].float() / 127.5 - 1,
        torch.from_numpy(masks[0]).float()[None, None],
        ours,
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=4,
        guidance_scale=3.0,
    )
    difference = (ours - theirs).abs().max().item()
    print(f"learned variance: {difference:.1e} of {theirs.std():.1f}")
    assert difference < 1e-4


def test_a_guided_step_has_the_variance_of_the_prompt(learned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network says of it without the prompt has no say, nor has the guidance scale."""
    expander = make(learned, steps=2)
    whole = expander.pipeline.unet.forward

    def changed(*arguments: object, **keywords: object) -> tuple[torch.Tensor]:
        (predicted,) = whole(*arguments, **keywords)
        predicted[rows, 4:] += 100
        return (predicted,)

    plain = expand(expander)
    monkeypatch.setattr(expander.pipeline.unet, "forward", changed)
    rows = slice(2)
    assert (expand(expander) == plain).all()
    rows = slice(2, None)
    assert (expand(expander) != plain).any()


def test_noise_of_the_steps_is_each_samples_own(model: str) -> None:
    images, masks = draw_pictures(1)
    expander = make(model, batch=3)
    found = expander.expand(images * 3, masks * 3, PROMPTS[:1] * 3, [1, 2, 1])
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_a_discriminator_guides(model: str, solver: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_discriminator(Discriminator(4, (16, 32)).eval(), tmp_path, make(model).pipeline)
    asked = {"solver": solver, "discriminator": str(tmp_path), "times": (0, 1000)}
    guided, without = (expand(make(model, weight=weight, **asked)) for weight in (5.0, 0.0))
    assert (without == expand(make(model, solver=solver))).all()
    assert (guided != without).any()
    with pytest.raises(ValueError, match=r": a discriminator does not guide solver ddpm, only one of: ddim, dpm\+\+$"):
        make(model, discriminator=str(tmp_path))


def test_fewer_steps_are_those_of_the_models_own_schedule(model: str) -> None:
    scheduler = make(model).pipeline.scheduler
    scheduler.set_timesteps(4)
    assert all(before - after == 250 for before, after in pairwise(scheduler.timesteps.tolist()))
