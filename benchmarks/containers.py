"""Images of the stages: sizes, build times, whether a build gives the same layers twice, and what a container costs.

    python -m benchmarks.containers                                  # -> benchmarks/containers.json
    python -m benchmarks.containers --out /tmp/containers.json --rounds 3

With podman, in a storage of its own that is removed at the end: the first build is cold, base image included (made by
containers/debian-base where BASE_IMAGE names none; needs root). Times hold the download of packages, from where pip's
variables point. Rows:

- `images`: bytes of each, and of all layers together, as they share the base;
- `build`: of all three, cold, cold once more on the same base, and after a change of code;
- `no-op`: `containers/run FAMILY` in front of a command that does nothing, by turns with engine none.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import typer
import yaml

from benchmarks.common import ROOT, in_turn, machine, timed
from dlcr.runtime.files import write_json

FAMILIES = ("vision", "reid", "report")


def main(out: Path | None = None, rounds: int = 10) -> None:
    """Build, measure each no-op ROUNDS times, print the results and write them to OUT, containers.json beside this."""
    with checkout() as folder:
        version = command(ROOT, "podman", "--version").split()[-1]
        results = {"machine": machine() | {"podman": version}, **measure(folder, rounds)}
    print(json.dumps(results, indent=2))
    write_json(out or Path(__file__).with_suffix(".json"), results)


@contextmanager
def checkout() -> Iterator[Path]:
    """A folder with what images are made of and some code, and a storage of its own for podman."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        folder, storage = Path(temporary, "dlcr"), Path(temporary, "storage")
        shutil.copytree(ROOT / "containers", folder / "containers")
        shutil.copytree(ROOT / "dlcr", folder / "dlcr")
        shutil.copy(ROOT / "constraints.txt", folder)
        settings = Path(temporary, "storage.conf")
        settings.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{storage / "graph"}"\nrunroot = "{storage / "run"}"\n'
        )
        os.environ |= {"CONTAINERS_STORAGE_CONF": str(settings), "DLCR_ENGINE": "podman"}
        try:
            yield folder
        finally:
            command(folder, "podman", "system", "prune", "--all", "--force")


def measure(folder: Path, rounds: int) -> dict:
    (folder / "containers" / "images.yaml").write_text("".join(f"{family}: null\n" for family in FAMILIES))
    base_seconds = 0.0
    if not os.environ.get("BASE_IMAGE"):
        base_seconds, printed = timed(partial(command, folder, "containers/debian-base"))
        os.environ["BASE_IMAGE"] = printed.splitlines()[-1]
    build = partial(command, folder, "containers/build")
    cold, _ = timed(build)
    first = images(folder)
    layers = {family: inspect(first[family], "{{.RootFS.Layers}}") for family in FAMILIES}
    with (folder / "dlcr" / "__init__.py").open("a") as file:
        file.write("\n# changed\n")
    changed, _ = timed(build)
    unchanged = images(folder) == first
    sizes = {family: int(inspect(first[family], "{{.Size}}")) for family in FAMILIES}
    everything = sum(used(part) for part in {part for family in FAMILIES for part in parts(first[family])})
    noop = [no_op(folder, family, rounds) for family in FAMILIES]
    command(folder, "podman", "rmi", "--force", *first.values())
    command(folder, "podman", "image", "prune", "--force")
    again, _ = timed(build)
    same = {family: inspect(images(folder)[family], "{{.RootFS.Layers}}") == layers[family] for family in FAMILIES}
    return {
        "images": {"bytes": sizes, "together": everything},
        "build (s)": {"base": base_seconds, "cold": cold, "cold, once more": again, "after a change of code": changed},
        "digests stay after a change of code": unchanged,
        "the same layers, built once more": same,
        "no-op": noop,
    }


def no_op(folder: Path, family: str, rounds: int) -> dict:
    """Seconds of a command that does nothing, with podman and without any engine, by turns."""
    run = partial(command, folder, "containers/run", family, "true")
    taken = in_turn(*(partial(run, DLCR_ENGINE=engine) for engine in ("podman", "none")), rounds=rounds + 1)
    with_it, without = (seconds[1:] for seconds in taken)  # the first of each reads files anew
    return {
        "family": family,
        "asked": "at most 2 s more",
        "podman (s)": median(with_it),
        "slowest (s)": max(with_it),
        "none (s)": median(without),
        "more (s)": median(with_it) - median(without),
    }


def images(folder: Path) -> dict[str, str]:
    return yaml.safe_load((folder / "containers" / "images.yaml").read_text())


def inspect(image: str, form: str) -> str:
    return command(ROOT, "podman", "image", "inspect", "--format", form, image).strip()


def parts(image: str) -> list[str]:
    """The folders of an image's layers."""
    data = json.loads(inspect(image, "{{json .GraphDriver.Data}}"))
    return [folder for name in ("LowerDir", "UpperDir") for folder in data.get(name, "").split(":") if folder]


def used(folder: str) -> int:
    return int(command(ROOT, "du", "--summarize", "--block-size=1", folder).split()[0])


def command(folder: Path, *words: str, **environment: str) -> str:
    """What a command prints; ends with its messages if it fails."""
    done = subprocess.run(
        words, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(words)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    typer.run(main)
