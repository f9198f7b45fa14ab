"""What all kinds of parsers do with a batch: cut it into parts that need little memory, and look at what comes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

PART_BYTES = 6 * 2**20
"""The network's input at a time: two pictures of 512 x 512 in float32, four in half precision.

SegFormer-b2 takes 140 times as much for what it computes from them, nearly all of it in its decoder. On a CPU larger
parts are no faster; single pictures take half as long again.
"""


def in_parts(inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Consecutive parts of a batch [N, C, h, w] of at most PART_BYTES each, or of one picture."""
    return inputs.split(max(1, PART_BYTES // inputs[0].nbytes))


def in_parts_by_size(
    pictures: Sequence[torch.Tensor], compute: Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
) -> list[tuple[torch.Tensor, ...]]:
    """What `compute` makes of each picture [C, h, w], in order, where pictures can differ in size.

    compute: a part of pictures of one size, [n, C, h, w], to tensors [n, ...]. Nothing is padded: what a network sees
    of a picture must not depend on the others of its batch.
    """
    places = defaultdict(list)
    for place, picture in enumerate(pictures):
        places[picture.shape].append(place)
    computed = {}
    for same in places.values():
        parts = in_parts(torch.stack([pictures[place] for place in same]))
        rows = [row for part in parts for row in zip(*compute(part), strict=True)]
        computed.update(zip(same, rows, strict=True))
    return [computed[place] for place in range(len(pictures))]


def check_logits(model: str, logits: torch.Tensor) -> torch.Tensor:
    """The logits themselves; ValueError where they are not finite: one of them would be the best label all the same."""
    if not bool(logits.isfinite().all()):
        precision = str(logits.dtype).removeprefix("torch.")
        raise ValueError(f"{model}: damaged weights, or unfit for {precision}: its logits are not finite numbers")
    return logits
