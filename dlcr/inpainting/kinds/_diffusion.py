"""What the kinds that paint by diffusion share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlcr.inpainting.families import find_family
from dlcr.inpainting.garments import decode_garment
from dlcr.inpainting.painters import Block, Chunk, Painter, Sample, all_samples, decode_block, make_sample
from dlcr.runtime.networks import model_fingerprint

if TYPE_CHECKING:
    from dlcr.inpainting.canvas import Canvas
    from dlcr.params import GeneratedSet, Params


def sampler_settings(params: Params, entry: GeneratedSet, **own: object) -> tuple[dict, dict]:
    """The keyword arguments of `Expander` for a set, with the kind's own, and plain data that says what paints.

    The model's family is among the former, so that its code enters the set's keys. Raises ValueError for settings that
    the family does not know, and what `find_family` raises.
    """
    settings = params.inpaint.model_dump(exclude={"block"}, exclude_none=True)
    settings |= {key: value for key, value in (("steps", entry.steps), ("size", entry.size)) if value} | own
    identity = {"model": model_fingerprint(params.models.inpainter)} | settings | {"size": list(settings["size"])}
    if entry.discriminator != "none":
        guide = {"weight": entry.weight, "times": entry.times}
        discriminator = str(Path("discriminators", entry.discriminator))
        identity |= guide | {"times": list(entry.times), "discriminator": model_fingerprint(discriminator)}
        settings |= guide | {"discriminator": discriminator}
    identity |= {key: model_fingerprint(settings[key]) for key in ("lora", "prior") if key in settings}
    family = find_family(params.models.inpainter)
    family.check(params.models.inpainter, settings)
    return settings | {"family": family}, identity


def diffusion_painter(model: str, settings: dict, masked: bool, told: bool = True) -> Painter:
    """Fills the masks, or paints image to image without them.

    settings: keyword arguments of `Expander`. told: by the outfits' texts, besides what a chunk shows of them. The
    images and masks of a block are encoded once for its variants.
    """
    from dlcr.inpainting.expander import Expander  # with diffusers: seconds

    expander = Expander(model, **settings)
    opened: dict[tuple[str, ...], tuple[Block, Canvas | None]] = {}

    def paint(chunk: Chunk) -> list[Sample]:
        key = tuple(chunk.image_ids)
        if key not in opened:
            opened.clear()  # one block at a time: its variants follow each other
            block = decode_block(chunk)
            used = list(block.masks.values()) if masked else None
            opened[key] = block, expander.prepare(list(block.images.values()), used) if block.images else None
        block, canvas = opened[key]
        places = [place for place, image_id in enumerate(chunk.image_ids) if image_id in block.images]
        pictures, masks = list(block.images.values()), list(block.masks.values())

        def finish(row: int, variant: np.ndarray) -> Sample:
            return make_sample(pictures[row], variant, masks[row])

        made = expander.paint(
            canvas,
            range(len(places)),
            pictures,
            masks if masked else None,
            [chunk.prompts[place] if told else "" for place in places],
            [chunk.seeds[place] for place in places],
            finish,
            None if chunk.garments is None else [decode_garment(*chunk.garments[place]) for place in places],
        )
        return all_samples(block, chunk, dict(zip(places, made, strict=True)))

    return paint
