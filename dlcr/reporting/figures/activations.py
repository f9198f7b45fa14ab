"""Figure A6: where a model's last feature maps are strong, baseline beside DLCR.

The map is class-free: the mean over the channels of the squared last maps of the model's body, before any pooling, of
the image and its mirror, of which the test features are made too. It says where there is much of any feature, not what
speaks for one person. Squares of maps as attention: Zagoruyko and Komodakis, ICLR 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dlcr.data import Images, load_manifest, open_images, open_masks
from dlcr.evaluation.statistics import paired_difference
from dlcr.params import Params
from dlcr.reporting.cells import probability
from dlcr.reporting.figures.models import load_first
from dlcr.reporting.figures.style import WIDTH, panel, ratio, style, to_bytes, write
from dlcr.reporting.formats import interval, signed
from dlcr.reporting.parts import Picture
from dlcr.reporting.sheets import choose_first
from dlcr.runtime.seeds import seed_of

if TYPE_CHECKING:
    from dlcr.reid import ReidModel

QUERIES = 6
MEASURED, BATCH = 240, 32
"""Queries whose maps are measured, and how many at once."""
GAP, TEXT, NAMES = 0.12, 0.32, 0.75


def activations(root: Path, params: Params, before: str | None, after: str | None) -> Picture | None:
    """The first queries of a few subjects with the maps of two evaluations' models; None if a model, its maps or the
    data is not there."""
    folder = root / "data" / params.report.dataset
    models = [load_first(root, params, name) for name in (before, after)]
    if any(model is None for model in models) or not (folder / "images").is_dir():
        return None
    opened, chosen = open_images(folder / "images"), choose_first(load_manifest(folder), "query", QUERIES)
    images = [opened[image_id] for image_id in chosen]
    maps = [activation_maps(model, images) for model in models]
    if not images or any(found is None for found in maps):
        return None
    masks = _masks(root / "masks" / params.report.dataset, chosen)
    measured = on_clothes(root, params, models)
    height = WIDTH * ratio(images[0])
    with style():
        figure = Figure(figsize=(NAMES + len(images) * (WIDTH + GAP), 0.1 + 3 * (height + TEXT)))
        rows = [(image, "") for image in images]
        for found in maps:
            rows += [(blend(*pair), share) for *pair, share in zip(images, found, texts(found, masks), strict=True)]
        for number, (picture, text) in enumerate(rows):
            row, column = divmod(number, len(images))
            panel(figure, NAMES + column * (WIDTH + GAP), 0.1 + row * (height + TEXT), WIDTH, height, picture, text)
        for row, name in enumerate(("query", "baseline", "DLCR")):
            write(figure, 0.1, 0.1 + row * (height + TEXT) + height / 2, name)
        content = to_bytes(figure)
    return Picture(
        "fig-a6",
        "Figure A6: activation maps, baseline beside DLCR",
        content,
        f"{len(images)} queries ({', '.join(chosen)}), and over each where the last feature maps of the baseline and "
        "of DLCR are strong.",
        "The mean over the channels of the squared last feature maps, before pooling, of the image and its mirror, "
        f"over the first query of each of the first {QUERIES} test subjects; first training seed. Yellow is the map’s "
        "own maximum, dark blue is zero. It shows where features are strong, not which of them speak for this person."
        + (" Below: the share that lies on the clothes." if masks else "")
        + measured,
    )


def activation_maps(model: ReidModel, images: list[np.ndarray]) -> list[np.ndarray] | None:
    """The model's map of every image (uint8 [h, w, 3]) at the image's size: float32 [h, w], 0 to 1, 1 its maximum.

    Of a body that gives several maps the first counts. None if it gives none: it may pool them itself.
    """
    import torch

    from dlcr.reid.colours import normalise
    from dlcr.reid.pixels import resize

    bicubic = getattr(model, "bicubic", False)
    pixels = torch.from_numpy(np.stack([resize(image, model.size, bicubic) for image in images]))
    with torch.inference_mode():
        found = [model.body(normalise(inputs)) for inputs in (pixels, pixels.flip(2))]
    maps, mirrored = (maps[0] if isinstance(maps, tuple) else maps for maps in found)
    if maps.ndim != 4:
        return None
    strength = maps.float().square().mean(1) + mirrored.float().square().mean(1).flip(2)
    strength = (strength / strength.amax((1, 2), keepdim=True).clamp_min(1e-12)).numpy()
    return [
        np.asarray(Image.fromarray(values).resize(image.shape[1::-1], Image.Resampling.BILINEAR))
        for values, image in zip(strength, images, strict=True)
    ]


def blend(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """The image in grey under its map's colours; uint8 [h, w, 3]. Their lightness rises too, for grey."""
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None] / 255
    colours = mpl.colormaps["cividis"](np.asarray(strength))[..., :3]
    return (255 * (0.4 * grey + 0.6 * colours)).round().astype(np.uint8)


def _masks(folder: Path, image_ids: list[str]) -> list[np.ndarray]:
    """The clothes masks of the images, [] where they are not there."""
    masks = open_masks(folder) if folder.is_dir() else ()
    return [masks[image_id] for image_id in image_ids] if all(image_id in masks for image_id in image_ids) else []


def texts(maps: list[np.ndarray], masks: list[np.ndarray]) -> list[str]:
    """The share of each map that lies inside its mask, as text; "" without masks."""
    return [f"{share:.0f} % clothes" for share in _shares(maps, masks)] if masks else [""] * len(maps)


def _shares(maps: list[np.ndarray], masks: list[np.ndarray]) -> list[float]:
    """The share of each map, in percent, that lies inside its mask."""
    return [
        100 * float(found[mask].sum()) / max(float(found.sum()), 1e-12) for found, mask in zip(maps, masks, strict=True)
    ]


def on_clothes(root: Path, params: Params, models: list[ReidModel]) -> str:
    """A sentence: how much of both models' maps lies on the clothes, over `MEASURED` queries drawn with a seed, and the
    difference with its interval; "" without masks."""
    dataset = params.report.dataset
    seed = seed_of("activations", params.seed)
    queries = load_manifest(root / "data" / dataset).query("split == 'query'").sort_values("image_id")
    drawn = queries.sample(min(MEASURED, len(queries)), random_state=np.random.default_rng(seed))
    chosen = drawn["image_id"].tolist()
    masks = _masks(root / "masks" / dataset, chosen)
    if not masks:
        return ""
    images = open_images(root / "data" / dataset / "images")
    before, after = (_measured(model, images, chosen, masks) for model in models)
    paired = paired_difference(after, before, drawn["subject"])
    which = "all" if len(chosen) == len(queries) else "drawn with a seed"
    area = 100 * np.mean([mask.mean() for mask in masks])
    return (
        f" Over {len(chosen)} queries ({which}) {before.mean():.1f} % of the baseline’s maps and {after.mean():.1f} % "
        f"of DLCR’s lie on the clothes, which cover {area:.1f} % of the images: {signed(paired.mean)} points "
        f"(95 % interval {interval(paired.low, paired.high)}, {probability(paired.p_value)})."
    )


def _measured(model: ReidModel, images: Images, chosen: list[str], masks: list[np.ndarray]) -> np.ndarray:
    shares = []
    for start in range(0, len(chosen), BATCH):
        part = slice(start, start + BATCH)
        shares += _shares(activation_maps(model, [images[image_id] for image_id in chosen[part]]), masks[part])
    return np.array(shares)
