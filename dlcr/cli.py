"""The `dlcr` command: what is about the project as a whole. The pipeline itself runs through `dvc repro`.

dlcr profile list
dlcr profile use minicc
"""

from __future__ import annotations

import shutil
from pathlib import Path

import typer

from dlcr.params import load_params
from dlcr.runtime.files import atomic_path
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False, no_args_is_help=True, help="DLCR as a reproducible pipeline.")
profile_app = typer.Typer(no_args_is_help=True, help="Choose what params.yaml describes.")
app.add_typer(profile_app, name="profile")

PROFILES = Path("profiles")


@profile_app.command("list")
def list_profiles() -> None:
    """Name the profiles; the active one, where params.yaml equals it, is marked."""
    active = Path("params.yaml")
    for path in sorted(PROFILES.glob("*.yaml")):
        same = active.is_file() and active.read_bytes() == path.read_bytes()
        typer.echo(f"{'*' if same else ' '} {path.stem}")


@profile_app.command("use")
def use_profile(name: str) -> None:
    """Make profiles/NAME.yaml the active params.yaml."""
    source = PROFILES / f"{name}.yaml"
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name not in known:
        raise FileNotFoundError(f"{source}: no such profile; there are {', '.join(known) or 'none (run in the root)'}")
    load_params(source)
    with atomic_path(Path("params.yaml")) as temporary:
        shutil.copyfile(source, temporary)
    typer.echo(f"params.yaml is now profile {name}; `dvc repro` runs it")


def main() -> None:
    """Entry point of the console script: an expected error is one line, not a traceback."""
    run_stage(app)
