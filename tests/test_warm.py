"""Programs forked from the server end as those that are started: output, exit codes, signals, environment, modules."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from warm import HERE, SETTINGS, programs

PROGRAM = """
import os, sys, time
import beside
print(sys.argv[1:], os.environ["MINE"], beside.__file__, __name__, flush=True)
if sys.argv[1] == "wait":
    open("pid", "w").write(str(os.getpid()))
    time.sleep(600)
sys.exit({"0": 0, "3": 3, "text": "a text"}.get(sys.argv[1]) if sys.argv[1] != "raise" else 1 / 0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("")
    return tmp_path


def start(program: Path, folder: Path, word: str) -> subprocess.Popen:
    return subprocess.Popen(
        [program, "-m", "program", word], cwd=folder, env={**os.environ, **HERE, "MINE": "own"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("word", ["0", "3", "text", "raise"])
def test_a_program_ends_as_if_it_was_started(folder: Path, word: str) -> None:
    usual, warm = (start(program, folder, word) for program in (Path(sys.executable), programs() / "python"))
    (printed, said), (printed_warm, said_warm) = usual.communicate(), warm.communicate()
    assert (printed_warm, warm.returncode) == (printed, usual.returncode)
    assert said_warm.splitlines()[-1:] == said.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_caller_ends_the_program(folder: Path, number: int) -> None:
    client = start(programs() / "python", folder, "wait")
    client.stdout.readline()
    while not (pid := (folder / "pid").read_text() if (folder / "pid").exists() else ""):
        time.sleep(0.01)
    client.send_signal(number)
    assert client.wait() == -number
    for _ in range(500):
        if not Path("/proc", pid).exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")


def test_what_libraries_read_when_they_are_imported_is_as_usual(folder: Path) -> None:
    code = "import os, sys; print('torch' in sys.modules)"
    (folder / "asks.py").write_text(code)
    others = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
    for settings, expected in ((HERE, "True"), (HERE | {"OMP_NUM_THREADS": "2"}, "False")):
        words = [programs() / "python", "-m", "asks"]
        done = subprocess.run(words, cwd=folder, env=others | settings, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_modules_are_looked_for_where_the_caller_says(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By PYTHONPATH, whatever the server's was; the folder itself comes first."""
    (folder / "asks.py").write_text("import elsewhere, beside; print(elsewhere.__file__, beside.__file__)")
    other = tmp_path_factory.mktemp("other")
    for name in ("elsewhere.py", "beside.py"):
        (other / name).touch()
    words = [programs() / "python", "-m", "asks"]
    environment = os.environ | HERE | {"PYTHONPATH": f"/nowhere:{other}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(other / "elsewhere.py"), str(folder / "beside.py")]
