"""Loading an inpainter: its own weights in the type that is asked for, no code of its folder, nothing printed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_diffusion import save_random_pipeline

from dlcr.inpainting import load_inpainter
from dlcr.inpainting.diffusion import LATENTS, Inpainter, make_scheduler
from dlcr.runtime.weights import PIPELINE

WEIGHTS = [f"{part}.safetensors" for part in PIPELINE.parts]
# Stable Diffusion 1.5's, as PNDM is saved: it knows no clip_sample.
PNDM = {
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True,
    "steps_offset": 1, "trained_betas": None,
}  # fmt: skip


@pytest.fixture
def folder(tiny_model: str, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def rewrite(file: Path, edit: Callable[[dict], object], target: Path | None = None) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, target or file, metadata={"format": "pt"})


def halve(folder: Path, name: str) -> None:
    """As a repository that has a part in half precision alone."""
    target = (folder / name).with_suffix("").with_suffix(".fp16.safetensors")
    rewrite(folder / name, lambda tensors: tensors.update({key: t.half() for key, t in tensors.items()}), target)
    (folder / name).unlink()


def schedule(folder: Path, config: dict) -> Inpainter:
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return load_inpainter(str(folder))


@pytest.mark.parametrize("halved", [WEIGHTS, WEIGHTS[1:]])
def test_half_precision_files_become_the_type_that_is_asked_for(folder: Path, halved: list[str]) -> None:
    expected = load_file(folder / WEIGHTS[0])["conv_in.weight"]
    for name in halved:
        halve(folder, name)
    pipeline = load_inpainter(str(folder), "float32")
    assert {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.float32}
    found = pipeline.unet.conv_in.weight
    assert torch.equal(found, expected.half().float() if WEIGHTS[0] in halved else expected)
    assert load_inpainter(str(folder), "bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop(max(tensors)), "tensors missing: "),
        (lambda tensors: tensors.clear(), r"tensors missing: .* and \d+ more"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "tensors unexpected: extra"),
        (lambda tensors: tensors[max(tensors)].view(-1).__setitem__(0, torch.nan), "tensors not finite: "),
        (lambda tensors: tensors.update({max(tensors): torch.ones(3)}), "tensors mismatched: "),
    ],
    ids=["one missing", "all missing", "extra", "nan", "another shape"],
)
def test_a_part_with_other_weights_is_refused(folder: Path, name: str, edit: Callable, message: str) -> None:
    rewrite(folder / name, edit)
    with pytest.raises(ValueError, match=message) as found:
        load_inpainter(str(folder))
    assert str(found.value).startswith(f"{folder}, {Path(name).parent}: ")


def test_attention_with_the_names_of_2022(folder: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, mid_block_add_attention=True, sample_size=16, layers_per_block=1
    )
    vae.save_pretrained(folder / "vae")
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def rename(tensors: dict) -> None:
        for key in list(tensors):
            for new_name, old_name in old.items():
                if new_name in key:
                    tensors[key.replace(new_name, old_name)] = tensors.pop(key)

    rewrite(folder / WEIGHTS[1], rename)
    loaded = load_inpainter(str(folder)).vae.state_dict()
    assert all(torch.equal(loaded[key], values) for key, values in vae.state_dict().items())


def test_half_precision_needs_a_gpu(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^inpaint\.dtype: float16 needs a GPU.*; write bfloat16 or float32 in pa"):
        load_inpainter(tiny_model, "float16")


def test_other_pipelines_are_refused_before_anything_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", None)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionXLInpaintPipeline"}))
    with pytest.raises(ValueError, match="says 'StableDiffusionXLInpaintPipeline' for _class_name, expected Stable"):
        load_inpainter(str(folder))
    (folder / "model_index.json").write_text(json.dumps(index))
    shutil.rmtree(folder / "unet")
    save_random_pipeline(folder, in_channels=4)
    with pytest.raises(ValueError, match="its U-Net takes 4 channels, inpainting needs 9"):
        load_inpainter(str(folder))


EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil: pass\n"


@pytest.mark.parametrize(
    ("named", "refused"),
    [
        ({"unet": ["evil", "Evil"]}, True),
        ({"unet": ["unet.evil", "Evil"]}, True),
        ({"unet": ["evil", "UNet2DConditionModel"]}, False),
        ({"scheduler": ["evil", "Evil"]}, False),
        ({"scheduler": ["unet.evil", "DDIMScheduler"]}, False),
        ({"safety_checker": ["evil", "Evil"]}, False),
        ({"_class_name": ["pipeline", "Evil"]}, True),
        ({}, False),
    ],
)
def test_no_code_of_a_model_folder_runs(
    folder: Path, named: dict, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python files beside the weights that the index, or a part's configuration, names."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))  # worse than it can be: stages run in the repository's root
    for place in ("", "unet", "vae", "scheduler", "text_encoder", "tokenizer", "safety_checker"):
        (folder / place).mkdir(exist_ok=True)
        for name in ("evil.py", "pipeline.py", "modeling.py", "__init__.py"):
            (folder / place / name).write_text(EVIL)
    code = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for path in (*folder.glob("*/config.json"), folder / "tokenizer/tokenizer_config.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": code}))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | named))
    with pytest.raises(ValueError, match=r"model_index\.json says") if refused else nullcontext():
        load_inpainter(str(folder))
    assert list(folder.rglob("ran")) == []


@pytest.mark.slow
def test_nothing_is_printed_where_torchvision_is_missing_or_a_schedule_is_old(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(PNDM | {"steps_offset": 0}))
    code = f"from dlcr.inpainting import load_inpainter; load_inpainter({str(folder)!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], capture_output=True, text=True, check=True,
        env=os.environ, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout + done.stderr == ""


# --- schedules


def test_ddim_does_not_clip_latents(folder: Path) -> None:
    """Against the step of Eq. 12 in Song et al., ICLR 2021 (eta 0), for latents far beyond -1 and 1."""
    for change in ({}, {"clip_sample": True}, {"thresholding": True}):
        scheduler = make_scheduler(schedule(folder, PNDM | change), "ddim")
        scheduler.set_timesteps(50)
        torch.manual_seed(0)
        latents, noise = 6 * torch.randn(2, 4, 8, 4), torch.randn(2, 4, 8, 4)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        signal = torch.cumprod(1 - betas, 0)
        for time in (981, 501, 1):
            now, before = signal[time], signal[time - 20] if time > 20 else signal[0]
            clean = (latents - (1 - now).sqrt() * noise) / now.sqrt()
            assert clean.abs().max() > 4
            expected = before.sqrt() * clean + (1 - before).sqrt() * noise
            found = scheduler.step(noise, time, latents, return_dict=False)[0]
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_the_schedule_is_that_of_the_models_own_class(folder: Path, solver: str) -> None:
    """Read through DDIM's class, a configuration that PNDM or DPM-Solver saved gives the same steps."""
    kind = {"ddim": DDIMScheduler, "dpm++": DPMSolverMultistepScheduler}[solver]
    for saved in (PNDMScheduler, DPMSolverMultistepScheduler):
        saved.from_config(PNDM).save_pretrained(folder / "scheduler")
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        ours = make_scheduler(load_inpainter(str(folder)), solver)
        own = kind.from_config(saved.from_config(config).config, **LATENTS)
        for scheduler in (ours, own):
            scheduler.set_timesteps(10)
        assert ours.timesteps.tolist() == own.timesteps.tolist()
        assert torch.equal(ours.alphas_cumprod, own.alphas_cumprod)
        keys = ("timestep_spacing", "prediction_type", "set_alpha_to_one", "final_sigmas_type", "use_karras_sigmas")
        assert [ours.config.get(key) for key in keys] == [own.config.get(key) for key in keys]
