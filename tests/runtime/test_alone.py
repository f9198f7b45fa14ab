"""Two processes never work in one folder, and no stage outlives the dvc that it works for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dlcr.runtime.alone import hold
from dlcr.runtime.resume import parts_folder
from dlcr.runtime.store import work_folder

HOLDER = """
import sys, time
from pathlib import Path
from dlcr.runtime.alone import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
STAGE = """
import os, sys, time
from pathlib import Path
import typer
from dlcr.runtime.stage import run_stage

app = typer.Typer()

@app.command()
def main(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    time.sleep(60)

run_stage(app)
"""


def holder(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_folder_is_one_processs_until_that_dies(tmp_path: Path, how: signal.Signals) -> None:
    folder = tmp_path / "checkpoints" / "abc"
    process = holder(folder)
    with pytest.raises(ValueError, match=rf"abc: process {process.pid} on .+ is at this work; wait until"):
        hold(folder)
    process.send_signal(how)
    process.wait()
    hold(folder)
    hold(folder)  # this process has it already
    assert not folder.exists()


def test_work_and_parts_are_one_processs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders in which a training and a stage of texts keep what they go on from."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for folder, have in (
        (".dlcr/checkpoints/abc", lambda: work_folder("abc")),
        (".dlcr/parts/describe@minicc", lambda: parts_folder("describe", "minicc").__enter__()),
    ):
        process = holder(tmp_path / folder)
        with pytest.raises(ValueError, match=f"process {process.pid} on .+ is at this work"):
            have()
        process.kill()
        process.wait()
        have()


@pytest.mark.parametrize("by_dvc", [True, False])
def test_a_stage_ends_with_its_dvc(tmp_path: Path, by_dvc: bool) -> None:
    """As DVC starts it: by a shell that waits for it. Killed, the dvc cannot tell it to end."""
    (tmp_path / "stage.py").write_text(STAGE)
    pid, errors = tmp_path / "pid", tmp_path / "errors"
    words = f"sh -c '{sys.executable} stage.py pid 2> errors; true'"
    dvc = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({words!r}, shell=True)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)} | ({"DVC_STAGE": "train@x"} if by_dvc else {}),
    )
    wait_for(pid.exists)
    stage = psutil.Process(int(pid.read_text()))
    dvc.kill()
    dvc.wait()
    try:
        if by_dvc:
            stage.wait(20)
            assert f"error: dvc (process {dvc.pid}), which started this stage, is gone" in errors.read_text()
        else:
            with pytest.raises(psutil.TimeoutExpired):
                stage.wait(3)
    finally:
        if stage.is_running():
            stage.kill()


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
