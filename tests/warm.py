"""Programs that start at once: `python -m`, `dvc` and `dlcr` for tests, forked from a process with libraries imported.

What a clone's `dvc repro` spends most of its time with at the smallest size is starting: every stage imports torch,
every command of DVC imports DVC. Here a server imports both once, and each start is a fork of it, with the caller's
folder, environment, arguments and streams. What is ours (`dlcr`, `stages`) it does not import: that a program takes
from its own folder, as always.

    PATH=programs():$PATH dvc repro
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import NoReturn

IMPORTED = (
    *("accelerate", "diffusers", "dvc.cli.parser", "dvc.repo.reproduce", "dvclive", "matplotlib.pyplot", "pandas"),
    *("pyarrow.parquet", "pydantic", "scipy.optimize", "scmrepo.git", "torch.distributed", "transformers", "typer"),
)
"""What the server imports. It never computes: threads would be lost in a fork."""
SETTINGS = ("HF_", "TRANSFORMERS_", "OMP_", "MKL_", "PYTHON", "CUDA_", "LD_", "MPL", "LC_", "LANG", "TZ")
"""How variables begin that libraries read when they are imported: a caller with others starts programs as usual."""
APPLIED = ("PYTHON", "PYTHONPATH", "PYTHONUNBUFFERED")
"""Of these, what no library reads, or a forked program is given nevertheless."""
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
"""What `stages` sets before all else, and so does this process once a test has imported a stage."""
HERE = QUIET | {key: value for key, value in os.environ.items() if key.startswith(SETTINGS)}
"""Those of the server: as when the tests began."""

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
name, program = {name!r}, {program!r}
settings = {{key: value for key, value in os.environ.items() if key.startswith({begin!r}) and key not in {applied!r}}}
settings = {quiet!r} | settings
if settings != {settings!r} or name == "python" and (sys.argv[1:2] != ["-m"] or len(sys.argv) < 3):
    os.execv(program, [program, *sys.argv[1:]])
words = sys.argv[2:] if name == "python" else [program, *sys.argv[1:]]
request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.connect({address!r})
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
pid = int.from_bytes(server.recv(8), "big")
def pass_on(number, frame):
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, pass_on)
code = int.from_bytes(server.recv(8), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@cache
def programs() -> Path:
    """The folder of the programs; their server starts with the first call and ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    (folder / "bin").mkdir()
    facts = {
        "python": sys.executable,
        "begin": SETTINGS,
        "applied": APPLIED,
        "settings": {key: value for key, value in HERE.items() if key not in APPLIED},
        "quiet": QUIET,
        "address": str(folder / "socket"),
    }
    for name in ("python", "dvc", "dlcr"):
        program = folder / "bin" / name
        program.write_text(CLIENT.format(name=name, program=str(Path(sys.executable).parent / name), **facts))
        program.chmod(0o755)
    others = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
    words = [sys.executable, __file__, folder / "socket"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = subprocess.Popen(words, cwd="/", env=others | HERE, **pipes)
    assert server.stdout.readline() == b"ready\n"

    def end() -> None:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    return folder / "bin"


def serve(address: str) -> list[str]:
    """Forks a process for each request until stdin ends. Returns in that process, with the words to run."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    running: dict[int, tuple[int, socket.socket]] = {}  # pidfd: process, who waits for it
    with selectors.DefaultSelector() as waiting:
        waiting.register(0, selectors.EVENT_READ, "end")
        waiting.register(listener, selectors.EVENT_READ, "request")
        while True:
            for key, _ in waiting.select():
                if key.data == "end":
                    for process, _ in running.values():
                        os.killpg(process, signal.SIGKILL)
                    sys.exit()
                elif key.data == "request":
                    client = listener.accept()[0]
                    if (request := receive(client)) is None:
                        continue
                    (words, folder, environment), streams = request
                    process = os.fork()
                    if not process:
                        os.setsid()
                        waiting.close()
                        listener.close()
                        become(folder, environment, streams)
                        return words
                    for stream in streams:
                        os.close(stream)
                    client.sendall(process.to_bytes(8, "big"))
                    ended = os.pidfd_open(process)
                    running[ended] = process, client
                    waiting.register(ended, selectors.EVENT_READ, "ended")
                    waiting.register(client, selectors.EVENT_READ, process)
                elif key.data == "ended":
                    process, client = running.pop(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    if client.fileno() >= 0:
                        waiting.unregister(client)
                        client.sendall(code.to_bytes(8, "big", signed=True))
                        client.close()
                elif key.fileobj.fileno() >= 0:  # its client was killed before it ended
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()
                    os.killpg(key.data, signal.SIGKILL)


def receive(client: socket.socket) -> tuple[list, list[int]] | None:
    """A request and its three streams; None from a client that ended meanwhile."""
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    size, request = int.from_bytes(head, "big"), b""
    while len(request) < size:
        if not (part := client.recv(size - len(request))):
            return None
        request += part
    return json.loads(request), streams


def become(folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Makes this process that of a caller."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    ours = set(search_path())
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:] = [*search_path(), *(place for place in sys.path[1:] if place not in ours)]
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def search_path() -> list[str]:
    """Where this process's variable PYTHONPATH has Python look for modules."""
    return [str(Path(place).absolute()) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]


def run(words: list[str]) -> NoReturn:
    """`python -m MODULE ARGUMENTS...`, or a program of the environment as its own file would run it."""
    code = 0
    try:
        if Path(words[0]).is_absolute():
            sys.argv, sys.path[0] = words, str(Path(words[0]).parent)
            runpy.run_path(words[0], run_name="__main__")
        else:
            sys.argv, sys.path[0] = ["-m", *words[1:]], str(Path.cwd())
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    # As the interpreter ends, but for taking apart all that was imported, which takes half a second.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that no fork's collector touches, and thereby copies, what is shared
    run(serve(sys.argv[1]))
