"""Where every number comes from: run, parameters, hashes of data and code, git revision, image digests, hardware, cost.

    found = provenance(Path(), params, load_all())    # reports/provenance.json
    provenance_rows(found)                            # the same for a reader, one row per evaluation

What a number was made from is read in dvc.lock (`dlcr.reporting.lineage`). What DVC did not run is a gap, and said to
be one. Times, hardware and revision differ between runs of the same bytes, so DVC does not hash this.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dlcr.params import Params, evaluation_folder
from dlcr.reporting.lineage import Lineage, lineages
from dlcr.runtime.timing import machine

WRITTEN = (":(exclude)reports", ":(exclude)evaluations", ":(exclude)dvc.lock")
COSTS = {"core_hours": "CPU core hours", "gpu_hours": "GPU hours"}


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
    evaluations, found = {}, lineages(root, params)
    for name, item in params.evaluations.items():
        for ablation in params.recipes[params.runs[item.run].recipe].ablations or ("",):
            evaluations[f"{name}/{ablation}".rstrip("/")] = _entry(root, params, name, ablation, found[name], timings)
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


def _entry(root: Path, params: Params, name: str, ablation: str, lineage: Lineage, timings: pd.DataFrame) -> dict:
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


def _facts(timings: pd.DataFrame, stage: str, ablation: str) -> dict:
    """Seconds, machine and cost of a stage of dvc.lock, None where this machine has no record of them."""
    kind, _, name = stage.removeprefix("private-").partition("@")
    facts: dict = {}
    for one in (name, f"{name}.{ablation}") if ablation and kind == "train" else (name,):
        rows = timings[(timings["stage"] == kind) & (timings["name"] == one)]
        facts = facts if rows.empty else rows.iloc[-1].dropna().to_dict()
    return {key: facts.get(key) for key in ("seconds", "machine", *COSTS)}


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
