"""Progress with throughput and remaining time: a bar on a terminal, now and then a line in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_SECONDS = 10.0


class _Lines:
    """Progress for logs: one line every LINE_SECONDS and one at the end."""

    def __init__(self, total: int | None, desc: str, unit: str) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.done, self.start = 0, time.monotonic()
        self.printed = self.start

    def update(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.printed >= LINE_SECONDS:
            self.print()

    def print(self) -> None:
        self.printed = time.monotonic()
        line = tqdm.format_meter(
            self.done, self.total, self.printed - self.start, prefix=self.desc, unit=" " + self.unit, ncols=0
        )
        print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(total: int | None, desc: str, unit: str = "image") -> Iterator[tqdm | _Lines]:
    """Yield an object whose `update(n)` counts `n` more units of `total` (None: unknown)."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=desc, unit=" " + unit, dynamic_ncols=True) as bar:
            yield bar
        return
    lines = _Lines(total, desc, unit)
    try:
        yield lines
    finally:
        lines.print()
