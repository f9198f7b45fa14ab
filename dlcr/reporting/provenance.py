"""Where every number comes from: run, parameters, hashes of data and code, git revision, image digests, hardware, cost.

    found = provenance(Path(), params, load_all())    # reports/provenance.json
    provenance_rows(found)                            # the same for a reader, one row per evaluation

What a number was made from is read in dvc.lock, upstream from the stage that evaluated it, and checked: a stage must
have read what the stage before it wrote, all must have had the same parameters and code, and the evaluation's folder
must still hold what DVC saw there. What DVC did not run is a gap, and said to be one. The small models come with the
repository: they are known by their hashes, and nothing is sought behind them. Times, hardware and revision differ
between runs of the same bytes, so DVC does not hash this.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml

from dlcr.params import Params, evaluation_folder
from dlcr.runtime.timing import machine

PRODUCED = ("data", "masks", "descriptions", "outfits", "discriminators", "generated", "faces", "runs")
"""Folders whose entries are outputs of stages, but for `none` and imported sets."""
CODE = ("dlcr", "stages", "containers")
"""Folders of code; any other .py file is code too (your own model)."""
WRITTEN = (":(exclude)reports", ":(exclude)evaluations", ":(exclude)dvc.lock")
FROZEN = "pretrain@"
"""Stages that made the small models."""
COSTS = {"core_hours": "CPU core hours", "gpu_hours": "GPU hours"}


@dataclass
class _Lineage:
    """What the stages behind an evaluation read and wrote; `gaps` and `stale` say what is wrong, in words."""

    scores: str = ""
    stages: list[str] = field(default_factory=list)
    parameters: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


def provenance(root: Path, params: Params, timings: pd.DataFrame) -> dict:
    """The provenance of every evaluation, as plain data for JSON.

    Args:
        root: the repository, with dvc.lock and evaluations/.
        timings: `dlcr.runtime.timing.load_all()`.

    Returns `git` (`revision`, and `changed`, the versioned files that differ from it; None outside a repository),
    `machine` (of the report) and `evaluations`, by name (EVALUATION/ABLATION where a run has these):
        state: "complete"; "stale", where what was read is not what was written; "incomplete", where dvc.lock lacks a
            stage; "not run". `gaps` and `stale` say why, a sentence each.
        scores: MD5 of the evaluation's folder.
        run, dataset, model, generated, seeds: as params.yaml names them now.
        parameters, images, data, code: of all stages behind it, as dvc.lock has them: values by key, image digest by
            target (None: no container), MD5 by path.
        stages: by name, `seconds`, `machine` and its cost (`core_hours` or `gpu_hours`), None where they were not
            timed here.

    Raises ValueError for a dvc.lock that is no mapping of stages.
    """
    stages = {name: stage for name, stage in read_lock(root / "dvc.lock").items() if not name.startswith(FROZEN)}
    writers: dict[str, list[str]] = {}
    for name, stage in stages.items():
        for out in stage.get("outs", []):
            writers.setdefault(out["path"], []).append(name)
    evaluations = {}
    for name, item in params.evaluations.items():
        lineage = _lineage(root, params, name, stages, writers)
        for ablation in params.recipes[params.runs[item.run].recipe].ablations or ("",):
            evaluations[f"{name}/{ablation}".rstrip("/")] = _entry(root, params, name, ablation, lineage, timings)
    return {"git": _git(root), "machine": machine(), "evaluations": evaluations}


def provenance_rows(found: Mapping) -> list[dict[str, str]]:
    """`provenance` for a reader: by heading, one row per evaluation."""
    rows = []
    for name, entry in found["evaluations"].items():
        totals = {words: sum(stage.get(key) or 0 for stage in entry["stages"].values()) for key, words in COSTS.items()}
        timed = all(stage.get("seconds") is not None for stage in entry["stages"].values())
        cost = ", ".join(f"{total:.2g} {words}" for words, total in totals.items() if total)
        machines = dict.fromkeys(_hardware(stage["machine"]) for stage in entry["stages"].values() if stage["machine"])
        rows.append(
            {
                "Evaluation": name,
                "State": _state(entry),
                "Run": entry["run"],
                "Dataset": entry["dataset"],
                "Model": entry["model"],
                "Generated set": entry["generated"],
                "Training seeds": ", ".join(map(str, entry["seeds"])),
                "Scores (MD5)": entry["scores"][:8] or "not recorded",
                "Images": ", ".join(f"{target}: {digest or 'none'}" for target, digest in entry["images"].items()),
                "Hardware": "; ".join(machines) or "not recorded",
                "Cost": (cost if timed else f"at least {cost}") if cost else "not recorded",
            }
        )
    return rows


def _entry(root: Path, params: Params, name: str, ablation: str, lineage: _Lineage, timings: pd.DataFrame) -> dict:
    item = params.evaluations[name]
    run = params.runs[item.run]
    state = "stale" if lineage.stale else "incomplete" if lineage.gaps else "complete"
    return {
        "scores": lineage.scores,
        "state": state if (root / evaluation_folder(params, name) / ablation).is_dir() else "not run",
        "gaps": lineage.gaps,
        "stale": lineage.stale,
        "run": "/".join(part for part in (item.run, ablation) if part),
        "dataset": item.dataset,
        "model": run.recipe,
        "generated": run.generated,
        "seeds": params.seeds if run.seeds is None else run.seeds,
        "parameters": lineage.parameters,
        "images": lineage.images,
        "data": lineage.data,
        "code": lineage.code,
        "stages": {stage: _facts(timings, stage, ablation) for stage in lineage.stages},
    }


def _lineage(
    root: Path, params: Params, name: str, stages: Mapping[str, dict], writers: Mapping[str, list[str]]
) -> _Lineage:
    """All stages behind an evaluation, from its own upwards, each once."""
    found = _Lineage()
    output = evaluation_folder(params, name).as_posix()
    own = writers.get(output, [])
    if not own:
        found.gaps.append(f"dvc.lock has no stage for {output}.")
        return found
    waiting = [own[0]]
    for out in stages[own[0]]["outs"]:
        found.data[out["path"]] = out.get("md5", "")
        if out["path"] != output:
            continue
        found.scores = out.get("md5", "")
        if (root / output).is_dir() and folder_md5(root / output) != found.scores:
            found.stale.append(f"{output} is not what {own[0]} wrote.")
    while waiting:
        stage = waiting.pop(0)
        if stage in found.stages:
            continue
        found.stages.append(stage)
        _keep_parameters(found, stage, stages[stage].get("params", {}))
        for path, md5 in ((dep["path"], dep.get("md5", "")) for dep in stages[stage].get("deps", [])):
            kind = "code" if path.split("/")[0] in CODE or path.endswith(".py") else "data"
            _keep(found, getattr(found, kind), path, md5, stage)
            if kind == "data":
                waiting += _writer(found, params, stage, path, md5, stages, writers)
    return found


def _writer(
    found: _Lineage,
    params: Params,
    reader: str,
    path: str,
    md5: str,
    stages: Mapping[str, dict],
    writers: Mapping[str, list[str]],
) -> list[str]:
    """The stage that wrote what `reader` read, [] if none did. What does not fit together is noted."""
    wrote = {
        stage: out.get("md5", "")
        for stage in writers.get(path, [])
        for out in stages[stage]["outs"]
        if out["path"] == path
    }
    # dvc.lock keeps stages of other profiles: the one whose output was read is meant
    same = [stage for stage, written in wrote.items() if written == md5]
    if wrote and not same:
        found.stale.append(f"{reader} read another {path} than {next(iter(wrote))} wrote.")
    folder, _, item = path.partition("/")
    if not wrote and folder in PRODUCED and item != "none" and item not in params.imported:
        found.gaps.append(f"dvc.lock has no stage for {path}.")
    return (same or list(wrote))[:1]


def _keep_parameters(found: _Lineage, stage: str, files: Mapping[str, dict]) -> None:
    for source, values in files.items():
        target = found.images if source == "containers/images.yaml" else found.parameters
        for key, value in values.items():
            _keep(found, target, key, value, stage)


def _keep(found: _Lineage, kept: dict, key: str, value: object, stage: str) -> None:
    """Note a value. If a stage nearer to the evaluation has another one, the chain is stale."""
    if kept.setdefault(key, value) != value:
        found.stale.append(f"{stage} had another {key} than a later stage.")


def _facts(timings: pd.DataFrame, stage: str, ablation: str) -> dict:
    """Seconds, machine and cost of a stage of dvc.lock, None where this machine has no record of them."""
    kind, _, name = stage.removeprefix("private-").partition("@")
    facts: dict = {}
    for one in (name, f"{name}.{ablation}") if ablation and kind == "train" else (name,):
        rows = timings[(timings["stage"] == kind) & (timings["name"] == one)]
        facts = facts if rows.empty else rows.iloc[-1].dropna().to_dict()
    return {key: facts.get(key) for key in ("seconds", "machine", *COSTS)}


def folder_md5(folder: Path) -> str:
    """The hash by which DVC knows a folder's content, `<md5>.dir`: of the list of its files' hashes, sorted by path."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listing = [{"md5": _md5(paths[name].read_bytes()), "relpath": name} for name in sorted(paths)]
    return _md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def read_lock(source: Path) -> dict[str, dict]:
    """The stages of dvc.lock by name, {} if there is none."""
    if not source.is_file():
        return {}
    try:
        content = yaml.load(source.read_text(encoding="utf-8"), yaml.CSafeLoader)  # the plain loader takes seconds
    except yaml.YAMLError as error:
        raise ValueError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise ValueError(f"{source}: expected a mapping with `stages`, as DVC writes it")
    return stages


def _git(root: Path) -> dict | None:
    """The revision, and the versioned files that differ from it; None without git or outside a repository."""
    revision = _run_git(root, "rev-parse", "HEAD")
    # what the pipeline itself writes is left out; the hashes above say whether it fits
    changed = _run_git(root, "diff", "--name-only", "-z", "HEAD", "--", ".", *WRITTEN)
    if revision is None or changed is None:
        return None
    return {"revision": revision.strip(), "changed": sorted(changed.split("\0")[:-1])}


def _run_git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _state(entry: Mapping) -> str:
    """The state, with its reasons where it is an unexpected one."""
    if entry["state"] == "not run":
        return "not run"
    return ": ".join(part for part in (entry["state"], " ".join(entry["stale"] + entry["gaps"])) if part)


def _hardware(found: Mapping) -> str:
    """A machine in a few words."""
    parts = [found["gpu"]] if found["gpu"] else []
    parts += [f"{found['cpu']}, {found['threads']} of {found['cores']} cores", f"{found['memory_gb']:.0f} GB"]
    return ", ".join([*parts, f"Python {found['python']}", *([f"PyTorch {found['torch']}"] if found["torch"] else [])])
