"""Every family of inpainters does what the fast path does, on a tiny random pipeline of the real classes."""

import pickle
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hubs import publish
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny_all import TINY
from tiny_diffusion import SIZE, draw_pictures

from dlcr.data import open_images, open_masks, read_table
from dlcr.inpainting import Expander, generate_set, plan_set
from dlcr.inpainting.canvas import draw_noise, join_texts
from dlcr.inpainting.families import find_family
from dlcr.inpainting.kinds import inpainting
from dlcr.params import load_params
from dlcr.runtime.code import code_of, used_modules
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.registry import entry_names
from dlcr.runtime.store import Store
from dlcr.runtime.weights import UNUSED

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]


@pytest.fixture(scope="module", params=list(TINY))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("families") / name
    TINY[name].save(folder)
    return str(folder)


def make(model: str, name: str, batch: int = 4, **settings: object) -> Expander:
    settings = TINY[name].settings(model) | settings
    return Expander(model, steps=2, guidance=TINY[name].guidance, size=SIZE, batch=batch, **settings)


def expand(expander: Expander, count: int = 4) -> list[np.ndarray]:
    images, masks = draw_pictures(count)
    return expander.expand(images, masks, [PROMPTS[number % 2] for number in range(count)], list(range(count)))


def test_every_family_is_tried_here() -> None:
    there = {name.replace("-", "_") for name in entry_names("dlcr.inpainting.families")}
    assert there == {*TINY, "stable_diffusion"}


def test_pixels_outside_the_mask_stay_and_the_same_comes_out_twice(model: str, name: str) -> None:
    images, masks = draw_pictures(4)
    first, again = expand(make(model, name)), expand(make(model, name))
    for new, same, old, mask in zip(first, again, images, masks, strict=True):
        assert (new == same).all()
        assert (new[~mask] == old[~mask]).all()
        assert (new[mask] != old[mask]).any()
        assert new[mask].std() > 1  # no blank picture, as of NaN
    assert (first[0] != first[1]).any()


def test_a_sample_does_not_depend_on_its_batch(model: str, name: str) -> None:
    alone, four = expand(make(model, name, batch=1)), expand(make(model, name, batch=4))
    assert max(np.abs(one.astype(int) - other).max() for one, other in zip(alone, four, strict=True)) <= 1


def test_half_precision_paints_nearly_the_same(model: str, name: str) -> None:
    """bfloat16 on a CPU: the networks' numbers differ, the sampler's do not."""
    expander = make(model, name, dtype="bfloat16")
    assert {part.dtype for part in vars(expander.pipeline).values() if isinstance(part, torch.nn.Module)} == {
        torch.bfloat16
    }
    _, masks = draw_pictures(4)
    for half, full, mask in zip(expand(expander), expand(make(model, name)), masks, strict=True):
        assert 0 < np.abs(half.astype(int) - full)[mask].mean() < 3


def test_prompt_and_seed_and_image_change_the_sample(model: str, name: str) -> None:
    images, masks = draw_pictures(2)
    expander = make(model, name)
    mask = masks[0]
    found = [
        expander.expand([images[image]], [mask], [PROMPTS[prompt]], [seed])[0][mask]
        for image, prompt, seed in ((0, 0, 1), (0, 1, 1), (0, 0, 2), (1, 0, 1))
    ]
    assert all((found[0] != other).any() for other in found[1:])


def test_agrees_with_the_pipeline_of_diffusers(model: str, name: str) -> None:
    """Latents from the same noise, prompt, image, mask, steps and guidance."""
    expander = make(model, name)
    images, masks = draw_pictures(1)
    loaded = expander.loaded
    canvas = expander.prepare(images, masks)
    settings = expander._sampler | {"steps": 3}
    ours = loaded.sample(canvas, join_texts([loaded.embed(PROMPTS[0])]), loaded.embed(""), [5], **settings)
    theirs = TINY[name].reference(
        Path(model),
        PROMPTS[0],
        torch.from_numpy(images[0]).permute(2, 0, 1)[None].float() / 127.5 - 1,
        torch.from_numpy(masks[0]).float()[None, None],
        draw_noise([5], ours.shape[1:]),
        height=SIZE[0],
        width=SIZE[1],
        num_inference_steps=3,
        guidance_scale=TINY[name].guidance,
    )
    assert ours.shape == theirs.shape
    difference = (ours - theirs).abs().max().item()
    print(f"{name}: {difference:.1e} of {theirs.std():.1f}")
    assert difference < TINY[name].tolerance


def test_prompts_are_encoded_once_and_images_once_a_block(model: str, name: str) -> None:
    expander, asked = make(model, name), []
    embed = expander.loaded.embed
    object.__setattr__(expander.loaded, "embed", lambda prompt: asked.append(prompt) or embed(prompt))
    images, masks = draw_pictures(4)
    canvas = expander.prepare(images, masks)
    for seeds in ([1, 2, 3, 4], [5, 6, 7, 8]):
        expander.paint(canvas, range(4), images, masks, PROMPTS * 2, seeds, lambda place, variant: variant)
    assert sorted(asked) == sorted(["", *PROMPTS])


def test_a_set_goes_on_after_a_stop_with_the_same_bytes(
    model: str, name: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    rows = pd.read_parquet(tiny_dataset / "manifest.parquet")
    masks, images = open_masks(tiny_dataset / "masks"), open_images(tiny_dataset / "images")
    skipped = {i: "empty mask" for i in rows["image_id"] if masks.status(i) == "empty"}
    prompts = {"1-1": PROMPTS[0], "2-1": PROMPTS[1]}
    plan = plan_set(rows, prompts, 1, 0, "tiny", dict.fromkeys(rows["image_id"], ""), skipped)
    settings = {"steps": 2, "guidance": TINY[name].guidance, "size": SIZE, "batch": 4, "family": find_family(model)}
    settings |= TINY[name].settings(model)
    build = pickle.loads(pickle.dumps(partial(inpainting.build, model, settings)))  # as it is sent to Ray's workers

    def run(folder: Path, store: Store):
        read = lambda image_id: (images.encoded(image_id), masks.encoded(image_id))  # noqa: E731
        return generate_set(folder, plan, build, read, {"model": name}, 3, store)

    store = Store(tmp_path / "store")
    assert run(tmp_path / "whole", store).made == 6
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.arrow")}
    (tmp_path / "whole" / min(files)).unlink()
    assert run(tmp_path / "whole", store).made == 0
    assert run(tmp_path / "again", Store(tmp_path / "other")).made == 6
    for folder in ("whole", "again"):
        assert {path.name: path.read_bytes() for path in (tmp_path / folder).glob("*.arrow")} == files
    measured = read_table(tmp_path / "again" / min(files)).to_pandas()
    assert (measured.loc[measured["skipped"] == "", "change"] > 0).all()  # what the quality gate reads


def test_a_sets_key_is_of_its_own_familys_code(model: str, name: str) -> None:
    family = find_family(model)
    module = family.load.__module__
    used, _ = used_modules({module: Path(__import__(module, fromlist=["x"]).__file__)})
    others = {f"dlcr.inpainting.families.{other}" for other in (*TINY, "stable_diffusion") if other != name}
    assert module in used
    assert not others & set(used)
    plain, own = partial(inpainting.build, model, {}), partial(inpainting.build, model, {"family": family})
    assert code_of(plain) != code_of(own) == code_of(plain, family.load)


def test_what_a_family_does_not_know_is_refused_in_one_line_before_it_is_loaded(model: str, name: str) -> None:
    family = find_family(model)
    with pytest.raises(ValueError, match=rf"^unknown solver 'euler', expected one of: {family.solvers[0]}"):
        Expander("not loaded", solver="euler", family=family)
    for setting, value in (("guidance_share", 0.5), ("reuse_every", 2), ("discriminator", "folder")):
        if setting not in family.knows:
            with pytest.raises(ValueError, match=rf"^not loaded: .* takes no {setting}; of such settings it knows: "):
                Expander("not loaded", family=family, **{setting: value})


def test_the_stage_refuses_it_before_its_painter_is_built(model: str, name: str, repository: Path) -> None:
    params = load_params(repository / "profiles" / "smoke.yaml")
    own = {"solver": find_family(model).solvers[0]} | TINY[name].settings(model)
    inpaint = params.inpaint.model_copy(update=own | {"reuse_every": 2})
    models = params.models.model_copy(update={"inpainter": model})
    entry = params.generated["inpainting"]
    known = "reuse_every" in find_family(model).knows
    with nullcontext() if known else pytest.raises(ValueError, match=" takes no reuse_every"):
        inpainting.choose(params.model_copy(update={"models": models, "inpaint": inpaint}), entry)
    params = params.model_copy(update={"models": models, "inpaint": inpaint.model_copy(update={"reuse_every": 1})})
    build, identity = inpainting.choose(params, entry)
    assert build.args[1]["family"] is find_family(model)
    assert "family" not in identity
    assert "lora" not in identity
    assert identity.get("prior") == {"kandinsky": model_fingerprint(f"{model}/prior")}.get(name)


@pytest.mark.parametrize("found", ["StableDiffusionPipeline", "LatteryPipeline", None, ["a", "B"]])
def test_another_class_of_pipeline_is_refused_with_those_there_are(found: object, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(f'{{"_class_name": {found!r}}}'.replace("'", '"').replace("None", "1"))
    with pytest.raises(
        ValueError, match=r"for _class_name, expected one of .*StableDiffusionXLInpaintPipeline"
    ) as error:
        Expander(str(tmp_path))
    assert "\n" not in str(error.value)


def test_weights_that_are_not_whole_are_refused(model: str, name: str, tmp_path: Path) -> None:
    """The same functions load them as the fast path's: `tests/inpainting/test_loading.py`."""
    kind = find_family(model).kind
    for part in kind.parts:
        folder = tmp_path / part.replace("/", "-")
        shutil.copytree(model, folder)
        (file,) = (folder / part).parent.glob("*.safetensors")
        tensors = load_file(file)
        del tensors[min(tensors)]
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match="tensors missing: ") as found:
            Expander(str(folder), size=SIZE, **TINY[name].settings(folder))
        assert str(found.value).startswith(f"{folder}, {Path(part).parent}: ")
        file.rename(file.with_suffix(".bin"))
        with pytest.raises(FileNotFoundError, match="weights are loaded as safetensors only"):
            Expander(str(folder), size=SIZE, **TINY[name].settings(folder))


def test_it_is_loaded_from_a_hubs_cache_by_its_name(
    model: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `hf download` leaves it, without what is not loaded; a second repository too where the family has one."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    beside = TINY[name].settings(model)
    for repository, folder in {"name": model, **beside}.items():
        origin = tmp_path / "origin" / "owner" / repository
        shutil.copytree(folder, origin, ignore=shutil.ignore_patterns(*(beside if folder == model else ())))
        for file in [*origin.rglob("*.safetensors")]:
            file.with_suffix(".bin").touch()
        publish(tmp_path / "origin", f"owner/{repository}", tmp_path / "cache", UNUSED)
    there = {setting: f"owner/{setting}@main" for setting in beside}
    for ours, theirs in zip(expand(make("owner/name@main", name, **there)), expand(make(model, name)), strict=True):
        assert (ours == theirs).all()


def test_a_shared_embedding_may_stand_in_the_file_twice(tmp_path: Path) -> None:
    """As in files of T5 encoders."""
    TINY["flux_fill"].save(tmp_path)
    file = tmp_path / "text_encoder_2" / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"encoder.embed_tokens.weight": tensors["shared.weight"].clone()}, file, {"format": "pt"})
    Expander(str(tmp_path), size=SIZE)
