"""YAML files as DVC reads them: YAML 1.2, in which `010` is ten and `1e-3` a number, and values that JSON can hold.

content = read_yaml(Path("params.yaml"))
"""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path

import yaml

DEEPEST = 40
"""Levels of lists and mappings within one another; a profile has six."""
MOST_VALUES = 200_000
"""Values with aliases written out: the file of a whole grid has some thousands, dvc.lock ten times as many."""
PLAIN = (str, bool, int, float, type(None))


def read_yaml(path: Path) -> dict:
    """The file's mapping. `<<` and aliases are written out, so that no two places share an object.

    Raises FileNotFoundError; ValueError, one line that names the file and the line or the key, for what is no UTF-8, no
    YAML or no mapping, for a key that stands twice, for values that are no text, number, truth value or null (dates,
    sets, binary data), for keys that are no text, and for more levels or values than a file of this project has.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = path.read_text(encoding="utf-8")
        deep = _too_deep(text)
        content = None if deep else YAML(typ="safe").load(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8, at byte {error.start}") from error
    except (YAMLError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not YAML: {_first_sentence(error)}") from error
    if deep:
        raise ValueError(f"{path}: line {deep}: more than {DEEPEST} levels of lists and mappings")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    return _plain(path, content, "", iter(range(MOST_VALUES)), DEEPEST)


def _too_deep(text: str) -> int:
    """The line where there are too many levels, or 0: by the events of libyaml, as the reader itself would call itself
    for every level."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return event.start_mark.line + 1
    return 0


def _plain(path: Path, value: object, key: str, left: Iterator[int], levels: int) -> object:
    """The value as JSON has it, its mappings and lists copied; `key` is its place in the file."""
    if levels < 0:
        raise ValueError(f"{path}: {key.partition('.')[0]}: an alias within what it stands for")
    if next(left, None) is None:
        raise ValueError(f"{path}: {key}: more than {MOST_VALUES:,} values, counting what aliases repeat")
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"{path}: {_below(key, name)}: a key must be text, put it in quotes: {str(name)!r}")
        return {name: _plain(path, part, _below(key, name), left, levels - 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(path, part, _below(key, i), left, levels - 1) for i, part in enumerate(value)]
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{path}: {key}: expected a finite number, found {value}")
    if isinstance(value, PLAIN):
        return value
    raise ValueError(f"{path}: {key}: expected text, a number, a list or a mapping, found a {type(value).__name__}")


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _first_sentence(error: Exception) -> str:
    """What the reader says, with its place, on one line; its advice for programmers is left out."""
    return " ".join(str(error).partition("\n\n")[0].split())
