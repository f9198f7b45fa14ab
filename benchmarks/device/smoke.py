"""Profile smoke's stages on the GPU and on the CPU, stage by stage, and what came of them compared.

Two processes work side by side, each in a folder of its own. A stage reads what its own device made, so differences add
up as they do for a user. Where a stage fails on the GPU, the next ones go on with the CPU's output. At the end every
evaluation is repeated on the GPU with the models and variants of the CPU: that alone tells whether a score is the
same, as trainings drift apart.

On a machine without a GPU, the second process pretends to be one (`pretend`).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.device import compare
from benchmarks.device.results import Results
from dlcr.params import Params, load_params

ROOT = Path(__file__).resolve().parents[2]
FEW = {
    "datasets": ["minicc"],
    "generated": ["inpainting", "queries-minicc"],
    "discriminators": ["minicc"],
    "runs": ["progressive"],
    "evaluations": ["progressive"],
}
"""The items of tiny runs, of sections that have more."""
NONE = "generated/none", "faces/none", "discriminators/none"


class Step(NamedTuple):
    """A stage's item, where it writes, and how two outputs (the CPU's, the GPU's) are compared."""

    stage: str
    name: str
    output: str
    compare: Callable[[Path, Path], dict]


def run(results: Results, tiny: bool) -> None:
    """A case a stage's item."""
    with tempfile.TemporaryDirectory() as name:
        cpu, gpu, same = (work_folder(Path(name) / part) for part in ("cpu", "gpu", "same"))
        params = load_params(cpu / "params.yaml")
        keep = {section: list(getattr(params, section)) for section in FEW} | (FEW if tiny else {})
        steps = list_steps(params, keep, cpu)
        hidden = {"CUDA_VISIBLE_DEVICES": "", "DLCR_THREADS": str(max(1, torch.get_num_threads() // 2))}
        one = start([], os.environ | hidden)
        other = start([] if torch.cuda.is_available() else ["--pretend"], os.environ)
        try:
            for step in steps:
                results.case(f"{step.stage} {step.name}", partial(both, one, other, step, cpu, gpu))
            for part in ("data", "runs", "generated", "faces"):
                if (cpu / part).is_dir():
                    shutil.copytree(cpu / part, same / part, dirs_exist_ok=True)
            for step in steps:
                if step.stage == "refine_eval":
                    step = step._replace(compare=compare.same_models)
                    label = f"{step.stage} {step.name}, the CPU's models and variants"
                    results.case(label, partial(again, other, step, cpu, same))
        finally:
            for process in (one, other):
                process.stdin.close()  # its last line: it ends
                process.wait()


def work_folder(folder: Path) -> Path:
    """A folder in which stages run: code, models, empty sets and the parameters of profile smoke."""
    for part in NONE:
        (folder / part).mkdir(parents=True)
    for part in ("dlcr", "models"):
        (folder / part).symlink_to(ROOT / part)
    shutil.copy(ROOT / "profiles/smoke.yaml", folder / "params.yaml")
    return folder


def list_steps(params: Params, keep: dict[str, list[str]], cpu: Path) -> list[Step]:
    """The stages in their order: a discriminator after the sets that it may learn from, before those that it guides."""

    def paint(name: str) -> Step:
        masks = cpu / "masks" / params.generated[name].dataset
        return Step("inpaint", name, f"generated/{name}", partial(compare.variants, masks=masks))

    sets = {name: params.generated[name] for name in keep["generated"]}
    guided = [name for name, entry in sets.items() if entry.discriminator != "none"]
    responses, prompts = (partial(compare.texts, column=column) for column in ("response", "prompt"))
    return [
        *(Step("prepare", name, f"data/{name}", compare.manifests) for name in keep["datasets"]),
        *(Step("parse", name, f"masks/{name}", compare.masks) for name in keep["datasets"]),
        *(Step("describe", name, f"descriptions/{name}.parquet", responses) for name in params.descriptions),
        *(Step("summarize", name, f"outfits/{name}.parquet", prompts) for name in params.outfits),
        *(paint(name) for name in sets if name not in guided),
        *(Step("discriminate", name, f"discriminators/{name}", compare.weights) for name in keep["discriminators"]),
        *(paint(name) for name in guided),
        *(Step("faces", name, f"faces/{name}", compare.faces) for name in params.faces),
        *(Step("train", name, f"runs/{name}", compare.trainings) for name in keep["runs"]),
        *(Step("refine_eval", name, f"evaluations/{name}", compare.evaluations) for name in keep["evaluations"]),
    ]


def start(options: list[str], environment: dict[str, str]) -> subprocess.Popen:
    """A process that runs stages (`worker`)."""
    environment = environment | {"PYTHONPATH": os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "benchmarks.device.worker", *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def both(one: subprocess.Popen, other: subprocess.Popen, step: Step, cpu: Path, gpu: Path) -> dict:
    """A stage on both devices at once, and the comparison. RuntimeError where one failed."""
    send(one, step, cpu)
    send(other, step, gpu)
    slow, fast = receive(one), receive(other)
    if fast["error"] and not slow["error"]:
        replace(cpu / step.output, gpu / step.output)
    return compared(step, cpu, gpu, fast | {"seconds on the CPU": slow["seconds"]}, slow["error"])


def again(other: subprocess.Popen, step: Step, cpu: Path, same: Path) -> dict:
    """A stage on the GPU whose inputs are the CPU's, and the comparison."""
    send(other, step, same)
    return compared(step, cpu, same, receive(other), None)


def compared(step: Step, cpu: Path, gpu: Path, facts: dict, problem: str | None) -> dict:
    """The facts of a stage's run on the GPU and how far its output is from the CPU's."""
    for device, error in (("GPU", facts.pop("error")), ("CPU", problem)):
        if error:
            raise RuntimeError(f"on the {device}: {error}")
    facts["seconds on the GPU"] = facts.pop("seconds")
    facts = {name.replace("peak", "stage's peak"): value for name, value in facts.items()}
    return facts | step.compare(cpu / step.output, gpu / step.output)


def send(process: subprocess.Popen, step: Step, folder: Path) -> None:
    job = {"folder": str(folder), "stage": step.stage, "name": step.name}
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()


def receive(process: subprocess.Popen) -> dict:
    """The answer of a process; a process that died is an error of every stage that it should have run."""
    line = process.stdout.readline()
    return json.loads(line) if line else {"seconds": 0.0, "error": "the process that runs the stages died"}


def replace(source: Path, target: Path) -> None:
    """Put a file or folder in another's place."""
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
