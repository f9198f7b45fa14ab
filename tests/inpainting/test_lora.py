"""LoRAs become part of the weights; few-step solvers, by name, are those of diffusers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, LCMScheduler, StableDiffusionXLInpaintPipeline
from safetensors.torch import save_file
from tiny_all import TINY
from tiny_diffusion import SIZE, draw_pictures
from tiny_families import open_pipeline

from dlcr.inpainting import Expander
from dlcr.inpainting.canvas import draw_from, join_texts, make_generators

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
WORDS = "encoder.layers.0.self_attn.q_proj"
RANK, ALPHA = 2, 4.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("lora") / "model"
    TINY["sdxl"].save(folder)
    return str(folder)


def make(model: str, **settings: object) -> Expander:
    return Expander(model, **({"steps": 3, "guidance": 1.0, "size": SIZE, "batch": 4} | settings))


def expand(expander: Expander) -> np.ndarray:
    images, masks = draw_pictures(2)
    return np.stack(expander.expand(images, masks, PROMPTS, [1, 2])).astype(int)


def halves(network: torch.nn.Module, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A random down and up matrix for a layer."""
    weight = network.get_submodule(name).weight
    torch.manual_seed(0)
    down = torch.randn(RANK, *weight.shape[1:])
    return down, torch.randn(len(weight), RANK, *(1 for _ in weight.shape[2:]))


def changed(before: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float) -> torch.Tensor:
    """Element by element, as the definition has it."""
    after = before.clone()
    for row in range(len(before)):
        after[row] += scale * sum(up.flatten(1)[row, rank] * down[rank] for rank in range(RANK))
    return after


@pytest.mark.parametrize("names", ["kohya", "peft", "diffusers"])
def test_a_lora_is_added_to_the_weights(model: str, names: str, tmp_path: Path) -> None:
    plain = make(model).pipeline
    layers = {
        ("unet", "lora_unet_", ATTENTION): plain.unet,
        ("unet", "lora_unet_", CONVOLUTION): plain.unet,
        ("text_encoder", "lora_te1_text_model_", WORDS): plain.text_encoder,
        ("text_encoder_2", "lora_te2_text_model_", WORDS): plain.text_encoder_2,
    }
    tensors, expected = {}, {}
    for (part, prefix, name), network in layers.items():
        name = name if name in dict(network.named_modules()) else f"text_model.{name}"
        down, up = halves(network, name)
        bare = name.removeprefix("text_model.")
        if names == "kohya":
            key = prefix + bare.replace(".", "_")
            tensors |= {
                f"{key}.lora_down.weight": down,
                f"{key}.lora_up.weight": up,
                f"{key}.alpha": torch.tensor(ALPHA),
            }
        else:
            key = f"{part}.{'text_model.' * (part != 'unet')}{bare}"
            first, second = {"peft": ("lora_A", "lora_B"), "diffusers": ("lora.down", "lora.up")}[names]
            tensors |= {f"{key}.{first}.weight": down, f"{key}.{second}.weight": up}
        scale = ALPHA / RANK if names == "kohya" else 1.0
        expected[part, name] = changed(network.get_submodule(name).weight, down, up, scale)
    save_file(tensors, tmp_path / "lora.safetensors")
    expander = make(model, lora=str(tmp_path / "lora.safetensors"))
    for part in ("unet", "text_encoder", "text_encoder_2"):
        before, network = getattr(plain, part), getattr(expander.pipeline, part)
        for name, values in network.named_parameters():
            layer = (part, name.removesuffix(".weight"))
            known = expected[layer] if name.endswith("weight") and layer in expected else before.get_parameter(name)
            assert torch.allclose(values, known, atol=1e-6), name
    assert len(expected) == 4
    assert (expand(expander) != expand(make(model))).any()


@pytest.mark.parametrize(
    ("key", "down", "up", "message"),
    [
        ("lora_unet_input_blocks_4_1_proj_in", (2, 16), (16, 2), "it has no layer unet_input_blocks_4_1_proj_in$"),
        (
            "lora_unet_" + ATTENTION.replace(".", "_"),
            (2, 9),
            (16, 2),
            r"\[16, 2\] by \[2, 9\] is no change of a weight",
        ),
        ("lora_unet_" + ATTENTION.replace(".", "_"), (2, 16), None, "expected a down and an up matrix, found down$"),
    ],
)
def test_a_lora_that_does_not_fit_is_refused_in_one_line(
    model: str, tmp_path: Path, key: str, down: tuple, up: tuple | None, message: str
) -> None:
    tensors = {f"{key}.lora_down.weight": torch.ones(down)}
    if up is not None:
        tensors[f"{key}.lora_up.weight"] = torch.ones(up)
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match=message) as found:
        make(model, lora=str(tmp_path / "lora.safetensors"))
    assert "\n" not in str(found.value)


def test_other_files_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file, and not 'owner/name@revision:path/in/the/repo\.safe"):
        make(model, lora="nothing.safetensors")
    (tmp_path / "a").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="not a safetensors file, or cut short"):
        make(model, lora=str(tmp_path / "a"))
    save_file({"unet.conv_in.dora_scale": torch.ones(1)}, tmp_path / "b")
    with pytest.raises(ValueError, match=r"dora_scale: expected names of tensors that end with \.lora_down\.weight"):
        make(model, lora=str(tmp_path / "b"))


SCHEDULERS = {
    "lcm": (LCMScheduler, {}),
    "lightning": (EulerDiscreteScheduler, {"timestep_spacing": "trailing"}),
    "hyper": (DDIMScheduler, {"timestep_spacing": "trailing", "clip_sample": False}),
}


@pytest.mark.parametrize("solver", SCHEDULERS)
def test_a_few_step_solver_agrees_with_the_pipeline_of_diffusers(model: str, solver: str) -> None:
    """With the same noise, that between the steps too."""
    expander = make(model, solver=solver)
    images, masks = draw_pictures(1)
    loaded, canvas = expander.loaded, expander.prepare(images, masks)
    texts = join_texts([loaded.embed(PROMPTS[0])])
    ours = loaded.sample(canvas, texts, loaded.embed(""), [5], **expander._sampler)
    pipeline = open_pipeline(StableDiffusionXLInpaintPipeline, Path(model))
    kind, settings = SCHEDULERS[solver]
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **settings)
    (generator,) = make_generators([5])
    theirs = pipeline(
        PROMPTS[0],
        image=torch.from_numpy(images[0]).permute(2, 0, 1)[None].float() / 127.5 - 1,
        mask_image=torch.from_numpy(masks[0]).float()[None, None],
        latents=draw_from([generator], ours.shape[1:]),
        generator=generator,
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=3,
        guidance_scale=1.0,
        strength=1.0,
        output_type="latent",
    ).images
    difference = (ours - theirs).abs().max().item()
    print(f"{solver}: {difference:.1e} of {theirs.std():.1f}")
    assert difference < 1e-4


@pytest.mark.parametrize("solver", SCHEDULERS)
def test_a_sample_of_a_few_step_solver_has_its_own_noise(model: str, solver: str) -> None:
    images, masks = draw_pictures(4)
    prompts = PROMPTS * 2
    one, four = (make(model, solver=solver, batch=batch).expand(images, masks, prompts, range(4)) for batch in (1, 4))
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(one, four, strict=True)) <= 1
    assert (expand(make(model, solver=solver)) == expand(make(model, solver=solver))).all()


@pytest.mark.parametrize("solver", SCHEDULERS)
def test_a_discriminator_does_not_guide_them(model: str, solver: str) -> None:
    with pytest.raises(ValueError, match=f"a discriminator does not guide solver {solver}, only one of: ddim, dpm"):
        make(model, solver=solver, discriminator="folder")
