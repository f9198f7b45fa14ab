"""How a stage's command ends, as whoever started it sees it."""

import subprocess
import sys
from pathlib import Path

import pytest

STAGE = """
import sys, warnings
import typer
from dlcr.runtime.stage import run_stage

app = typer.Typer()

@app.command()
def main() -> None:
    {}

run_stage(app)
"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, ""),
        ("raise KeyboardInterrupt", 130, "interrupted: what is finished is kept, the same command goes on from there"),
        ("raise MemoryError", 1, "error: out of memory"),
        ("raise MemoryError('no room for 3 GB')", 1, "error: no room for 3 GB"),
        ("raise OSError", 1, "error: OSError"),
        ("raise ValueError('a.parquet:\\n\\n  no column x')", 1, "error: a.parquet: no column x"),
        ("warnings.warn('two left')", 0, "warning: two left"),
    ],
)
def test_a_command_ends_with_one_line(tmp_path: Path, body: str, code: int, said: str) -> None:
    (tmp_path / "stage.py").write_text(STAGE.format(body))
    done = subprocess.run([sys.executable, tmp_path / "stage.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (code, said, "")


def test_a_bug_shows_its_trace(tmp_path: Path) -> None:
    (tmp_path / "stage.py").write_text(STAGE.format("{}['x']"))
    done = subprocess.run([sys.executable, tmp_path / "stage.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "KeyError" in done.stderr
