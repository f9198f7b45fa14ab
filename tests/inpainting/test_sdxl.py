"""What only U-Nets do, with SDXL: image to image, step caching, guidance by a discriminator."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_diffusion import SIZE, draw_pictures
from tiny_families import save_sdxl

from dlcr.inpainting import Expander
from dlcr.inpainting.discriminator import Discriminator, save_discriminator

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sdxl") / "model"
    save_sdxl(folder)
    return str(folder)


def make(model: str, **settings: object) -> Expander:
    return Expander(model, **({"steps": 4, "guidance": 3.0, "size": SIZE, "batch": 2} | settings))


def expand(expander: Expander) -> np.ndarray:
    images, masks = draw_pictures(2)
    return np.stack(expander.expand(images, masks, PROMPTS, [1, 2])).astype(int)


def test_weak_noise_keeps_the_image(model: str) -> None:
    images, _ = draw_pictures(2)
    strong, weak = (
        make(model, steps=20, guidance=1.0, strength=share).restyle(images, PROMPTS, [1, 2]) for share in (1, 0.05)
    )
    expander = make(model)
    kept = expander.loaded.decode(expander.prepare(images, None).start)
    for number in range(2):
        assert (
            np.abs(weak[number] - kept[number].astype(int)).mean()
            < np.abs(strong[number] - kept[number].astype(int)).mean()
        )


@pytest.mark.parametrize("change", [{"guidance_share": 0.5}, {"reuse_every": 2}, {"solver": "dpm++"}])
def test_settings_of_the_fast_path_count(model: str, change: dict) -> None:
    assert (expand(make(model, **change)) != expand(make(model))).any()


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_a_discriminator_guides(model: str, prediction: str, tmp_path: Path) -> None:
    path = Path(model, "scheduler", "scheduler_config.json")
    plain = path.read_text()
    path.write_text(json.dumps(json.loads(plain) | {"prediction_type": prediction, "rescale_betas_zero_snr": False}))
    try:
        torch.manual_seed(0)
        save_discriminator(Discriminator(4, (16, 32), prediction).eval(), tmp_path, make(model).pipeline)
        guided, without = (
            expand(make(model, discriminator=str(tmp_path), weight=weight, times=(0, 1000))) for weight in (5.0, 0.0)
        )
        assert (without == expand(make(model))).all()
        assert (guided != without).any()
    finally:
        path.write_text(plain)


def test_a_refiner_and_four_channels_are_refused(model: str) -> None:
    index = Path(model, "model_index.json")
    plain = index.read_text()
    index.write_text(json.dumps(json.loads(plain) | {"requires_aesthetics_score": True}))
    try:
        with pytest.raises(ValueError, match="a refiner, which needs aesthetic scores: use an inpainting model"):
            make(model)
    finally:
        index.write_text(plain)
    config = Path(model, "unet", "config.json")
    plain = config.read_text()
    config.write_text(json.dumps(json.loads(plain) | {"in_channels": 4}))
    try:
        with pytest.raises(ValueError, match="its U-Net takes 4 channels, inpainting needs 9"):
            make(model)
    finally:
        config.write_text(plain)


def test_the_sizes_that_the_network_is_told_are_the_canvas_s(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expander, told = make(model, steps=1), []
    whole = expander.pipeline.unet.forward

    def forward(*arguments: object, added_cond_kwargs: dict, **keywords: object) -> object:
        told.append(added_cond_kwargs["time_ids"])
        return whole(*arguments, added_cond_kwargs=added_cond_kwargs, **keywords)

    monkeypatch.setattr(expander.pipeline.unet, "forward", forward)
    expand(expander)
    assert told[0].tolist() == [[32.0, 16.0, 0.0, 0.0, 32.0, 16.0]] * 4
