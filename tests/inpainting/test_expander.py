import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from tiny_diffusion import SIZE, draw_pictures, save_random_pipeline

import dlcr.inpainting.expander
from dlcr.inpainting import Expander, load_inpainter
from dlcr.inpainting.canvas import draw_noise
from dlcr.inpainting.diffusion import decode, embed, make_scheduler, prepare, sample
from dlcr.inpainting.expander import _resize_mask, composite

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]


def make(model, **settings):
    defaults = {"steps": 3, "guidance": 3.0, "size": SIZE, "solver": "dpm++", "batch": 4}
    return Expander(model, **(defaults | settings))


def expand(expander, images, masks, count):
    prompts = [PROMPTS[number % 2] for number in range(count)]
    return expander.expand(images[:count], masks[:count], prompts, list(range(count)))


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
@pytest.mark.parametrize("size", [SIZE, (46, 21)])
def test_pixels_outside_the_mask_are_the_originals(tiny_model, solver, size):
    images, masks = draw_pictures(3, size)
    painted = expand(make(tiny_model, solver=solver), images, masks, 3)
    for new, old, mask in zip(painted, images, masks, strict=True):
        assert new.dtype == np.uint8
        assert new.shape == old.shape
        assert (new[~mask] == old[~mask]).all()
        assert (new[mask] != old[mask]).any()


def test_a_sample_does_not_depend_on_its_batch(tiny_model):
    images, masks = draw_pictures(8)
    alone, four, eight = (expand(make(tiny_model, batch=batch), images, masks, 8) for batch in (1, 4, 8))
    for first, second, third in zip(alone, four, eight, strict=True):
        assert np.abs(first.astype(int) - second).max() <= 1
        assert np.abs(first.astype(int) - third).max() <= 1
    reverse = make(tiny_model).expand(
        images[:4][::-1], masks[:4][::-1], [PROMPTS[number % 2] for number in (3, 2, 1, 0)], [3, 2, 1, 0]
    )
    for first, second in zip(reverse[::-1], four[:4], strict=True):
        assert np.abs(first.astype(int) - second).max() <= 1


def test_latents_of_a_sample_agree_to_rounding_between_batches(tiny_model):
    pipeline = load_inpainter(tiny_model)
    images, masks = draw_pictures(8)
    canvas = prepare(pipeline, np.stack(images), np.stack(masks))
    text = embed(pipeline, PROMPTS[0]).expand(8, -1, -1)
    settings = {"steps": 4, "guidance": 4.0, "solver": "dpm++"}

    def run(rows):
        return sample(pipeline, canvas.rows(rows), text[: len(rows)], embed(pipeline, ""), rows, **settings)

    together = run(list(range(8)))
    for size in (1, 4):
        parts = torch.cat([run(list(range(start, start + size))) for start in range(0, 8, size)])
        assert (parts - together).abs().max() < 1e-4


def test_prompt_and_seed_change_the_sample(tiny_model):
    images, masks = draw_pictures(1)
    expander = make(tiny_model)
    first, other_prompt, other_seed, again = (
        expander.expand(images, masks, [prompt], [seed])[0]
        for prompt, seed in ((PROMPTS[0], 1), (PROMPTS[1], 1), (PROMPTS[0], 2), (PROMPTS[0], 1))
    )
    assert (first == again).all()
    assert (first != other_prompt).any()
    assert (first != other_seed).any()


def test_agrees_with_the_pipeline_of_diffusers(tiny_model):
    """The same noise, DDIM without guidance: what the library's own loop makes of latent means."""
    pipeline = load_inpainter(tiny_model)
    pipeline.scheduler = make_scheduler(pipeline, "ddim")
    images, masks = draw_pictures(1)
    canvas = prepare(pipeline, images[0][None], masks[0][None])
    ours = sample(
        pipeline,
        canvas,
        embed(pipeline, PROMPTS[0])[None],
        embed(pipeline, ""),
        [5],
        steps=4,
        guidance=3.0,
        solver="ddim",
    )
    noise = draw_noise([5], canvas.masked_image.shape[1:])
    pixels = torch.from_numpy(images[0]).permute(2, 0, 1)[None].float() / 127.5 - 1
    whole = StableDiffusionInpaintPipeline(
        **vars(pipeline), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    theirs = whole(
        PROMPTS[0],
        image=pixels,
        mask_image=torch.from_numpy(masks[0]).float()[None, None],
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=noise,
        output_type="latent",
        masked_image_latents=canvas.masked_image,
    ).images
    assert (ours - theirs).abs().max() < 1e-3


def test_restyle_repaints_the_whole_image_and_weak_noise_keeps_it(tiny_model):
    images, _ = draw_pictures(2)
    strong = make(tiny_model, strength=1.0).restyle(images, PROMPTS, [1, 2])
    weak = make(tiny_model, strength=0.05, steps=20, guidance=1.0).restyle(images, PROMPTS, [1, 2])
    pipeline = load_inpainter(tiny_model)
    kept = decode(pipeline, prepare(pipeline, np.stack(images), None).start)
    for number in range(2):
        far = np.abs(strong[number].astype(int) - kept[number]).mean()
        near = np.abs(weak[number].astype(int) - kept[number]).mean()
        assert near < far
        assert weak[number].shape == images[number].shape


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_guidance_on_part_of_the_steps(tiny_model, solver):
    images, masks = draw_pictures(2)
    settings = {"solver": solver, "steps": 4}

    def run(**more):
        return np.stack(expand(make(tiny_model, **settings, **more), images, masks, 2)).astype(int)

    whole, half, none = (run(guidance_share=share) for share in (1.0, 0.5, 0.0))
    assert (whole == run()).all()
    assert np.abs(none - run(guidance=1.0)).max() <= 1
    assert (half != whole).any()
    assert (half != none).any()


def test_guidance_ends_after_its_share_of_the_steps(tiny_model, monkeypatch):
    expander, sizes = make(tiny_model, steps=5, guidance_share=0.5), []
    whole = expander.pipeline.unet.forward

    def forward(inputs, *arguments, **keywords):
        sizes.append(len(inputs))
        return whole(inputs, *arguments, **keywords)

    monkeypatch.setattr(expander.pipeline.unet, "forward", forward)
    images, masks = draw_pictures(2)
    expand(expander, images, masks, 2)
    assert sizes == [4, 4, 4, 2, 2]


@pytest.mark.parametrize(("share", "computed"), [(1.0, [0, 2, 4]), (0.6, [0, 2, 3, 4])])
def test_step_caching_takes_the_deep_blocks_from_the_last_full_step(tiny_model, share, computed):
    """Against hooks that replace the deep blocks' outputs with those of the last step that counts."""
    images, masks = draw_pictures(2)
    settings = {"steps": 5, "guidance_share": share}
    cached = make(tiny_model, reuse_every=2, **settings)
    painted = expand(cached, images, masks, 2)
    assert "forward" not in vars(cached.pipeline.unet.mid_block)

    plain = make(tiny_model, **settings)
    unet, kept, step = plain.pipeline.unet, {}, [-1]
    unet.register_forward_pre_hook(lambda *_: step.__setitem__(0, step[0] + 1))

    def replace(module, inputs, output):
        if step[0] in computed:
            kept[module] = output
        return kept[module]

    for block in [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]]:
        block.register_forward_hook(replace)
    for new, expected in zip(painted, expand(plain, images, masks, 2), strict=True):
        assert (new == expected).all()
    full = expand(make(tiny_model, **settings), images, masks, 2)
    assert any((new != old).any() for new, old in zip(painted, full, strict=True))


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_model, monkeypatch):
    """A made-up GPU that holds two samples: the same pictures as in batches of two."""
    images, masks = draw_pictures(5)
    expected = expand(make(tiny_model, batch=2), images, masks, 5)
    whole, sizes = dlcr.inpainting.expander.sample, []

    def sample(pipeline, canvas, *arguments, **keywords):
        sizes.append(len(canvas.mask))
        if len(canvas.mask) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(pipeline, canvas, *arguments, **keywords)

    monkeypatch.setattr(dlcr.inpainting.expander, "sample", sample)
    with pytest.warns(UserWarning, match="batches of 5 become batches of 2"):
        painted = expand(make(tiny_model, batch=8), images, masks, 5)
    assert sizes == [5, 2, 2, 1]
    for new, old in zip(painted, expected, strict=True):
        assert (new == old).all()


def test_a_nan_becomes_a_blank_picture(tiny_model):
    """A fill of one gray, which the quality gate knows by its spread of 0."""
    pipeline = load_inpainter(tiny_model)
    latents = torch.full((1, 4, 4, 4), torch.nan)
    assert (decode(pipeline, latents) == 128).all()


def test_a_resized_mask_does_not_grow():
    rows, columns = np.mgrid[:96, :48]
    mask = ((rows - 50) / 30) ** 2 + ((columns - 22) / 13) ** 2 < 1
    small = _resize_mask(mask, (24, 12))
    assert abs(small.mean() - mask.mean()) < 0.02
    half = columns < 2
    assert not _resize_mask(half, (24, 12)).any()
    thin = np.zeros((96, 48), bool)
    thin[:, 5] = True
    assert not _resize_mask(thin, (24, 12)).any()


def test_composite_takes_exactly_the_mask():
    images, masks = draw_pictures(2, (10, 6))
    mask = masks[0]
    result = composite(images[1], images[0], mask)
    assert (result[mask] == images[1][mask]).all()
    assert (result[~mask] == images[0][~mask]).all()


def test_bad_models_are_refused(tiny_model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder, and not 'owner/name@revision'"):
        load_inpainter(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"no model_index\.json"):
        load_inpainter(str(tmp_path))
    shutil.copytree(tiny_model, tmp_path / "part")
    (tmp_path / "part" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no unet/diffusion_pytorch_model\.safetensors"):
        load_inpainter(str(tmp_path / "part"))
    save_random_pipeline(tmp_path / "four", in_channels=4)
    with pytest.raises(ValueError, match="takes 4 channels, inpainting needs 9"):
        load_inpainter(str(tmp_path / "four"))


def test_bad_arguments_name_the_position(tiny_model):
    with pytest.raises(ValueError, match="unknown solver 'euler'"):
        make(tiny_model, solver="euler")
    with pytest.raises(ValueError, match="strength 0,"):
        make(tiny_model, strength=0)
    with pytest.raises(ValueError, match=r"guidance_share 1\.5"):
        make(tiny_model, guidance_share=1.5)
    with pytest.raises(ValueError, match="reuse_every 0"):
        make(tiny_model, reuse_every=0)
    with pytest.raises(ValueError, match=r"size 33x16: .* needs multiples of 2"):
        make(tiny_model, size=(33, 16))
    expander = make(tiny_model)
    images, masks = draw_pictures(2)
    with pytest.raises(ValueError, match="equally many"):
        expander.expand(images, masks, PROMPTS[:1], [0, 1])
    with pytest.raises(ValueError, match=r"image 1: expected uint8 \[H, W, 3\]"):
        expander.expand([images[0], images[1].astype(float)], masks, PROMPTS, [0, 1])
    with pytest.raises(ValueError, match=r"mask 0: expected bool \[32, 16\]"):
        expander.expand(images, [masks[0][1:], masks[1]], PROMPTS, [0, 1])
    with pytest.raises(ValueError, match="mask 1 is empty"):
        expander.expand(images, [masks[0], np.zeros_like(masks[1])], PROMPTS, [0, 1])
