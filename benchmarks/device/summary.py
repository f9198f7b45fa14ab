"""Adds a part to OUT/device.json: python -m benchmarks.device.summary OUT PART EXIT_CODE SECONDS LIMIT.

The standard library alone: it works where nothing else does. EXIT_CODE: of `timeout`. What the part measured before it
failed or ran out of time is kept, and the last lines of what it printed, OUT/PART.log, which goes to OUT/log.txt.
"""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LINES = 12
PACKAGES = "torch", "transformers", "diffusers", "accelerate", "numpy"
STATES = {"0": "ok", "124": "timeout", "137": "timeout", "skipped": "skipped"}


def main(out: Path, part: str, code: str, seconds: str, limit: str) -> None:
    """Write OUT/device.json with this part too."""
    target, log, found = out / "device.json", out / f"{part}.log", out / f"{part}.json"
    content = json.loads(target.read_text()) if target.is_file() else start()
    printed = log.read_text(errors="replace") if log.is_file() else ""
    state = {"state": STATES.get(code, "failed"), "seconds": int(seconds), "limit": int(limit)}
    if state["state"] != "ok":
        state["last lines"] = printed.replace("\r", "\n").splitlines()[-LINES:]
    if found.is_file():
        state |= json.loads(found.read_text())
        content["machine"] = state.get("machine")
    content["parts"][part] = state
    content["seconds"] = sum(one["seconds"] for one in content["parts"].values())
    beside = target.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=2) + "\n")
    beside.replace(target)
    with (out / "log.txt").open("a") as file:
        file.write(f"== {part}: {state['state']} after {seconds} s\n{printed}\n")
    log.unlink(missing_ok=True)


def start() -> dict:
    """The machine, as far as it can be told without a library."""
    return {"driver": driver(), "versions": {name: found(name) for name in PACKAGES}, "parts": {}}


def driver() -> str | None:
    """The GPU's name, memory and driver, None where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def found(name: str) -> str | None:
    """The version of a package, None where it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
