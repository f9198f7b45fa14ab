"""What families that predict a flow share: blending, image to image, guidance, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_all import TINY
from tiny_diffusion import SIZE, draw_pictures
from tiny_families import save_flux2_klein

from dlcr.inpainting import Expander
from dlcr.inpainting.canvas import join_texts
from dlcr.inpainting.families import _flow as flow

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]
FLOWS = [name for name in TINY if name not in ("kandinsky", "sdxl")]
BLENDED = [name for name in FLOWS if name != "flux_fill"]
GUIDED = [name for name in BLENDED if name != "flux_kontext"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("flow")
    for name in FLOWS:
        TINY[name].save(folder / name)
    return {name: str(folder / name) for name in FLOWS}


def make(model: str, **settings: object) -> Expander:
    return Expander(model, **({"steps": 4, "guidance": 1.0, "size": SIZE, "batch": 2} | settings))


@pytest.mark.parametrize("name", BLENDED)
def test_latents_outside_the_mask_are_the_images(models: dict[str, str], name: str) -> None:
    expander = make(models[name], steps=2)
    images, masks = draw_pictures(2)
    canvas = expander.prepare(images, masks)
    texts = join_texts([expander.loaded.embed(prompt) for prompt in PROMPTS])
    latents = expander.loaded.sample(canvas, texts, expander.loaded.embed(""), [1, 2], **expander._sampler)
    kept = (canvas.mask == 0).expand_as(latents)
    assert kept.any()
    assert not kept.all()
    assert torch.equal(latents[kept], canvas.start[kept])
    assert (latents[~kept] != canvas.start[~kept]).float().mean() > 0.9


@pytest.mark.parametrize("name", FLOWS)
def test_weak_noise_keeps_the_image(models: dict[str, str], name: str) -> None:
    images, _ = draw_pictures(2)
    strong, weak = (
        make(models[name], steps=steps, strength=1.0 if steps == 2 else 1 / steps).restyle(images, PROMPTS, [1, 2])
        for steps in (2, 40)
    )
    expander = make(models[name])
    kept = expander.loaded.decode(expander.prepare(images, None).start).astype(int)
    assert np.abs(np.stack(weak) - kept).mean() < 0.8 * np.abs(np.stack(strong) - kept).mean()


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_ends_after_its_share_of_the_steps(
    models: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expander, sizes = make(models[name], guidance=3.0, guidance_share=0.5), []
    whole = expander.pipeline.transformer.forward

    def forward(**arguments: torch.Tensor) -> object:
        sizes.append(len(arguments["hidden_states"]))
        return whole(**arguments)

    monkeypatch.setattr(expander.pipeline.transformer, "forward", forward)
    images, masks = draw_pictures(2)
    expander.expand(images, masks, PROMPTS, [1, 2])
    assert sizes == [4, 4, 2, 2]


def test_guidance_of_a_distilled_model_is_refused(tmp_path: Path) -> None:
    save_flux2_klein(tmp_path, is_distilled=True)
    with pytest.raises(ValueError, match=r": distilled, without guidance: expected guidance 1, got 4$"):
        make(str(tmp_path), guidance=4.0)
    images, masks = draw_pictures(1)
    assert len(Expander(str(tmp_path), size=SIZE).expand(images, masks, PROMPTS[:1], [1])) == 1  # its own defaults


def test_one_step_of_a_stretched_schedule_is_refused(models: dict[str, str]) -> None:
    """diffusers divides zero by zero there."""
    images, masks = draw_pictures(1)
    with pytest.raises(ValueError, match=r"^steps 1: .*expected at least 2$"):
        make(models["qwen_image"], steps=1).expand(images, masks, PROMPTS[:1], [1])


def test_sizes_are_whole_tokens(models: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"size 34x16: .* needs multiples of 4"):
        make(models["flux_fill"], size=(34, 16))


def test_tokens_go_back_to_where_they_came_from() -> None:
    latents = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    tokens = flow.pack(latents)
    assert tokens.shape == (2, 6, 12)
    assert tokens[0, 1].tolist() == [
        channel * 24 + row * 6 + column for channel in range(3) for row in (0, 1) for column in (2, 3)
    ]
    assert torch.equal(flow.unpack(tokens, 4, 6), latents)
