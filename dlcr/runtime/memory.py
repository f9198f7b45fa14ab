"""Batches that fit: how many items go to a GPU at a time is halved when its memory runs out."""

import gc
import sys
import warnings
from collections.abc import Callable, Sequence


class Batch:
    """How many items are worked on at a time; halves when a GPU runs out of memory, and stays halved.

    `size`: the number to begin with; raises ValueError below 1. On a GPU the last bits of a result can depend on it.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch size must be at least 1, got {size}")
        self.size = size

    def run(self, work: Callable[[Sequence], Sequence], items: Sequence) -> list:
        """The results of `work` for consecutive parts of `items` (anything that can be sliced), in order, as one list.

        `work` takes at most `size` items and returns a result for each; a part that did not fit is given to it again
        in halves. Raises MemoryError when one item alone does not fit; other errors of `work` pass through.
        """
        results: list = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + self.size]
            try:
                done = list(work(part))
            except out_of_memory() as error:
                reason = str(error)
            else:
                if len(done) != len(part):
                    raise ValueError(f"{len(done)} results for {len(part)} items; expected one for each")
                results += done
                continue
            # out here the error, and with it what the failed call still held, is gone
            self._halve(len(part), reason)
        return results

    def _halve(self, failed: int, reason: str) -> None:
        import torch

        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if failed == 1:
            raise MemoryError(f"one item alone does not fit into the memory of the GPU: {reason}")
        self.size = failed // 2
        warnings.warn(f"out of GPU memory: batches of {failed} become batches of {self.size}", stacklevel=3)


def out_of_memory() -> tuple[type[BaseException], ...]:
    """What PyTorch raises; nothing where PyTorch was never imported, as importing it takes seconds."""
    torch = sys.modules.get("torch")
    return () if torch is None else (torch.OutOfMemoryError,)
