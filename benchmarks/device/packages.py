"""Prints the packages of packages.txt that this Python lacks, one per line. The standard library alone."""

import re
from importlib.metadata import distributions
from pathlib import Path


def normal(name: str) -> str:
    """A package's name as all of its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    there = {normal(found.metadata["Name"] or "") for found in distributions()}
    for line in Path(__file__).with_name("packages.txt").read_text().splitlines():
        name = line.partition("#")[0].strip()
        if name and normal(name) not in there:
            print(name)


if __name__ == "__main__":
    main()
