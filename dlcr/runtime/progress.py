"""Progress with throughput and remaining time: a bar on a terminal, now and then a line in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_SECONDS = 10.0


class _Bar(tqdm):
    """Progress on a terminal."""

    def skip(self, n: int) -> None:
        self.initial += n
        self.n += n
        self.last_print_n += n
        self.start_t = self.last_print_t = self._time()
        self.refresh()


class _Lines:
    """Progress for logs: one line every LINE_SECONDS and one at the end."""

    def __init__(self, total: int | None, desc: str, unit: str) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.done, self.skipped, self.start = 0, 0, time.monotonic()
        self.printed = self.start

    def skip(self, n: int) -> None:
        self.done += n
        self.skipped += n
        self.start = time.monotonic()

    def update(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.printed >= LINE_SECONDS:
            self.print()

    def print(self) -> None:
        self.printed = time.monotonic()
        elapsed, unit = self.printed - self.start, " " + self.unit
        line = tqdm.format_meter(
            self.done, self.total, elapsed, prefix=self.desc, unit=unit, ncols=0, initial=self.skipped
        )
        print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(total: int | None, desc: str, unit: str = "image") -> Iterator[_Bar | _Lines]:
    """Yield an object whose `update(n)` counts `n` more units of `total` (None: unknown), and whose `skip(n)` counts
    those that were there: they say nothing about the speed, which is measured from then on."""
    if sys.stderr.isatty():
        with _Bar(total=total, desc=desc, unit=" " + unit, dynamic_ncols=True) as bar:
            yield bar
        return
    lines = _Lines(total, desc, unit)
    try:
        yield lines
    finally:
        lines.print()
