"""What evaluations were made from, as dvc.lock has it: the stages upstream of each, their parameters, data and code.

    found = lineages(Path(), params)
    found["progressive"].stale      # sentences, where something does not fit together

A stage must have read what the stage before it wrote, all must have had the same parameters and code, those of
params.yaml but for the seeds, and the evaluation's folder must still hold what DVC saw there. The small models come
with the repository: they are known by their hashes, and nothing is sought behind them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dlcr.params import Items, Params, evaluation_folder
from dlcr.runtime.documents import read_yaml

PRODUCED = ("data", "masks", "descriptions", "outfits", "discriminators", "generated", "faces", "runs")
"""Folders whose entries are outputs of stages, but for `none` and imported sets."""
CODE = ("dlcr", "stages", "containers")
"""Folders of code; any other .py file is code too (your own model)."""
FROZEN = "pretrain"
"""The stage that made the small models."""


@dataclass
class Lineage:
    """What the stages behind an evaluation read and wrote; `gaps` and `stale` say what is wrong, in words.

    changed: whether the evaluation's folder is not what DVC saw written, as after a run by hand. others: the keys whose
    values in params.yaml are not those that it was made with; unknown, and so none, if it has changed. made_again: what
    it was made from that was made again since, with other bytes.
    """

    scores: str = ""
    changed: bool = False
    stages: list[str] = field(default_factory=list)
    parameters: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    made_again: list[str] = field(default_factory=list)


def lineages(root: Path, params: Params) -> dict[str, Lineage]:
    """The lineage of every evaluation, by its name in params.yaml.

    root: the repository, with params.yaml, dvc.lock and evaluations/. Raises ValueError for a dvc.lock that is no
    mapping of stages.
    """
    stages = {name: stage for name, stage in read_lock(root / "dvc.lock").items() if name != FROZEN}
    writers: dict[str, list[str]] = {}
    for name, stage in stages.items():
        for out in stage.get("outs", []):
            writers.setdefault(out["path"], []).append(name)
    found = {name: _lineage(root, params, name, stages, writers) for name in params.evaluations}
    content = _parameters(root)
    for lineage in found.values():
        lineage.others = [] if lineage.changed else _others(content, lineage.parameters)
        if lineage.others:
            lineage.stale.append(f"It was made with another {', '.join(lineage.others)} than params.yaml has.")
    return found


def other_keys(root: Path, stage: str) -> list[str]:
    """The keys whose values in params.yaml are not those of a stage in dvc.lock; none where it lacks it, or where the
    files that the stage writes are others now. Items that were added since, as a set, say nothing against what was
    measured of the others."""
    entry = read_lock(root / "dvc.lock").get(stage, {})
    written = {root / out["path"]: out.get("md5") for out in entry.get("outs", [])}
    if any(not path.is_file() or _md5(path.read_bytes()) != md5 for path, md5 in written.items()):
        return []
    content, kept = _parameters(root), entry.get("params", {}).get("params.yaml", {})
    if isinstance(content, Mapping):
        known = {key: kept[key] for key in Items.model_fields if isinstance(kept.get(key), Mapping)}
        now = {key: content[key] for key in known if isinstance(content.get(key), Mapping)}
        content = {**content} | {key: {name: now[key].get(name) for name in known[key]} for key in now}
    return _others(content, kept)


def _parameters(root: Path) -> object:
    """The content of params.yaml, None if there is none."""
    source = root / "params.yaml"
    return read_yaml(source) if source.is_file() else None


def _others(content: object, kept: Mapping) -> list[str]:
    """The keys with other values; seeds aside, as more or fewer of them measure the same, and scores say which they are
    of."""
    return [
        key for key, value in kept.items() if content is not None and key != "seeds" and _value(content, key) != value
    ]


def _value(content: object, key: str) -> object:
    """The value of a key as dvc.yaml writes it, `runs.baseline`; names may have dots. None if there is none."""
    if not isinstance(content, Mapping):
        return None
    if key in content:
        return content[key]
    parts = key.split(".")
    heads = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next((_value(content[head], key[len(head) + 1 :]) for head in heads if head in content), None)


def _lineage(
    root: Path, params: Params, name: str, stages: Mapping[str, dict], writers: Mapping[str, list[str]]
) -> Lineage:
    """All stages behind an evaluation, from its own upwards, each once."""
    found = Lineage()
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
            found.changed = True
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
    found: Lineage,
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
        found.made_again.append(path)
    folder, _, item = path.partition("/")
    if not wrote and folder in PRODUCED and item != "none" and item not in params.imported:
        found.gaps.append(f"dvc.lock has no stage for {path}.")
    return (same or list(wrote))[:1]


def _keep_parameters(found: Lineage, stage: str, files: Mapping[str, dict]) -> None:
    for source, values in files.items():
        target = found.images if source == "containers/images.yaml" else found.parameters
        for key, value in values.items():
            _keep(found, target, key, value, stage)


def _keep(found: Lineage, kept: dict, key: str, value: object, stage: str) -> None:
    """Note a value. If a stage nearer to the evaluation has another one, the chain is stale."""
    if kept.setdefault(key, value) != value:
        found.stale.append(f"{stage} had another {key} than a later stage.")


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
    stages = read_yaml(source).get("stages")
    if not isinstance(stages, dict):
        raise ValueError(f"{source}: expected a mapping with `stages`, as DVC writes it")
    return stages
