"""Speed of generation: inpainting, parsing and describing, on this machine's CPU and on its GPU, and what DVC costs.

    python benchmarks/generation.py                     # all that this machine can -> benchmarks/generation.json
    python benchmarks/generation.py --scale 0.1 --out /tmp/generation.json      # to try it: see below
    python benchmarks/generation.py --case mini         # one case, printed as JSON

Every case is a process of its own; what is compared is measured in one run, in turn, the best of a few rounds.

- `mini`, `parse`, `describe`: the small trained models on MiniCC's images, on the CPU. `mini` compares `Expander` to
  the plain loop (one image at a time through the pipeline of diffusers, the same steps, solver, types and noise) and
  says what each lever is worth.
- `levers`: what the settings that change the picture save, and what they do to it.
- `inpaint`, `inpaint-queries`, `segformer-b2`, `llava-7b`: the paper's architectures with random weights on a GPU,
  where there is one, beside the paper's figures on an A100 (Table A6) and beside what the chip does in matrix
  products. Their weights are saved to the temporary folder (llava-7b: 14 GB) and loaded as any checkpoint.
- `storage`: DVC on a generated set of PRCC's size, as shards and as loose files.

With a SCALE below 1 everything has fewer images, and the paper's architectures become tiny ones of the same classes, so
that the code of their cases runs anywhere. Such numbers say nothing about speed.
"""

import io
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import diffusers
import numpy as np
import pandas as pd
import torch
import transformers
import typer
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)

from dlcr.data import GENERATED_SCHEMA, encode_png, write_shard
from dlcr.data.shards import checksum
from dlcr.inpainting import Expander, assign_outfits
from dlcr.inpainting.diffusion import draw_noise, embed, factor, make_scheduler
from dlcr.inpainting.quality import word_alignment
from dlcr.minicc import LABELS, benchmark_scenes, outfit_words, render
from dlcr.params import load_params
from dlcr.parsing import load_parser, parse_clothes
from dlcr.pretrain.diffusion_parts import build_tokenizer
from dlcr.pretrain.words import make_tokenizer
from dlcr.prompts import describe, load_describer
from dlcr.runtime.checkpoint import device
from dlcr.runtime.determinism import set_up, thread_count
from dlcr.runtime.files import write_json

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
VARIANTS = 10  # K
IMAGES = 64  # of MiniCC that are inpainted, K times each
LEVERS = {
    "as shipped": {},
    "steps 4 of 6": {"steps": 4},
    "guidance_share 0.5": {"guidance_share": 0.5},
    "reuse_every 2": {"reuse_every": 2},
}
BATCHES = 1, 4, 32  # between which results are compared
PRCC = 17_896  # training images
BLOCK = 256  # images in one shard of the generated set
QUESTION = "What clothes is the person wearing?"
ATR = (
    "Background, Hat, Hair, Sunglasses, Upper-clothes, Skirt, Pants, Dress, Belt, Left-shoe, Right-shoe, Face, "
    "Left-leg, Right-leg, Left-arm, Right-arm, Bag, Scarf"
)
CHAT = (
    "{% for message in messages %}USER: {% for item in message['content'] %}"
    "{% if item['type'] == 'image' %}<image>{% else %} {{ item['text'] }}{% endif %}"
    "{% endfor %}{% endfor %} ASSISTANT:"
)
app = typer.Typer(add_completion=False)


@app.command()
def main(out: Path | None = None, case: str = "", scale: float = 1.0) -> None:
    """Run all cases, print a table of each and write JSON to OUT; of CASE only print JSON. SCALE: of the sizes.

    OUT is generation.json beside this file, but without a default where SCALE is not 1.
    """
    if case:
        print(json.dumps(CASES[case](scale)))
        return
    if out is None and scale == 1:
        out = Path(__file__).with_suffix(".json")
    results = {"machine": _machine(), "scale": scale, "cases": {}}
    for name in CASES:
        print(f"{name} ...", file=sys.stderr)
        command = [sys.executable, __file__, "--case", name, "--scale", str(scale)]
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if name in CPU_CASES else {}
        start = time.monotonic()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | hidden)
        results["cases"][name] = json.loads(done.stdout) | {"duration of this case (s)": time.monotonic() - start}
        print(f"\n{name}")
        print(pd.Series(results["cases"][name], dtype=object).to_string(float_format="{:.4g}".format))
    if out is not None:
        write_json(out, results)


class Work(NamedTuple):
    """What is inpainted: variants of pictures. `rows` says whose variant each one is; prompts and seeds are theirs."""

    images: list[np.ndarray]
    masks: list[np.ndarray]
    rows: list[int]
    prompts: list[str]
    seeds: list[int]

    def first(self, count: int) -> "Work":
        """The first variants."""
        return self._replace(rows=self.rows[:count], prompts=self.prompts[:count], seeds=self.seeds[:count])


def mini(scale: float) -> dict:
    """The small inpainting model under the settings of the profile as shipped: ours, the plain loop, and each lever."""
    set_up()
    params = load_params(ROOT / "profiles/minicc.yaml")
    model = str(ROOT / params.models.inpainter)
    # What a plain loop has as well: no fewer passes of the U-Net than steps.
    settings = params.inpaint.model_dump(include={"steps", "guidance", "size", "solver", "batch", "dtype"})
    work = minicc_work(params.minicc.model_dump(), max(2, round(scale * IMAGES)))
    few = work.first(max(2, round(scale * 24)))
    expander, single = Expander(model, **settings), Expander(model, **settings | {"batch": 1})
    plain = plain_pipeline(model, settings)
    expand(single, few.first(2)), plain_loop(plain, few.first(2), settings)  # to warm up
    usual, ours, alone, texts, latents, encoding = best_of(
        ROUNDS,
        lambda: plain_loop(plain, few, settings),
        lambda: expand(expander, work),
        lambda: expand(single, few),
        lambda: [embed(expander.pipeline, text) for prompt in work.prompts for text in (prompt, "")],
        lambda: [expander.prepare(work.images, work.masks) for _ in range(VARIANTS - 1)],
        lambda: [encode_png(image) for image in paint(expander, work, lambda _, image: image)],
    )
    usual, ours, alone = usual / len(few.rows), ours / len(work.rows), alone / len(few.rows)
    texts, latents, encoding = (seconds / len(work.rows) for seconds in (texts, latents, encoding))
    return {
        "device": str(expander.pipeline.device),
        "variants": len(work.rows),
        "Expander (images/s)": 1 / ours,
        "plain loop (images/s)": 1 / usual,
        "times faster": usual / ours,
        "target: times faster, at least": 3,
        "lever, batch of 64 instead of 1 (times faster)": alone / ours,
        "lever, texts encoded once (times faster)": (ours + texts) / ours,
        "lever, latents of an image once for its variants (times faster)": (ours + latents) / ours,
        "lever, PNGs encoded beside the sampler (times faster)": encoding / ours,
        **plain_difference(plain, few, settings, expander),
        **batch_differences(model, settings, few_variants(work, max(BATCHES))),
    }


def minicc_work(sizes: dict, count: int) -> Work:
    """VARIANTS variants of `count` training images of MiniCC with their true masks, in other subjects' outfits."""
    scenes = [scene for scene in benchmark_scenes("minicc", **sizes) if scene.split == "train"]
    texts = {scene.clothes: outfit_words(scene.outfit) for scene in scenes}
    scenes = scenes[:: len(scenes) // count][:count]
    drawn = [render(scene) for scene in scenes]
    clothes = [LABELS.index(name) for name in ("upper", "lower", "footwear")]
    ids, worn = [scene.image_id for scene in scenes], [scene.clothes for scene in scenes]
    plan = assign_outfits(ids, worn, list(texts), VARIANTS, 0, "minicc")
    return Work(
        [item.image for item in drawn],
        [np.isin(item.labels, clothes) for item in drawn],
        [ids.index(image_id) for image_id in plan["image_id"]],
        [texts[target] for target in plan["target_clothes"]],
        plan["seed"].tolist(),
    )


def few_variants(work: Work, count: int) -> Work:
    """The first variants, at most `count`, with a picture for each of them."""
    work = work.first(count)
    images, masks = ([column[row] for row in work.rows] for column in (work.images, work.masks))
    return Work(images, masks, list(range(len(work.rows))), work.prompts, work.seeds)


def paint(expander: Expander, work: Work, finish: Callable[[int, np.ndarray], object]) -> list:
    """Our way: pictures encoded once, their variants in batches; `finish` makes of each what is returned."""
    canvas = expander.prepare(work.images, work.masks)
    images, masks = ([column[row] for row in work.rows] for column in (work.images, work.masks))
    return expander.paint(canvas, work.rows, images, masks, work.prompts, work.seeds, finish)


def expand(expander: Expander, work: Work) -> list[bytes]:
    """Our way, to PNGs."""
    return paint(expander, work, lambda _, image: encode_png(image))


def plain_pipeline(model: str, settings: dict) -> StableDiffusionInpaintPipeline:
    """The pipeline as its documentation loads it, with the solver of the settings."""
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(model, dtype=getattr(torch, settings["dtype"]))
    pipeline.scheduler = make_scheduler(pipeline, settings["solver"])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device())


def plain_loop(pipeline: StableDiffusionInpaintPipeline, work: Work, settings: dict) -> list[bytes]:
    """One call of the pipeline a variant, put into its image and encoded; with the same noise as ours."""
    height, width = settings["size"]
    cell = factor(pipeline)
    shape = pipeline.vae.config.latent_channels, height // cell, width // cell
    encoded = []
    for row, prompt, seed in zip(work.rows, work.prompts, work.seeds, strict=True):
        image, mask = Image.fromarray(work.images[row]), Image.fromarray(work.masks[row].astype(np.uint8) * 255)
        new = pipeline(
            prompt=prompt,
            image=image,
            mask_image=mask,
            height=height,
            width=width,
            num_inference_steps=settings["steps"],
            guidance_scale=settings["guidance"],
            latents=draw_noise([seed], shape).to(pipeline.device, pipeline.dtype),
        ).images[0]
        file = io.BytesIO()
        Image.composite(new.resize(image.size, Image.Resampling.LANCZOS), image, mask).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded


def plain_difference(
    pipeline: StableDiffusionInpaintPipeline, work: Work, settings: dict, expander: Expander
) -> dict[str, float]:
    """How far our pictures are from the plain loop's, whose state is in bfloat16 and whose latents are drawn."""
    theirs, ours = (
        np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in pictures]).astype(int)
        for pictures in (plain_loop(pipeline, work, settings), expand(expander, work))
    )
    masks = np.stack([work.masks[row] for row in work.rows])
    return {"mean difference to the plain loop inside the masks (levels)": float(np.abs(theirs - ours)[masks].mean())}


def batch_differences(model: str, settings: dict, work: Work) -> dict[str, float]:
    """The differences between the same variants painted in batches of BATCHES, in levels of 0 to 255."""
    found = {}
    masks = np.stack(work.masks)
    for dtype in ("float32", "bfloat16"):
        painted = []
        for batch in BATCHES:
            expander = Expander(model, **settings | {"batch": batch, "dtype": dtype})
            painted.append(np.stack(expander.expand(work.images, work.masks, work.prompts, work.seeds)))
        spread = np.ptp(np.stack(painted), axis=0).max(axis=-1)  # [N, H, W], over batches and channels
        name = f"batches of {', '.join(map(str, BATCHES))}, {dtype}:"
        found[f"{name} largest difference (levels)"] = int(spread.max())
        found[f"{name} share of pixels inside the masks that differ"] = float((spread[masks] > 0).mean())
        found[f"{name} share of pixels inside the masks that differ by more than 1"] = float((spread[masks] > 1).mean())
        found[f"{name} share of images that differ"] = float((spread > 0).any(axis=(1, 2)).mean())
    return found


def levers(scale: float) -> dict:
    """Settings that save time and change the picture, each alone: speed, how far pictures move, prompts read back."""
    set_up()
    params = load_params(ROOT / "profiles/minicc.yaml")
    settings = params.inpaint.model_dump(exclude={"block"})
    work = minicc_work(params.minicc.model_dump(), max(2, round(scale * IMAGES)))
    work = work.first(max(4, len(work.rows) // 2))
    judge = load_describer(str(ROOT / params.models.describers[params.models.judge]))
    expanders = {
        name: Expander(str(ROOT / params.models.inpainter), **settings | change) for name, change in LEVERS.items()
    }
    seconds = best_of(ROUNDS, *(partial(expand, expander, work) for expander in expanders.values()))
    masks, found, full = np.stack([work.masks[row] for row in work.rows]), {"variants": len(work.rows)}, None
    for (name, expander), taken in zip(expanders.items(), seconds, strict=True):
        images = paint(expander, work, lambda _, image: image)
        pictures = np.stack(images).astype(int)
        full = pictures if full is None else full
        answers = _in_batches(images, partial(describe, judge, question=QUESTION, max_new_tokens=16), 64)
        read = [word_alignment(prompt, answer) for prompt, answer in zip(work.prompts, answers, strict=True)]
        found |= {
            f"{name} (images/s)": len(images) / taken,
            f"{name}, times faster": seconds[0] / taken,
            f"{name}, mean difference inside the masks (levels)": float(np.abs(pictures - full)[masks].mean()),
            f"{name}, words of the prompts read back (share)": float(np.mean(read)),
        }
    return found


def parse(scale: float) -> dict:
    """The small parser, one image at a time and in batches."""
    set_up()
    params = load_params(ROOT / "profiles/minicc.yaml")
    parser = load_parser(str(ROOT / params.models.parser))
    images = minicc_work(params.minicc.model_dump(), max(2, round(scale * 256))).images
    return one_or_many(images, lambda part: parse_clothes(parser, part, batch=len(part)))


def describe_mini(scale: float) -> dict:
    """The small describers that come with the repository, one image at a time and in batches."""
    set_up()
    params = load_params(ROOT / "profiles/minicc.yaml")
    images = minicc_work(params.minicc.model_dump(), max(2, round(scale * 256))).images
    found = {}
    for name, model in params.models.describers.items():
        if (ROOT / model).is_dir():
            describer = load_describer(str(ROOT / model))
            ask = partial(describe, describer, question=params.describe.question, max_new_tokens=16)
            found |= {f"{name}, {key}": value for key, value in one_or_many(images, ask).items()}
    return found


def one_or_many(images: list[np.ndarray], work: Callable[[list[np.ndarray]], list]) -> dict:
    """Images/s of `work` in batches of 1 and 64, and whether it finds the same."""
    runs = [partial(_in_batches, images, work, batch) for batch in (1, 64)]
    one, many = (run() for run in runs)
    alone, together = best_of(ROUNDS, *runs)
    return {
        "images": len(images),
        "batch 1 (images/s)": len(images) / alone,
        "batch 64 (images/s)": len(images) / together,
        "times faster": alone / together,
        "share of images with the same result": float(np.mean(list(map(np.array_equal, one, many)))),
    }


def _in_batches(images: list[np.ndarray], work: Callable[[list[np.ndarray]], list], batch: int) -> list:
    return [found for first in range(0, len(images), batch) for found in work(images[first : first + batch])]


class Goal(NamedTuple):
    """Images/s: the paper's on an A100 (Table A6), and what we ask of one, at least and at best."""

    paper: float
    least: float
    aim: float


def large(scale: float, run: Callable[[float], dict], goal: Goal) -> dict:
    """A case with one of the paper's architectures: `run`, if this machine can, beside the goal."""
    asked = {
        "paper, A100 (images/s)": goal.paper,
        "target, at least (images/s)": goal.least,
        "target, aim (images/s)": goal.aim,
    }
    if scale >= 1 and not torch.cuda.is_available():
        return {"images/s": None, "reason": "no CUDA device", **asked}
    set_up()
    return run(scale) | asked


def inpaint(scale: float, size: tuple[int, int], steps: int) -> dict:
    """Stable Diffusion 1.5 for inpainting in bfloat16: VARIANTS variants of pictures, to PNGs."""
    tiny = scale < 1
    size, steps = ((64, 64), 2) if tiny else (size, steps)
    with tempfile.TemporaryDirectory() as folder:
        save_stable_diffusion(Path(folder), tiny)
        open_expander = partial(Expander, folder, steps=steps, guidance=7.5, size=size, solver="ddim", dtype="bfloat16")

        def open_batch(batch: int) -> Callable[[], int]:
            expander, work = open_expander(batch=batch), made_up_work(2 * batch)
            return lambda: len(expand(expander, work))

        expander, one = open_expander(batch=1), made_up_work(1)
        expand(expander, one)  # so that its texts are known
        whole = flops(partial(expand, expander, one))
        encoding = flops(partial(expander.prepare, one.images, one.masks))
        del expander
        counted = whole - encoding * (1 - 1 / VARIANTS)  # an image is encoded once for its variants
        return throughput((2,) if tiny else (8, 32, 64), open_batch, counted)


def segformer(scale: float) -> dict:
    """SegFormer-b2 at 512x512, from pictures to masks."""
    tiny = scale < 1
    with tempfile.TemporaryDirectory() as folder:
        save_segformer(Path(folder), tiny)
        parser = load_parser(folder)
        batches = (2,) if tiny else (16, 64, 128)
        images = made_up(2 * max(batches))
        counted = flops(lambda: parse_clothes(parser, images[:1], 1))
        return throughput(
            batches, lambda batch: lambda: len(parse_clothes(parser, images[: 2 * batch], batch)), counted
        )


def llava(scale: float) -> dict:
    """A model of LLaVA-1.5-7B's shape that answers with 32 tokens."""
    tiny = scale < 1
    with tempfile.TemporaryDirectory() as folder:
        save_llava(Path(folder), tiny)
        describer = load_describer(folder)
        batches = (2,) if tiny else (8, 32, 64)
        images = made_up(max(batches))
        counted = flops(lambda: describe(describer, images[:1], QUESTION, max_new_tokens=32))
        return throughput(
            batches,
            lambda batch: lambda: len(describe(describer, images[:batch], QUESTION, max_new_tokens=32)),
            counted,
        )


def throughput(batches: Sequence[int], open_batch: Callable[[int], Callable[[], int]], counted: float) -> dict:
    """Images/s of the best batch, its peak memory and share of the measured matrix rate; images/s of every batch.

    open_batch(batch) returns what is timed, after one run to warm up; it returns how many images it did, as arrays or
    texts on the CPU. Batches that do not fit into memory are None. counted: floating point operations an image.
    """
    rates, memory = {}, {}
    for batch in batches:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "out of GPU memory")  # where a batch is halved, it is another one
            try:
                work = open_batch(batch)
                count = work()
                rates[batch] = count / best_of(2, work)[0]
            except (MemoryError, torch.OutOfMemoryError, UserWarning):
                rates[batch] = None
        memory[batch] = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else peak_memory()
    best = max(batches, key=lambda batch: rates[batch] or 0)
    peak = matrix_rate()
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "images/s": rates[best],
        "batch": best,
        "peak memory (GB)": memory[best],
        "TFLOP an image": counted / 1e12,
        "matrix products in bfloat16 (TFLOP/s)": peak / 1e12,
        "share of the matrix rate": None if rates[best] is None else rates[best] * counted / peak,
        **{f"batch {batch} (images/s)": rate for batch, rate in rates.items()},
    }


def matrix_rate() -> float:
    """Operations a second of the best of many bfloat16 matrix products."""
    side = 8192 if torch.cuda.is_available() else 512
    one, other = torch.ones((2, side, side), dtype=torch.bfloat16, device=device())

    def product() -> None:
        torch.mm(one, other)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return 2 * side**3 / min(timed(product) for _ in range(50))


def flops(work: Callable[[], object]) -> float:
    """Floating point operations of `work`: two for each multiplication of matrix products and convolutions.

    Attention is made of plain matrix products here, as the fused ones of CPUs are not counted.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def made_up(count: int) -> list[np.ndarray]:
    """Pictures uint8 [256, 128, 3] of blotches."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 16, 8, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(image).resize((128, 256), Image.Resampling.BICUBIC)) for image in coarse]


def made_up_work(count: int) -> Work:
    """So many variants of pictures, VARIANTS of each, a rectangle in the middle is inpainted."""
    images = made_up(-(-count // VARIANTS))
    mask = np.zeros(images[0].shape[:2], bool)
    mask[48:-8, 32:-32] = True
    rows = [number % len(images) for number in range(count)]
    return Work(images, [mask] * len(images), rows, [f"Outfit {number}" for number in rows], list(range(count)))


@contextmanager
def random_weights(dtype: torch.dtype = torch.bfloat16) -> Iterator[None]:
    """Models made inside are of this type and on the GPU, if there is one."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device()), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)


def save_stable_diffusion(folder: Path, tiny: bool) -> None:
    """Stable Diffusion 1.5 inpainting: 860 M parameters of U-Net with nine input channels, CLIP-L/14's texts."""
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 77
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    small_text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    widths, norm = ((8, 8, 16, 16), 4) if tiny else ((320, 640, 1280, 1280), 32)
    cells = (8, 8, 8, 8) if tiny else (128, 256, 512, 512)
    with random_weights():
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                max_position_embeddings=77,
                hidden_act="quick_gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **(small_text if tiny else text),
            )
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=cells,
            layers_per_block=1 if tiny else 2,
            norm_num_groups=norm,
            sample_size=512,
        )
        unet = UNet2DConditionModel(  # the class's defaults are Stable Diffusion's blocks
            sample_size=64,
            in_channels=9,
            block_out_channels=widths,
            layers_per_block=1 if tiny else 2,
            norm_num_groups=norm,
            cross_attention_dim=encoder.config.hidden_size,
            attention_head_dim=2 if tiny else 8,
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
    StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def save_segformer(folder: Path, tiny: bool, dtype: torch.dtype = torch.bfloat16) -> None:
    """SegFormer-b2 with ATR's 18 labels."""
    shape = {"depths": (3, 4, 6, 3), "hidden_sizes": (64, 128, 320, 512), "decoder_hidden_size": 768}
    small = {"depths": (1, 1, 1, 1), "hidden_sizes": (8, 16, 40, 64), "decoder_hidden_size": 16}
    with random_weights(dtype):
        config = SegformerConfig(id2label=dict(enumerate(ATR.split(", "))), **(small if tiny else shape))
        SegformerForSemanticSegmentation(config).save_pretrained(folder)
    side = 64 if tiny else 512
    SegformerImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)


def save_llava(folder: Path, tiny: bool) -> None:
    """The model of `make_llava` in bfloat16, and its processor, as a checkpoint."""
    for part in make_llava(tiny, torch.bfloat16):
        part.save_pretrained(folder)


def make_llava(tiny: bool, dtype: torch.dtype) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """LLaVA-1.5-7B: CLIP-L/14 at 336 pixels and a LLaMA of 7 B parameters, which never ends an answer by itself."""
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    side = 28 if tiny else 336
    tokenizer = make_tokenizer([QUESTION], special=["<image>"], chat_template=CHAT)
    pictures = CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False)
    with random_weights(dtype):
        model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=CLIPVisionConfig(image_size=side, patch_size=14, **(small if tiny else vision)),
                text_config=LlamaConfig(
                    vocab_size=32_064,
                    max_position_embeddings=4096,
                    rms_norm_eps=1e-5,
                    eos_token_id=None,
                    pad_token_id=tokenizer.pad_token_id,
                    **(small if tiny else text),
                ),
                image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
                image_seq_length=(side // 14) ** 2,
            )
        )
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return model.eval(), processor


def storage(scale: float) -> dict:
    """DVC's add, status and checkout of the same made-up variants as shards and as loose files."""
    count = max(2, round(scale * PRCC))
    with tempfile.TemporaryDirectory() as name:
        dvc = Dvc(Path(name))
        loose, shards = dvc.repository("loose"), dvc.repository("shards")
        empty = timed(lambda: dvc.run(shards, "status"))
        size, files = write_variants(loose / "set", shards / "set", count)
        adding = [timed(lambda where=where: dvc.run(where, "add", "set")) for where in (loose, shards)]
        status = best_of(ROUNDS, *(lambda where=where: dvc.run(where, "status") for where in (loose, shards)))
        checkout = np.min([[dvc.checkout(where) for where in (loose, shards)] for _ in range(2)], axis=0).tolist()
    found = {
        "images": count * VARIANTS,
        "GB": size / 1e9,
        "shards": files,
        "dvc status of an empty repository (s)": empty,
    }
    for verb, (one, other) in {"add": adding, "status": status, "checkout": checkout}.items():
        found[f"dvc {verb}, loose files (s)"] = one
        found[f"dvc {verb}, shards (s)"] = other
        found[f"dvc {verb}, times faster"] = one / other
    return found


class Dvc(NamedTuple):
    """DVC in repositories below `folder`, with nothing of it elsewhere."""

    folder: Path

    def repository(self, name: str) -> Path:
        """A new repository."""
        where = self.folder / name
        subprocess.run(["git", "init", "--quiet", str(where)], check=True)
        self.run(where, "init", "--quiet")
        return where

    def run(self, where: Path, *arguments: str) -> None:
        """One command of DVC's."""
        own = {f"DVC_{kind}": str(self.folder / kind) for kind in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR")}
        environment = os.environ | own | {"DVC_NO_ANALYTICS": "1"}
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=where, env=environment, check=True, capture_output=True)

    def checkout(self, where: Path) -> float:
        """Seconds of a checkout after the set is gone."""
        shutil.rmtree(where / "set")
        return timed(lambda: self.run(where, "checkout"))


def write_variants(loose: Path, shards: Path, count: int) -> tuple[int, int]:
    """VARIANTS variants of `count` images of 2 to 4 KB of noise, as loose files and as shards: bytes and shards."""
    rng = np.random.default_rng(0)
    size = files = 0
    for variant in range(VARIANTS):
        for first in range(0, count, BLOCK):
            ids = [f"train/{number:06d}.png" for number in range(first, min(first + BLOCK, count))]
            images = [b"\x89PNG\r\n\x1a\n" + rng.bytes(length) for length in rng.integers(2048, 4096, len(ids))]
            for image_id, data in zip(ids, images, strict=True):
                file = loose / f"{variant:03d}" / image_id
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            columns = {field.name: ["x" if field.type == "string" else 0] * len(ids) for field in GENERATED_SCHEMA}
            columns |= {"image_id": ids, "variant": [variant] * len(ids)}
            columns |= {"image": images, "checksum": [checksum(data) for data in images]}
            path = shards / f"variant-{variant:03d}-block-{first // BLOCK:04d}.arrow"
            write_shard(path, columns, GENERATED_SCHEMA, {"set": "made up"})
            size += sum(map(len, images))
            files += 1
    return size, files


CPU_CASES = {"mini": mini, "levers": levers, "parse": parse, "describe": describe_mini, "storage": storage}
CASES: dict[str, Callable[[float], dict]] = CPU_CASES | {
    "inpaint": partial(large, run=partial(inpaint, size=(768, 256), steps=50), goal=Goal(0.89, 5, 8)),
    "inpaint-queries": partial(large, run=partial(inpaint, size=(384, 128), steps=10), goal=Goal(3.33, 40, 60)),
    "segformer-b2": partial(large, run=segformer, goal=Goal(61.6, 400, 600)),
    "llava-7b": partial(large, run=llava, goal=Goal(4.0, 20, 40)),
}


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_of(times: int, *works: Callable[[], object]) -> list[float]:
    """The least seconds of each work over some rounds of all, so that a busy moment of the machine hits them alike."""
    return np.min([[timed(work) for work in works] for _ in range(times)], axis=0).tolist()


def peak_memory() -> float:
    """The most memory that this process has held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def _machine() -> dict:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return {
        "cores": thread_count(),
        "processor": processor,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


if __name__ == "__main__":
    app()
