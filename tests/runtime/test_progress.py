"""What was there already is counted, and says nothing about the speed."""

import io
import sys
import time

import pytest

from dlcr.runtime import progress as module
from dlcr.runtime.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_skipped_is_no_speed(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 of 1,100 are there; 50 are made in a second: the other 50 take about another one, not no time at all."""
    said = stream()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    with progress(1100, "paint") as bar:
        time.sleep(0.3)  # as long as it takes to look at what is there
        bar.skip(1000)
        time.sleep(1.0)
        bar.update(50)
    last = [line for line in said.getvalue().replace("\r", "\n").splitlines() if "1050/1100" in line][-1]
    assert "95%" in last
    speed = float(last.rpartition("]")[0].rpartition(", ")[2].split()[0].removesuffix("image/s"))
    assert 35 < speed <= 50
    assert "00:01<00:0" in last
