"""Which outfit goes on which image, and the diffusion that puts it there."""

from dlcr.inpainting.assign import assign_outfits
from dlcr.inpainting.diffusion import load_inpainter
from dlcr.inpainting.expander import Expander
from dlcr.inpainting.generate import (
    Counts,
    generate_set,
    inpainting_painter,
    oracle_painter,
    plan_set,
    standard_painter,
)

__all__ = [
    "Counts",
    "Expander",
    "assign_outfits",
    "generate_set",
    "inpainting_painter",
    "load_inpainter",
    "oracle_painter",
    "plan_set",
    "standard_painter",
]
