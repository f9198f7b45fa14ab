"""SECURITY.md names the test that holds each of its lines."""

import re
from pathlib import Path


def test_every_named_test_exists(repository: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (repository / "SECURITY.md").read_text())
    assert len(named) >= 15
    missing = [(file, name) for file, name in named if f"\ndef {name}(" not in (repository / file).read_text()]
    assert missing == []


def test_every_line_of_the_table_names_one(repository: Path) -> None:
    lines = [line for line in (repository / "SECURITY.md").read_text().splitlines() if line.startswith("| ")]
    assert len(lines) > 8
    assert [line for line in lines[2:] if "`tests/" not in line] == []
