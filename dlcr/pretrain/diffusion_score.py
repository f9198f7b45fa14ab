"""How well the inpainting model does what it is asked, on pretraining scenes that it has not seen.

Each scene is put into another outfit inside the silhouette of its own, and compared with the renderer's truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlcr.inpainting import Expander
from dlcr.minicc import COLOURS, LABELS, Outfit, outfit_words, pretrain_scene, render, sample_outfit
from dlcr.pretrain.diffusion_pool import CLOTHES
from dlcr.runtime.seeds import seed_of

PARTS = ("upper", "lower", "footwear")
MIN_PIXELS = 12
"""A part is not judged where less of it is visible in the mask."""


@dataclass(frozen=True)
class Trial:
    """A scene as worn (uint8 [H, W, 3]), its clothes' silhouette (bool [H, W]), the outfit wanted in it, the same scene
    in that outfit (uint8 [H, W, 3]) and that picture's label map (uint8 [H, W])."""

    image: np.ndarray
    mask: np.ndarray
    wanted: Outfit
    truth: np.ndarray
    labels: np.ndarray

    def visible(self, part: str) -> np.ndarray:
        """Pixels of the mask where the truth shows a part, bool [H, W]."""
        return self.mask & (self.labels == LABELS.index(part))


def make_trials(scenes: Sequence[int]) -> list[Trial]:
    """One trial for each of these pretraining scenes."""
    trials = []
    for index in scenes:
        scene = pretrain_scene(index)
        wanted = sample_outfit(np.random.default_rng(seed_of("inpainter", "trial", index)), "pretrain")
        worn, truth = render(scene), render(scene, wanted)
        trials.append(Trial(worn.image, np.isin(worn.labels, CLOTHES), wanted, truth.image, truth.labels))
    return [trial for trial in trials if trial.mask.any()]


def paint_trials(expander: Expander, trials: Sequence[Trial]) -> list[np.ndarray]:
    """The model's picture of every trial, uint8 [H, W, 3]; noise is seeded by the trial's place."""
    return expander.expand(
        [trial.image for trial in trials],
        [trial.mask for trial in trials],
        [outfit_words(trial.wanted) for trial in trials],
        list(range(len(trials))),
    )


def score(trials: Sequence[Trial], painted: Sequence[np.ndarray]) -> dict[str, float]:
    """`psnr_holes` (dB, against the truth) and `colour_<part>`: the share of plain garments in the colour asked for."""
    errors = [
        np.square(image[trial.mask].astype(float) - trial.truth[trial.mask]).ravel()
        for trial, image in zip(trials, painted, strict=True)
    ]
    scores = {"psnr_holes": float(10 * np.log10(255**2 / np.concatenate(errors).mean()))}
    for part in PARTS:
        right = [
            nearest_colour(trial, image, part) == getattr(trial.wanted, part).colour
            for trial, image in zip(trials, painted, strict=True)
            if trial.visible(part).sum() >= MIN_PIXELS and getattr(trial.wanted, part).pattern == "plain"
        ]
        scores[f"colour_{part}"] = float(np.mean(right))
    return scores


def nearest_colour(trial: Trial, image: np.ndarray, part: str) -> str:
    """The named colour closest to the median painted where a part should be, in the light that falls on the truth."""
    where = trial.visible(part)
    named = {name: np.asarray(rgb, float) for name, rgb in COLOURS.items()}
    true = np.median(trial.truth[where], axis=0)
    light = np.clip((true + 8) / (named[getattr(trial.wanted, part).colour] + 8), 0.3, 1.5)
    seen = np.median(image[where], axis=0)
    return min(named, key=lambda name: float(np.square(named[name] * light - seen).sum()))
