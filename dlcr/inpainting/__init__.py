"""Which outfit goes on which image, and the diffusion that puts it there."""

from dlcr.inpainting.alignment import align_set, alignment_judge
from dlcr.inpainting.assign import assign_outfits
from dlcr.inpainting.generate import Counts, generate_set, plan_set
from dlcr.inpainting.painters import Chunk, Painter, Sample

__all__ = [
    "Chunk",
    "Counts",
    "Expander",
    "Painter",
    "Sample",
    "align_set",
    "alignment_judge",
    "assign_outfits",
    "generate_set",
    "load_inpainter",
    "plan_set",
]


def __getattr__(name: str) -> object:
    """`Expander` and `load_inpainter`, imported when they are asked for: diffusers takes seconds."""
    if name == "Expander":
        from dlcr.inpainting.expander import Expander

        return Expander
    if name == "load_inpainter":
        from dlcr.inpainting.diffusion import load_inpainter

        return load_inpainter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
