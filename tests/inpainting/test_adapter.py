"""An IP-Adapter in the fast path: as diffusers' own pipelines do it, sample by sample, and gone without a picture."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_adapter import draw_garments, save_adapter
from tiny_diffusion import SIZE, draw_pictures, save_random_pipeline
from tiny_families import means_only, save_sdxl

from dlcr.inpainting import Expander
from dlcr.inpainting.adapter_files import adapter_files, adapter_fingerprint
from dlcr.inpainting.canvas import draw_noise, join_texts
from dlcr.inpainting.diffusion import make_scheduler

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]
FAMILIES: dict[str, tuple[Callable[[Path], None], type[DiffusionPipeline], str]] = {
    "stable_diffusion": (save_random_pipeline, StableDiffusionInpaintPipeline, "models/ip-adapter_sd15"),
    "sdxl": (save_sdxl, StableDiffusionXLInpaintPipeline, "sdxl_models/ip-adapter_sdxl"),
}
LARGEST = 1e-4


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp(name) / "model"
    FAMILIES[name][0](folder)
    return str(folder)


@pytest.fixture(scope="module")
def adapter(name: str, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both kinds: the family's own file, and a Plus beside it."""
    folder = tmp_path_factory.mktemp(name) / "adapter"
    for ending, plus in (("", False), ("-plus", True)):
        save_adapter(folder, model, f"{FAMILIES[name][2]}{ending}.safetensors", plus)
    return folder


@pytest.fixture(params=["", "-plus"])
def chosen(request: pytest.FixtureRequest, name: str, adapter: Path) -> str:
    """The folder, whose file the family finds, and the path of the other file."""
    return str(adapter / f"{FAMILIES[name][2]}-plus.safetensors") if request.param else str(adapter)


def make(model: str, adapter: str | Path | None, **settings: object) -> Expander:
    wanted = {"steps": 3, "guidance": 3.0, "size": SIZE, "batch": 4, "solver": "ddim"} | settings
    return Expander(model, adapter=adapter and str(adapter), **wanted)


def expand(expander: Expander, garments: list[np.ndarray | None] | None, prompts: list[str] = PROMPTS) -> np.ndarray:
    images, masks = draw_pictures(4)
    return np.stack(expander.expand(images, masks, prompts * 2, list(range(4)), garments)).astype(int)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_agrees_with_the_pipeline_of_diffusers(name: str, model: str, chosen: str, scale: float) -> None:
    """Latents from the same picture, noise, prompt, image, mask, steps and guidance."""
    expander = make(model, chosen, adapter_scale=scale)
    images, masks = draw_pictures(1)
    (picture,) = draw_garments(1)
    loaded, canvas = expander.loaded, expander.prepare(images, masks)
    ours = loaded.sample(
        canvas,
        join_texts([loaded.embed(PROMPTS[0])]),
        loaded.embed(""),
        [5],
        shown=join_texts([loaded.look(picture)]),
        **expander._sampler,
    )
    whole = FAMILIES[name][1].from_pretrained(model)
    whole.set_progress_bar_config(disable=True)
    means_only(whole.vae)
    whole.scheduler = make_scheduler(expander.pipeline, "ddim")
    weights = Path(adapter_files(chosen, f"{FAMILIES[name][2]}.safetensors")[0])
    whole.load_ip_adapter(str(weights.parents[1]), subfolder=weights.parent.name, weight_name=weights.name)
    whole.set_ip_adapter_scale(scale)
    theirs = whole(
        PROMPTS[0],
        image=torch.from_numpy(images[0]).permute(2, 0, 1)[None].float() / 127.5 - 1,
        mask_image=torch.from_numpy(masks[0]).float()[None, None],
        ip_adapter_image=Image.fromarray(picture),
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=3,
        guidance_scale=3.0,
        latents=draw_noise([5], ours.shape[1:]),
        output_type="latent",
        strength=1.0,
    ).images
    difference = (ours - theirs).abs().max().item()
    print(f"{name}, {weights.name}, scale {scale}: {difference:.1e} of {theirs.std():.1f}")
    assert difference < LARGEST
    plain = loaded.sample(canvas, join_texts([loaded.embed(PROMPTS[0])]), loaded.embed(""), [5], **expander._sampler)
    assert (ours - plain).abs().max() > 100 * LARGEST  # the picture counts


def test_the_same_twice_and_pixels_outside_the_mask_stay(model: str, chosen: str) -> None:
    images, masks = draw_pictures(4)
    first, again = (expand(make(model, chosen), draw_garments(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for new, old, mask in zip(first, images, masks, strict=True):
        assert (new[~mask] == old[~mask]).all()
        assert (new[mask] != old[mask]).any()


def test_a_sample_does_not_depend_on_its_batch(model: str, chosen: str) -> None:
    """Nor on whether others in it are shown something."""
    garments = draw_garments(4)
    alone, four = (expand(make(model, chosen, batch=batch), garments) for batch in (1, 4))
    mixed = expand(make(model, chosen), [garments[0], None, garments[2], None])
    print(f"largest difference: {np.abs(alone - four).max()}, mixed {np.abs(mixed - four)[[0, 2]].max()}")
    assert np.abs(alone - four).max() <= 1
    assert np.abs(mixed - four)[[0, 2]].max() <= 1
    assert np.abs(mixed - four)[[1, 3]].max() > 1


@pytest.mark.parametrize("settings", [{}, {"guidance_share": 0.5}, {"reuse_every": 2}, {"dtype": "bfloat16"}])
def test_what_is_shown_nothing_is_as_without_an_adapter(model: str, chosen: str, settings: dict) -> None:
    """The same bytes, also after another picture was shown; and so is what is shown at scale 0."""
    plain, expander = make(model, None, **settings), make(model, chosen, **settings)
    expected = expand(plain, None)
    assert (expand(expander, draw_garments(4)) != expected).any()
    np.testing.assert_array_equal(expand(expander, None), expected)
    np.testing.assert_array_equal(expand(expander, [None] * 4), expected)
    unshown = make(model, chosen, adapter_scale=0.0, **settings)
    np.testing.assert_array_equal(expand(unshown, draw_garments(4)), expected)


def test_picture_and_prompt_each_change_the_sample(model: str, chosen: str) -> None:
    expander, garments = make(model, chosen), draw_garments(5)
    first, other_picture, other_prompt, no_prompt = (
        expand(expander, pictures, prompts)
        for pictures, prompts in (
            (garments[:4], PROMPTS),
            (garments[1:], PROMPTS),
            (garments[:4], PROMPTS[::-1]),
            (garments[:4], ["", ""]),
        )
    )
    assert all((first != other).any() for other in (other_picture, other_prompt, no_prompt))


def test_a_picture_is_looked_at_once(model: str, adapter: Path) -> None:
    expander, asked = make(model, adapter), []
    look = expander.loaded.look
    object.__setattr__(expander.loaded, "look", lambda picture: asked.append(picture) or look(picture))
    first, second = draw_garments(2)
    expand(expander, [first, second, first.copy(), second])
    expand(expander, [second, first, second, first])
    assert len(asked) == 2


def test_half_precision_sees_nearly_the_same(model: str, chosen: str) -> None:
    _, masks = draw_pictures(4)
    half, full = (expand(make(model, chosen, dtype=dtype), draw_garments(4)) for dtype in ("bfloat16", "float32"))
    assert 0 < np.abs(half - full)[np.stack(masks)].mean() < 6


def test_files_lie_as_in_h94_ip_adapter(tmp_path: Path) -> None:
    default = "sdxl_models/ip-adapter_sdxl.safetensors"
    hub = f"h94/IP-Adapter@{'0' * 40}"

    def found(adapter: str) -> list[str]:
        return [name.removeprefix(f"{hub}:").removeprefix(f"{tmp_path}/") for name in adapter_files(adapter, default)]

    own = [f"sdxl_models/image_encoder/{name}" for name in ("config.json", "model.safetensors")]
    models = [name.replace("sdxl_", "") for name in own]
    assert found(hub) == found(str(tmp_path)) == [default, *own]
    for other, encoder in (
        ("sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors", models),
        ("models/ip-adapter-plus_sd15.safetensors", models),
        ("sdxl_models/ip-adapter_sdxl.safetensors", own),
    ):
        assert found(f"{hub}:{other}") == found(str(tmp_path / other)) == [other, *encoder]
    with pytest.raises(FileNotFoundError, match=r"nothing: no such folder, and not 'owner/name@revision'"):
        adapter_files("nothing", default)


def test_its_fingerprint_is_of_the_files_that_it_uses(adapter: Path, name: str, tmp_path: Path) -> None:
    copy, file = shutil.copytree(adapter, tmp_path / "copy"), f"{FAMILIES[name][2]}.safetensors"

    def found() -> list[str]:
        return adapter_fingerprint(str(copy), file)

    first = adapter_fingerprint(str(adapter), file)
    assert found() == first
    (copy / "README.md").write_text("not used")
    (copy / f"{FAMILIES[name][2]}-plus.safetensors").unlink()
    assert found() == first
    (copy / file).with_name("image_encoder").joinpath("preprocessor_config.json").write_text("{}")
    assert found() != first


def test_the_encoder_may_say_how_pictures_are_made_ready(model: str, adapter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(adapter, tmp_path / "copy")
    (config,) = copy.glob("*/image_encoder/config.json")
    plain = make(model, copy).loaded.look(draw_garments(1)[0])
    settings = '{"size": {"shortest_edge": 8}, "crop_size": 8, "image_mean": [0.1, 0.1, 0.1], "image_std": [1, 1, 1]}'
    config.with_name("preprocessor_config.json").write_text(settings)
    assert not torch.equal(make(model, copy).loaded.look(draw_garments(1)[0]), plain)


@pytest.fixture
def copied(adapter: Path, name: str, tmp_path: Path) -> Path:
    """The weights of a copy of the adapter."""
    return shutil.copytree(adapter, tmp_path / "copy") / f"{FAMILIES[name][2]}.safetensors"


def damage(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t | {"ip_adapter.1.to_k_ip.weight": torch.zeros(16, 5)},
            r"ip_adapter\.1\.to_k_ip\.weight is \[16, 5\], this U-Net needs \[16, \d+\]",
        ),
        (
            lambda t: {name: t[name] for name in t if name != "ip_adapter.3.to_v_ip.weight"},
            r"ip_adapter\.3\.to_v_ip\.weight is not there, this U-Net needs \[",
        ),
        (lambda t: t | {"ip_adapter.0.to_q_lora.down.weight": torch.zeros(1)}, r"0\.to_q_lora.* this U-Net needs none"),
        (lambda t: t | {"image_proj.proj.weight": torch.zeros(64, 7)}, "takes 7 numbers, its image encoder gives 6"),
        (lambda t: t | {"image_proj.proj.3.weight": torch.zeros(1)}, "expected an IP-Adapter or an IP-Adapter Plus"),
        (lambda t: t | {"image_proj.proj.bias": torch.full((64,), torch.nan)}, r"image_proj\.proj\.bias: not finite"),
        (lambda t: t | {"lora.weight": torch.zeros(1)}, r"lora\.weight: expected an IP-Adapter or an IP-Adapter Plus"),
        (lambda t: t | {"image_proj.norm.weight": torch.zeros(2)}, "cannot be loaded: "),
    ],
)
def test_another_adapter_is_refused_naming_the_file(model: str, copied: Path, change: Callable, said: str) -> None:
    damage(copied, change)
    with pytest.raises(ValueError, match=said) as error:
        make(model, copied.parents[1])
    assert str(error.value).startswith(str(copied))


def test_what_is_missing_is_named(model: str, copied: Path) -> None:
    encoder = copied.with_name("image_encoder")
    copied.rename(copied.with_suffix(".bin"))
    with pytest.raises(FileNotFoundError, match=rf"^{copied}: no such file"):
        make(model, copied.parents[1])
    copied.with_suffix(".bin").rename(copied)
    copied.write_bytes(copied.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"^{copied}: not a safetensors file, or cut short"):
        make(model, copied.parents[1])
    (encoder / "model.safetensors").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=rf"^{copied}"):
        make(model, copied.parents[1])


def test_bad_garments_name_the_position(model: str, adapter: Path) -> None:
    images, masks = draw_pictures(2)
    garments = draw_garments(2)
    expander = make(model, adapter)
    with pytest.raises(ValueError, match="expected as many garments as images, 2, got 1"):
        expander.expand(images, masks, PROMPTS, [0, 1], garments[:1])
    with pytest.raises(ValueError, match=r"garment 1: expected uint8 \[H, W, 3\], got float64"):
        expander.expand(images, masks, PROMPTS, [0, 1], [garments[0], garments[1].astype(float)])
    with pytest.raises(ValueError, match=r"by an IP-Adapter: name one \(garment.adapter\), a folder or"):
        make(model, None).expand(images, masks, PROMPTS, [0, 1], garments)
    with pytest.raises(ValueError, match=r"adapter_scale 0\.5: there is no adapter"):
        make(model, None, adapter_scale=0.5)
