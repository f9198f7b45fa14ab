"""Typed parameters: the only package that knows params.yaml.

`load_params()` reads the active profile (params.yaml at the repository's root) and checks every key, type and
reference between sections, so that a stage never meets a half-valid configuration. The profiles under profiles/ are
complete files of the same shape; `dlcr profile use NAME` makes one the active profile.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from dlcr.params.checks import all_items, problems
from dlcr.params.items import REFERENCES, Dataset, Evaluation, GeneratedSet, Imported, Items, Run
from dlcr.params.sections import Geff, MiniCC, Name, Quality, Recipe, Row, Summarize
from dlcr.params.whole import (
    ADAPTER,
    Params,
    evaluation_folder,
    evaluation_places,
    file_content,
    lookup,
    moving_revision,
    training_modes,
    weight_names,
)
from dlcr.runtime.documents import read_yaml

__all__ = [
    "ADAPTER",
    "REFERENCES",
    "Dataset",
    "Evaluation",
    "Geff",
    "GeneratedSet",
    "Imported",
    "Items",
    "MiniCC",
    "Name",
    "Params",
    "Quality",
    "Recipe",
    "Row",
    "Run",
    "Summarize",
    "evaluation_folder",
    "evaluation_places",
    "file_content",
    "load_params",
    "lookup",
    "moving_revision",
    "read_content",
    "training_modes",
    "weight_names",
]


def load_params(path: str | Path = "params.yaml") -> Params:
    """The checked parameters of a profile.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line that names the file, the key and what was expected: an unknown or missing key, a value of
            another type, a name that no section defines, a public item that is made from a private one, or what
            `dlcr.runtime.documents.read_yaml` does not take.
    """
    path = Path(path)
    content = read_content(path)
    try:
        # Strict validation takes a list for a tuple only in its JSON form, and YAML has no tuples.
        params = Params.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error)}") from error
    for problem in problems(params):
        raise ValueError(f"{path}: {problem}")
    return params.model_copy(update=all_items(params))


def read_content(path: Path) -> dict:
    """A profile's values, unchecked: an edited file may have keys that no stage would take. Errors as `load_params`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run in the repository's root, or `dlcr profile use minicc`")
    return read_yaml(path)


def _explain(error: ValidationError) -> str:
    """The first problem of a validation in one line: key, what is wrong, what was given."""
    # A mistyped key shows up twice, as unknown and as missing: the unknown one says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if first["type"] == "missing":
        return f"{key}: missing key"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}, found {first['input']!r}"
