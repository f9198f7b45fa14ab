"""The inpainter's recipe: examples that show perfect inpainting, the loss, and the whole on a few scenes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlcr.inpainting import Expander
from dlcr.minicc import LABELS, pretrain_scene, render
from dlcr.pretrain import diffusion, diffusion_parts
from dlcr.pretrain.diffusion_pool import CLOTHES, Examples, roughen, scene_examples
from dlcr.pretrain.diffusion_score import make_trials, nearest_colour, score
from dlcr.pretrain.diffusion_vae import _seen_difference, reconstruction_psnr, standardise, start_linear, to_unit
from dlcr.reid.models.resnet import mini_resnet

SMALL = {
    "scenes": 6,
    "eyes": str(Path(__file__).parents[2] / "models" / "mini" / "backbone"),
    "held_out": 4,
    "vae_steps": 2,
    "polish_steps": 2,
    "polish_batch": 2,
    "vae_batch": 2,
    "steps": 3,
    "batch": 4,
    "warm_up": 1,
    "save_every": 2,
    "workers": 1,
}


@pytest.fixture(scope="module")
def examples() -> Examples:
    parts = [part for index in range(4) for part in scene_examples(index)]
    targets, masks, words = zip(*parts, strict=True)
    return Examples(np.stack(targets), np.stack(masks), list(words))


def test_outside_the_mask_an_example_is_the_scene_as_worn():
    for index in range(3):
        worn = render(pretrain_scene(index))
        target, mask, words = scene_examples(index)[0]
        assert (target[~mask] == worn.image[~mask]).all()
        assert (target[mask] != worn.image[mask]).any()
        assert words.count("|") == 2
    assert scene_examples(1)[0][1].mean() < 0.5
    assert scene_examples(0)[2][1].all()  # every fourth scene: the whole frame


def test_a_roughened_mask_stays_near_the_true_one():
    rng = np.random.default_rng(0)
    for index in range(5):
        mask = np.isin(render(pretrain_scene(index)).labels, CLOTHES)
        rough = roughen(mask, rng)
        assert rough.shape == mask.shape
        assert (rough & mask).sum() / (rough | mask).sum() > 0.4


def test_the_linear_start_reconstructs_before_any_step(examples):
    torch.manual_seed(0)
    vae = diffusion_parts.build_vae()
    before = reconstruction_psnr(vae, examples)["all"]
    start_linear(vae, to_unit(examples.targets))
    assert reconstruction_psnr(vae, examples)["all"] > max(18, before + 5)


def test_standardising_changes_latents_but_no_pictures(examples):
    torch.manual_seed(0)
    vae, images = diffusion_parts.build_vae(), to_unit(examples.targets)
    start_linear(vae, images)
    with torch.no_grad():
        vae.quant_conv.bias += torch.arange(8.0)
        pictures = vae.decode(vae.encode(images).latent_dist.mean).sample
        standardise(vae, images)
        latents = vae.encode(images).latent_dist.mean
        assert (vae.decode(latents).sample - pictures).abs().max() < 1e-3
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 1e-4


def test_what_is_seen_differs_with_the_picture(examples):
    eyes, images = mini_resnet(SMALL["eyes"]).eval(), to_unit(examples.targets[:4])
    with torch.no_grad():
        same = _seen_difference(eyes, images, images)
        little = _seen_difference(eyes, images + 0.05 * torch.randn(images.shape), images)
        much = _seen_difference(eyes, images.flip(0), images)
    assert same == 0
    assert 0 < little < much < 4 * 4  # unit vectors are at most 2 apart, in each of four stages


def test_words_are_single_tokens_and_the_model_is_small():
    tokenizer = diffusion_parts.build_tokenizer()
    text = "Gray striped t-shirt| Blue jeans| Black sneakers"
    assert [token.removesuffix("</w>") for token in tokenizer.tokenize(text)] == [
        "gray",
        "striped",
        "t",
        "-",
        "shirt",
        "|",
        "blue",
        "jeans",
        "|",
        "black",
        "sneakers",
    ]
    parts = diffusion_parts.build_vae(), diffusion_parts.build_unet(), diffusion_parts.build_text_encoder(tokenizer)
    assert sum(weight.numel() for part in parts for weight in part.parameters()) * 2 < 25e6


def test_the_last_time_is_pure_noise():
    schedule = diffusion_parts.build_scheduler().alphas_cumprod
    assert schedule[-1] < 1e-6
    assert (schedule.diff() < 0).all()


def test_loss_of_the_true_velocity_is_zero_and_counts_the_mask_most():
    encoded = diffusion.Encoded(
        targets=torch.randn(3, 4, 6, 4).half(),
        masked=torch.randn(3, 4, 6, 4).half(),
        masks=torch.zeros(3, 1, 6, 4, dtype=torch.bool),
        touched=torch.zeros(3, 1, 6, 4, dtype=torch.bool),
        tokens=torch.zeros(3, 16, dtype=torch.long),
    )
    encoded.touched[:, :, :3] = True
    schedule = diffusion_parts.build_scheduler().alphas_cumprod
    recipe = diffusion.Recipe(batch=8)

    def loss(wrong: float, rows: slice) -> float:
        def oracle(inputs, times, tokens):
            kept = schedule[times][:, None, None, None]
            noisy, masked = inputs[:, :4], inputs[:, 5:]
            clean = torch.stack(
                [
                    encoded.targets[next(i for i in range(3) if torch.equal(encoded.masked[i].float(), one))].float()
                    for one in masked
                ]
            )
            noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
            velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
            velocity[:, :, rows] += wrong
            return velocity

        empty = torch.zeros(16, dtype=torch.long)
        return diffusion.unet_loss(oracle, encoded, schedule, empty, recipe, torch.Generator().manual_seed(0)).item()

    assert loss(0.0, slice(None)) < 1e-8
    inside, outside = loss(1.0, slice(0, 3)), loss(1.0, slice(3, 6))
    assert inside == pytest.approx(10 * outside, rel=1e-3)
    assert inside + outside == pytest.approx(1.0, rel=1e-3)


def test_recipe_saves_what_loads_and_continues_where_it_was_stopped(tmp_path, monkeypatch):
    small = {"block_out_channels": (16, 32, 32), "norm_num_groups": 4}
    build = diffusion_parts.build_unet().__class__
    config = {**diffusion_parts.build_unet().config, **small}
    monkeypatch.setattr(diffusion, "build_unet", lambda: build.from_config(config))
    monkeypatch.chdir(tmp_path)
    scores = diffusion.pretrain(tmp_path / "whole", SMALL)
    assert {"vae_psnr_all", "vae_psnr_holes", "psnr_holes", "colour_upper"} <= set(scores)
    Expander(str(tmp_path / "whole"), size=(96, 48))
    states = list((tmp_path / ".dlcr" / "checkpoints").glob("*/unet.pt"))
    assert len(states) == 1
    assert torch.load(states[0], weights_only=True)["step"] == 3
    weights = "unet/diffusion_pytorch_model.safetensors"
    states[0].unlink()
    with monkeypatch.context() as patch:
        patch.setattr(diffusion, "unet_loss", _stop_at(diffusion.unet_loss, 3))
        with pytest.raises(KeyboardInterrupt):
            diffusion.pretrain(tmp_path / "continued", SMALL)
    diffusion.pretrain(tmp_path / "continued", SMALL)
    assert (tmp_path / "continued" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def _stop_at(function, call: int):
    calls = iter(range(1, 100))

    def stopping(*arguments):
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments)

    return stopping


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_truth_scores_best():
    trials = make_trials(range(30, 50))
    best = score(trials, [trial.truth for trial in trials])
    worst = score(trials, [trial.image for trial in trials])
    assert best["psnr_holes"] == np.inf
    for part in ("upper", "lower", "footwear"):
        assert best[f"colour_{part}"] > 0.9
        assert worst[f"colour_{part}"] < best[f"colour_{part}"]
    red = np.full_like(trials[0].image, (200, 28, 36))
    assert LABELS.index("upper") in trials[0].labels
    assert nearest_colour(trials[0], red, "upper") in ("red", "brown", "orange", "pink", "purple")
