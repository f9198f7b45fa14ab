"""What both kinds of parsers do with a batch: cut it into parts that need little memory, and look at what comes out."""

from __future__ import annotations

import torch

PART_BYTES = 6 * 2**20
"""The network's input at a time: two pictures of 512 x 512 in float32, four in half precision.

SegFormer-b2 takes 140 times as much for what it computes from them, nearly all of it in its decoder. On a CPU larger
parts are no faster; single pictures take half as long again.
"""


def in_parts(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Consecutive parts of a batch [N, C, h, w] of at most PART_BYTES each, or of one picture."""
    return inputs.split(max(1, PART_BYTES // inputs[0].nbytes))


def check_logits(model: str, logits: torch.Tensor) -> torch.Tensor:
    """The logits themselves; ValueError where they are not finite: one of them would be the best label all the same."""
    if not bool(logits.isfinite().all()):
        precision = str(logits.dtype).removeprefix("torch.")
        raise ValueError(f"{model}: damaged weights, or unfit for {precision}: its logits are not finite numbers")
    return logits
