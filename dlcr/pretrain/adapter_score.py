"""How well the inpainter paints what it is shown, on pretraining scenes that neither it nor its adapter has seen.

Each scene is put into another outfit: told of it, shown it on another person, and both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlcr.inpainting import Expander
from dlcr.inpainting.garments import garment_picture
from dlcr.minicc import outfit_words, pretrain_scene, render
from dlcr.pretrain.diffusion_parts import SIZE
from dlcr.pretrain.diffusion_pool import CLOTHES
from dlcr.pretrain.diffusion_score import Trial, make_trials, score

SAMPLER = {"steps": 4, "guidance": 3.25, "solver": "dpm++"}
"""As profiles/minicc.yaml has it."""


def measure(folder: Path, inpainter: str, scenes: range) -> dict[str, float]:
    """`score` of what is painted on these scenes, by way: told, shown, both."""
    trials, garments = make_shown_trials(scenes)
    expander = Expander(inpainter, size=SIZE, batch=32, adapter=str(folder), **SAMPLER)
    words = [outfit_words(trial.wanted) for trial in trials]
    silent = [""] * len(words)
    ways = {"told": (words, None), "shown": (silent, garments), "both": (words, garments)}
    found = {}
    for way, (texts, pictures) in ways.items():
        images, masks = [trial.image for trial in trials], [trial.mask for trial in trials]
        painted = expander.expand(images, masks, texts, list(range(len(trials))), garments=pictures)
        found |= {f"{way}_{name}": value for name, value in score(trials, painted).items()}
    return found


def make_shown_trials(scenes: Sequence[int]) -> tuple[list[Trial], list[np.ndarray]]:
    """Trials, and for each a picture of the outfit that is wanted, worn by the person of the scene 5,000 further on."""
    pairs = []
    for index in scenes:
        for trial in make_trials([index]):
            shown = render(pretrain_scene(index + 5_000), trial.wanted)
            mask = np.isin(shown.labels, CLOTHES)
            if mask.any():
                pairs.append((trial, garment_picture(shown.image, mask)))
    return [trial for trial, _ in pairs], [picture for _, picture in pairs]
