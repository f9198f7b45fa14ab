"""What is inpainted: variants of MiniCC's images, or of made-up pictures."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.common import ROOT, VARIANTS
from dlcr.data import encode_png
from dlcr.inpainting import Expander, assign_outfits
from dlcr.minicc import LABELS, benchmark_scenes, outfit_words, render
from dlcr.params import Params, load_params


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


def shipped(scale: float, count: int) -> tuple[Params, Work]:
    """Profile minicc's parameters, and the variants of `count` of its images, times `scale`."""
    params = load_params(ROOT / "profiles/minicc.yaml")
    return params, minicc_work(params.minicc.model_dump(), max(2, round(scale * count)))


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
