"""YAML is read as DVC reads it; whatever cannot be a parameter is one line that names the file and the place."""

import json
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml
from hypothesis import given
from hypothesis import strategies as st

from dlcr.runtime.documents import DEEPEST, MOST_VALUES, read_yaml

TEXTS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=8)
NUMBERS = st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_profiles_mean_the_same_to_dvc(repository: Path) -> None:
    for path in [repository / "dvc.yaml", *(repository / "profiles").glob("*.yaml")]:
        assert read_yaml(path) == load_yaml(str(path)), path


@given(content=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_read_is_what_dvc_reads(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    path = written(tmp_path_factory.mktemp("yaml"), json.dumps(content, ensure_ascii=False))
    assert read_yaml(path) == load_yaml(str(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("0o17", 15), ("1e-7", 1e-7), ("yes", "yes"), ("12:30", "12:30"), ("1_000", 1000), ("~", None)],
)
def test_it_is_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    path = written(tmp_path, f"a: {text}\n")
    assert read_yaml(path) == load_yaml(str(path)) == {"a": value}


def test_aliases_and_merges_are_written_out(tmp_path: Path) -> None:
    read = read_yaml(written(tmp_path, "x: &x {k: [1]}\ny: {<<: *x, m: 2}\nz: *x\n"))
    assert read == {"x": {"k": [1]}, "y": {"k": [1], "m": 2}, "z": {"k": [1]}}
    read["z"]["k"].append(2)
    assert read["x"] == {"k": [1]}


def bomb(levels: int) -> str:
    """Nine to the power of the levels values, in as many lines."""
    names = "abcdefghijkl"
    lines = [f"{names[i]}: &{names[i]} [{', '.join([f'*{names[i - 1]}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]", *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k: 1\nk: 2\n", r'duplicate key "k".*line 2, column 1$'),
        ("a:\n  b: 2026-11-29\n", "a.b: expected text, a number, a list or a mapping, found a date"),
        ("a: !!set {x, y}\n", "a: expected text, a number, a list or a mapping, found a set"),
        ("a: !!binary aGVsbG8=\n", "a: expected text, a number, a list or a mapping, found a bytes"),
        ("a: [1, .nan]\n", "a.1: expected a finite number, found nan"),
        ("a: !!python/object/apply:os.system [true]\n", "not YAML: could not determine a constructor for the tag"),
        ("a: {0: x}\n", "a.0: a key must be text, put it in quotes: '0'"),
        ("? [a, b]\n: c\n", "a key must be text"),
        ("a: &a [*a]\n", "a: an alias within what it stands for"),
        ("a: *b\n", "not YAML: found undefined alias"),
        ("a: [\n", "not YAML: "),
        ("a: 1\n---\nb: 2\n", "not YAML: expected a single document"),
        ("- a\n", "expected a mapping of sections, found list"),
        ("", "expected a mapping of sections, found NoneType"),
        (f"a: {'[' * (DEEPEST + 1)}{']' * (DEEPEST + 1)}\n", f"line 1: more than {DEEPEST} levels"),
        ("a: " + "{b: " * 100_000, f"line 1: more than {DEEPEST} levels"),
        (bomb(9), f"more than {MOST_VALUES:,} values, counting what aliases repeat"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(written(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'params.yaml'}: ")
    assert "\n" not in str(error.value)


def test_other_encodings_are_told(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("a: 1\nb: Grün\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"params\.yaml: not UTF-8, at byte 10"):
        read_yaml(tmp_path / "params.yaml")
