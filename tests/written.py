"""What a user's commands write into this checkout, and tests never read: `make demo`, then `make test` has to pass."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]

# By stages, experiments, `dlcr profile use`, `make images`.
WRITTEN = ("data/", "masks/", "descriptions/", "outfits/", "discriminators/", "generated/", "faces/", "runs/",
           "evaluations/", "reports/", "dvc.lock", "params.yaml", "containers/images.yaml")  # fmt: skip
_PATHS = tuple(f"{ROOT}/{name}" for name in WRITTEN)
_SHIPPED = ("/.gitignore", "/none/README.md")


def refuse(event: str, arguments: tuple) -> None:
    """An audit hook of Python, by which every opened file comes: an error for these, whichever test opens them.

    What is committed of them `clones.export` gives.
    """
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.abspath(arguments[0])  # noqa: PTH100 (thousands of files)
        if path.startswith(_PATHS) and not path.endswith(_SHIPPED):
            raise AssertionError(f"{path}: a test opens a file of this checkout that users' commands write")
