"""What the settings that change the picture save, and what they do to it; the small model, on the CPU.

    python -m benchmarks.generation --case levers

Last: 4 of 6 steps 1.5 times faster, guidance in half of the steps 1.3, every second pass reused 1.4.
"""

from functools import partial

import numpy as np

from benchmarks.common import ROOT, best_of
from benchmarks.generation.batches import in_batches
from benchmarks.generation.mini import IMAGES
from benchmarks.generation.models import QUESTION
from benchmarks.generation.work import expand, paint, shipped
from dlcr.inpainting import Expander
from dlcr.inpainting.quality import word_alignment
from dlcr.prompts import describe, load_describer

LEVERS = {
    "as shipped": {},
    "steps 4 of 6": {"steps": 4},
    "guidance_share 0.5": {"guidance_share": 0.5},
    "reuse_every 2": {"reuse_every": 2},
}


def levers(scale: float) -> dict:
    """Settings that save time and change the picture, each alone: speed, how far pictures move, prompts read back."""
    params, work = shipped(scale, IMAGES)
    settings = params.inpaint.model_dump(exclude={"block", "adapter"})
    work = work.first(max(4, len(work.rows) // 2))
    judge = load_describer(str(ROOT / params.models.describers[params.models.judge]))
    expanders = {
        name: Expander(str(ROOT / params.models.inpainter), **settings | change) for name, change in LEVERS.items()
    }
    seconds = best_of(*(partial(expand, expander, work) for expander in expanders.values()))
    masks, found, full = np.stack([work.masks[row] for row in work.rows]), {"variants": len(work.rows)}, None
    for (name, expander), taken in zip(expanders.items(), seconds, strict=True):
        images = paint(expander, work, lambda _, image: image)
        pictures = np.stack(images).astype(int)
        full = pictures if full is None else full
        answers = in_batches(images, partial(describe, judge, question=QUESTION, max_new_tokens=16), 64)
        read = [word_alignment(prompt, answer) for prompt, answer in zip(work.prompts, answers, strict=True)]
        found |= {
            f"{name} (images/s)": len(images) / taken,
            f"{name}, times faster": seconds[0] / taken,
            f"{name}, mean difference inside the masks (levels)": float(np.abs(pictures - full)[masks].mean()),
            f"{name}, words of the prompts read back (share)": float(np.mean(read)),
        }
    return found
