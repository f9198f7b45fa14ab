"""The `dlcr` command: what is about the project as a whole. The pipeline itself runs through `dvc repro`.

dlcr doctor
dlcr profile list
dlcr profile use minicc
dlcr models pin
dlcr import-released DIR --dataset prcc
dlcr claims
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dlcr.params import load_params, moving_revision, weight_names
from dlcr.runtime.files import atomic_path, write_text
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False, no_args_is_help=True, help="DLCR as a reproducible pipeline.")
profile_app = typer.Typer(no_args_is_help=True, help="Choose what params.yaml describes.")
app.add_typer(profile_app, name="profile")
models_app = typer.Typer(no_args_is_help=True, help="The weights that params.yaml names.")
app.add_typer(models_app, name="models")

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


@models_app.command("pin")
def pin_models() -> None:
    """Name the models of a hub in params.yaml by commits: those that their branches and tags are at now."""
    from huggingface_hub import HfApi

    source = Path("params.yaml")
    text = source.read_text(encoding="utf-8")
    names = weight_names(load_params(source)).values()
    for repository, revision in sorted(set(filter(None, map(moving_revision, names)))):
        commit = HfApi().model_info(repository, revision=revision).sha
        text = re.sub(rf"{re.escape(f'{repository}@{revision}')}(?![\w./-])", f"{repository}@{commit}", text)
        typer.echo(f"{repository}: {revision} is {commit}")
    write_text(source, text)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of text.")] = False) -> None:
    """Say what the active profile misses on this machine, and what to do; exit code 1 if a stage would fail."""
    from dlcr.doctor import diagnose, render  # loads DVC, pandas and the hub's library

    found = diagnose(load_params(), Path())
    typer.echo(json.dumps([asdict(finding) for finding in found], indent=2) if as_json else render(found))
    raise typer.Exit(any(finding.state == "problem" for finding in found))


@app.command("import-released")
def import_strips(
    release: Annotated[Path, typer.Argument(metavar="DIR", help="Where the published strips lie.")],
    dataset: Annotated[str, typer.Option(help="The packed dataset they belong to, data/DATASET.")],
    name: Annotated[
        str | None, typer.Option(help="Write generated/NAME instead of generated/DATASET-released.")
    ] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Skip images without a strip.")] = False,
) -> None:
    """Make a generated set of the variants that the authors of DLCR published."""
    from dlcr.inpainting.released import MISSING, import_released  # loads the diffusion library for seconds

    name = f"{dataset}-released" if name is None else name
    for value in (dataset, name):
        if value == "none" or not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", value):
            raise ValueError(
                f"{value!r} cannot name a dataset or set: expected a-z, 0-9, '.', '_', '-', and not 'none'"
            )
    folder = Path("generated", name)
    done = import_released(release, Path("data", dataset), folder, allow_missing)
    typer.echo(f"{folder}: {done.variants} variants of {done.images} images; {done.made} files made, {done.kept} kept")
    if done.missing:
        typer.echo(f"{done.missing} images are {MISSING}: skipped")
    typer.echo(
        f"Next: a line `{name}: {{dataset: {dataset}}}` under `imported` of params.yaml and a run with "
        f"`generated: {name}`; `dvc add {folder}` versions the set"
    )


@app.command("claims")
def check_claims(
    strict: Annotated[bool, typer.Option("--strict", help="Count what is undecided or was not run, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of text.")] = False,
) -> None:
    """Hold the paper's statements against this run; the exit code says if one is contradicted (docs/claims.md)."""
    from dlcr.reporting import claims  # loads pandas
    from dlcr.reporting.results import load_results
    from dlcr.runtime.timing import load_all

    params = load_params()
    found = claims.claims(params, load_results(Path(), params), load_all())
    typer.echo(json.dumps(claims.records(found), indent=2, ensure_ascii=False) if as_json else claims.render(found))
    raise typer.Exit(claims.exit_code(found, strict))


@app.command()
def targets(table: str) -> None:
    """Print the pipeline's stages that evaluate the rows of a TABLE (a key of params.report), for `dvc repro`."""
    params = load_params()
    tables = params.report.tables()
    if table not in tables:
        raise ValueError(f"no table {table!r} in params.yaml's report; it has {', '.join(tables)}")
    for name in sorted({place.partition("/")[0] for place in tables[table].values()}):
        typer.echo(f"{'private-' if name in params.private.evaluations else ''}refine-eval@{name}")


def main() -> None:
    """Entry point of the console script: an expected error is one line, not a traceback."""
    run_stage(app)
