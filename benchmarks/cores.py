"""What more cores are worth: stages with one process, two, and as many as there are cores, and whether the bytes agree.

    python -m benchmarks.cores                                     # -> benchmarks/cores.json
    python -m benchmarks.cores --scale 0.1 --out /tmp/cores.json   # to try it

Each stage of profile minicc is a command of its own, start and imports included, with one thread per process. The time
with eight processes is calculated from the two that were measured: what is shared, and what is not.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from hashlib import blake2b
from pathlib import Path

import yaml

from benchmarks.common import ROOT, command, timed
from benchmarks.device.smoke import work_folder
from dlcr.runtime.determinism import core_count

SUBJECTS, VARIANTS, EPOCHS = 24, 6, 8
STAGES = (
    ("prepare", "minicc", "data/minicc"),
    ("parse", "minicc", "masks/minicc"),
    ("describe", "minicc", "descriptions/minicc.parquet"),
    ("summarize", "minicc", "outfits/minicc.parquet"),
    ("inpaint", "inpainting", "generated/inpainting"),
    ("inpaint", "oracle", "generated/oracle"),
    ("train", "paired", "runs/paired"),
    ("refine_eval", "paired", "evaluations/paired"),
)


def stages(scale: float) -> list[dict]:
    """One row per stage: seconds by the number of processes, efficiency, and whether the outputs are the same bytes."""
    numbers = sorted({1, 2, core_count()})
    with tempfile.TemporaryDirectory() as name:
        folders = {number: work_folder(Path(name) / str(number)) for number in numbers}
        for folder in folders.values():
            (folder / "params.yaml").write_text(yaml.safe_dump(parameters(scale)))
        return [row(stage, item, output, folders) for stage, item, output in STAGES]


def parameters(scale: float) -> dict:
    """Profile minicc, smaller."""
    params = yaml.safe_load((ROOT / "profiles/minicc.yaml").read_text(encoding="utf-8"))
    subjects = max(6, round(scale * SUBJECTS))
    params["minicc"] |= {"train_subjects": subjects, "val_subjects": 1, "test_subjects": 4 * subjects}
    params["evaluations"]["paired"]["queries"] = "none"
    params["k"] = max(2, round(scale * VARIANTS))
    params["recipes"]["cal-mini"] |= {"epochs": max(1, round(scale * EPOCHS)), "milestones": []}
    return params


def row(stage: str, item: str, output: str, folders: dict[int, Path]) -> dict:
    """A stage in each folder, with so many processes there."""
    seconds, hashes = {}, {}
    for number, folder in folders.items():
        environment = os.environ | {"DLCR_WORKERS": str(number), "DLCR_THREADS": "1", "DVC_ROOT": str(folder)}
        words = [sys.executable, "-m", f"stages.{stage}", item]
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        options = {"cwd": folder, "env": environment, "check": True, "stdout": subprocess.DEVNULL}
        seconds[number] = timed(partial(subprocess.run, words, **options))[0]
        hashes[number] = contents(folder / output)
    shared = max(0.0, 2 * (seconds[1] - seconds[2]))
    return {
        "stage": f"{stage} {item}",
        **{f"{number} processes (s)": taken for number, taken in seconds.items()},
        **{f"efficiency of {number}": seconds[1] / taken / number for number, taken in seconds.items() if number > 1},
        "8 processes (s), calculated": seconds[1] - shared + shared / 8,
        "same bytes": len(set(hashes.values())) == 1,
    }


def contents(output: Path) -> str:
    """A hash of a file, or of all files of a folder, but for logs of times."""
    digest = blake2b()
    for path in sorted([output] if output.is_file() else output.rglob("*")):
        if path.is_file() and "live" not in path.parts:
            digest.update(str(path.relative_to(output.parent)).encode() + path.read_bytes())
    return digest.hexdigest()


app = command("cores", {"stages": stages})


if __name__ == "__main__":
    app()
