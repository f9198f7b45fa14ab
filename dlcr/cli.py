"""The `dlcr` command: what is about the project as a whole. The pipeline itself runs through `dvc repro`.

dlcr doctor
dlcr profile list
dlcr profile use minicc
dlcr profile diff
dlcr models pin
dlcr fetch-released --dataset prcc
dlcr import-released DIR --dataset prcc
dlcr export inpainting --as parquet OUT
dlcr evaluate features.npz --dataset prcc
dlcr embed progressive photos --out features.parquet
dlcr search progressive queries gallery --out matches
dlcr export-model progressive --to onnx
dlcr add-dataset mine FOLDER
dlcr claims
dlcr compare
dlcr targets a1
dlcr --version
dlcr --install-completion
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dlcr import __version__, profiles
from dlcr.params import Params, load_params
from dlcr.runtime.stage import run_stage

RUN_HELP = "A trained run, as NAME or NAME/seed-S, or the folder of an exported model."

app = typer.Typer(no_args_is_help=True)
profile_app = typer.Typer(no_args_is_help=True, help="Choose what params.yaml describes.")
app.add_typer(profile_app, name="profile")
models_app = typer.Typer(no_args_is_help=True, help="The weights that params.yaml names.")
app.add_typer(models_app, name="models")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dlcr {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """DLCR as a reproducible pipeline."""


def _profiles(begun: str) -> list[str]:
    """Names of profiles for the shell to complete."""
    return sorted(path.stem for path in profiles.PROFILES.glob(f"{begun}*.yaml"))


@profile_app.command("list")
def list_profiles() -> None:
    """Name the profiles; the active one, where params.yaml equals it, is marked."""
    for path in sorted(profiles.PROFILES.glob("*.yaml")):
        same = profiles.ACTIVE.is_file() and profiles.ACTIVE.read_bytes() == path.read_bytes()
        typer.echo(f"{'*' if same else ' '} {path.stem}")


@profile_app.command("use")
def use_profile(
    name: Annotated[str, typer.Argument(autocompletion=_profiles)],
    force: Annotated[bool, typer.Option("--force", help="Replace edits too; params.edited/ keeps them.")] = False,
) -> None:
    """Make profiles/NAME.yaml, or the file NAME, the active params.yaml; edits that nothing else holds are not lost."""
    typer.echo(profiles.use_profile(name, force))


@profile_app.command("diff")
def diff_profile(
    name: Annotated[str | None, typer.Argument(help="Default: the closest.", autocompletion=_profiles)] = None,
) -> None:
    """Say what params.yaml has otherwise than profile NAME; the exit code is 0 either way, as with `git diff`."""
    typer.echo("\n".join(profiles.compare(name)))


@models_app.command("pin")
def pin_models() -> None:
    """Name the models of a hub in params.yaml by commits: those that their branches and tags are at now.

    What can be pinned is; exit code 1 if a model could not be.
    """
    from dlcr import pins  # loads the hub's library

    done, failed = pins.pin_models(Path("params.yaml"))
    typer.echo("\n".join(done) or "nothing was pinned" if done or failed else "no model is named by a branch or tag")
    for line in failed:
        typer.echo(f"error: {line}", err=True)
    raise typer.Exit(bool(failed))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of text.")] = False) -> None:
    """Say what the active profile misses on this machine, and what to do; exit code 1 if a stage would fail."""
    from dlcr.doctor import diagnose, render  # loads DVC, pandas and the hub's library

    found = diagnose(load_params(), Path())
    typer.echo(json.dumps([asdict(finding) for finding in found], indent=2) if as_json else render(found))
    raise typer.Exit(any(finding.state == "problem" for finding in found))


@app.command("fetch-released")
def fetch_strips(
    dataset: Annotated[str, typer.Option(help="Whose variants: the files with this name in their paths.")] = "prcc",
    revision: Annotated[str, typer.Option(help="A commit for numbers that can be repeated; a branch or tag.")] = "main",
    repository: Annotated[str | None, typer.Option(help="OWNER/NAME on the hub. Default: the authors'.")] = None,
) -> None:
    """Download the variants that the authors of DLCR published; what is there already is not downloaded again."""
    from dlcr.exchange import released_files  # loads the hub's library

    done = released_files.fetch_released(dataset, revision, repository or released_files.REPOSITORY)
    typer.echo(f"{done.folder}: {done.files} files, {done.size / 1e9:.1f} GB, checksums right; commit {done.commit}")
    if done.archives:
        typer.echo(f"Unpack its {len(done.archives)} archives ({done.archives[0]}) into a folder, and import that one:")
    typer.echo(f"Next: dlcr import-released {'FOLDER' if done.archives else done.folder} --dataset {dataset}")


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
    section = _imported_section(dataset, name)
    folder = Path("generated", name)
    done = import_released(release, Path("data", dataset), folder, allow_missing)
    typer.echo(f"{folder}: {done.variants} variants of {done.images} images; {done.made} files made, {done.kept} kept")
    if done.missing:
        typer.echo(f"{done.missing} images are {MISSING}: skipped")
    typer.echo(
        f"Next: a line `{name}: {{dataset: {dataset}}}` under `{section}` of params.yaml and a run with "
        f"`generated: {name}`; `dvc add {folder}` versions the set"
    )


def _imported_section(dataset: str, name: str) -> str:
    """Where params.yaml lists the imported set `name` of `dataset`. ValueError if the pipeline makes a set of that
    name."""
    if not Path("params.yaml").is_file():
        return "imported"  # nothing of a pipeline is here
    params = load_params()
    if name in params.generated:
        kept = "private." if name in params.private.generated else ""
        raise ValueError(
            f"--name {name}: the pipeline makes it ({kept}generated.{name} of params.yaml); choose another"
        )
    return "private.imported" if dataset in params.private.datasets else "imported"


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="SET", help="A generated set of params.yaml.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that does not exist yet.")],
    form: Annotated[str, typer.Option("--as", metavar="strips|tree|parquet", help="Which form to write it in.")],
    gate: Annotated[bool, typer.Option("--gate", help="Leave out what falls short of `quality`.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Export a private set, for your own use.")] = False,
) -> None:
    """Write a generated set for other people's code: as the authors' strips, as the dataset's own folders with variants
    among them, or as a Hugging Face dataset (docs/exchange.md)."""
    from dlcr.exchange.export import export_set  # loads pandas

    try:
        done = export_set(name, form, out, load_params(), private, gate)
    except KeyboardInterrupt:  # unlike a stage it does not go on from where it was
        raise OSError(f"{out}: interrupted, and nothing was left there") from None
    typer.echo(f"{out}: {done.variants} variants of {done.images} images; {done.skipped} were skipped and are left out")
    typer.echo(done.says)


@app.command("evaluate")
def evaluate_features(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="A file .npz, .parquet, .safetensors or .mat.")],
    dataset: Annotated[str, typer.Option(help="The packed dataset they are of, data/DATASET.")],
    reader: Annotated[
        str | None, typer.Option(help="Whose protocols are used. Default: the dataset's reader in params.yaml.")
    ] = None,
    variants: Annotated[Path | None, typer.Option(help="Features of the queries' variants: refines with them.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another file of features, to be compared with.")] = None,
    m: Annotated[int, typer.Option("-m", help="Gallery images that vote in refinement.")] = 5,
    centralize: Annotated[bool, typer.Option("--centralize", help="Centralize among neighbours (NFC) too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of text.")] = False,
) -> None:
    """Score features that other code extracted, in every protocol of a dataset (docs/exchange.md).

    The exit code is 3 if something makes the numbers of this test wrong.
    """
    from dlcr.exchange import evaluation  # loads pandas

    folder = Path("data", dataset)
    found = evaluation.evaluate_files(features, folder, reader or _reader_of(dataset), variants, against, m, centralize)
    typer.echo(json.dumps(evaluation.records(found), indent=2) if as_json else evaluation.render(found))
    raise typer.Exit(evaluation.LEAKS if found.leaks else 0)


@app.command("add-dataset")
def add_own_dataset(
    name: Annotated[str, typer.Argument(help="What it is called here, and its profile.")],
    folder: Annotated[Path, typer.Argument(help="Its images, with a manifest.csv that labels them.")],
    manifest: Annotated[Path | None, typer.Option(help="The labels, if they lie elsewhere; copied to FOLDER.")] = None,
    reader: Annotated[
        str, typer.Option(help="How FOLDER is laid out: one's own way, or a published dataset's.")
    ] = "folder",
    like: Annotated[
        str | None,
        typer.Option(help="The profile whose models and values are taken. Default: prcc; ccvid for tracklets."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Keep out of `dvc push` and pictures what is made of it.")
    ] = False,
) -> None:
    """Check a dataset of one's own and write a profile that runs the method on it and on nothing else."""
    from dlcr.exchange.own_dataset import add_dataset  # loads pandas

    typer.echo("\n".join(add_dataset(name, folder, manifest, reader, like, private)))


def _reader_of(dataset: str) -> str:
    """The reader of a dataset in params.yaml."""
    params = load_params() if Path("params.yaml").is_file() else None
    if params is None or dataset not in params.datasets:
        there = f"it has {', '.join(params.datasets)}" if params else "there is none here"
        raise ValueError(f"--dataset {dataset}: not under `datasets` of params.yaml ({there}); name a --reader")
    return params.datasets[dataset].reader


@app.command()
def embed(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures in it and below it, or data/DATASET.")],
    out: Annotated[Path, typer.Option(help="A new file .parquet, .npz or .safetensors.")] = Path("features.parquet"),
) -> None:
    """Write a trained model's features of pictures, with their names, as `dlcr evaluate` reads them.

    A picture that cannot be read is told and left out.
    """
    from dlcr.exchange.commands import embed_folder  # loads torch

    typer.echo(embed_folder(run, folder, out))


@app.command()
def search(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="A folder of pictures, or one picture.")],
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="A folder of pictures.")],
    out: Annotated[Path, typer.Option(help="A new folder, for index.html and matches.csv.")] = Path("matches"),
    top: Annotated[int, typer.Option(help="Matches of each query.")] = 10,
    people: Annotated[bool, typer.Option("--people", help="Each folder below GALLERY shows one person.")] = False,
    parser: Annotated[str | None, typer.Option(help="Refine: the model that marks the clothes.")] = None,
    inpainter: Annotated[str | None, typer.Option(help="Refine: the model that repaints them.")] = None,
    outfits: Annotated[Path | None, typer.Option(help="Refine: a text file of outfits, one a line.")] = None,
    outfit: Annotated[list[str] | None, typer.Option(help="Refine: an outfit; may be given several times.")] = None,
    m: Annotated[int, typer.Option("-m", help="Refine: gallery pictures that vote.")] = 5,
    seed: Annotated[int, typer.Option(help="Refine: of the variants' noise.")] = 0,
) -> None:
    """Find the gallery's best matches of your own pictures: a page and a CSV file (docs/exchange.md).

    With a parser and an inpainter each query is dressed in the outfits too, and its matches are refined by them.
    """
    from dlcr.exchange.commands import search_folders  # loads torch
    from dlcr.exchange.search import Settings

    refining = (parser, inpainter, outfits, outfit or [], seed)
    typer.echo(search_folders(run, queries, gallery, out, Settings(top, m, people), refining))


@app.command("export-model")
def export_trained(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    form: Annotated[str, typer.Option("--to", help="onnx (with the weights), safetensors, or hub (pushes both).")],
    out: Annotated[Path | None, typer.Option(help="A new folder. Default: exported/RUN.")] = None,
    repo: Annotated[str | None, typer.Option(help="owner/name on the hub; a new one is private.")] = None,
) -> None:
    """Export a trained model for others: weights, ONNX, what its input must be, and a card (docs/exchange.md)."""
    from dlcr.exchange.model_export import export_model  # loads torch

    typer.echo(export_model(run, form, out, repo))


@app.command("claims")
def check_claims(
    strict: Annotated[bool, typer.Option("--strict", help="Count what is undecided or was not run, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of text.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table of Markdown instead.")] = False,
) -> None:
    """Hold the paper's statements against this run; the exit code says if one is contradicted (docs/claims.md)."""
    from dlcr.reporting import claim_texts, claims  # loads pandas
    from dlcr.reporting.results import load_results
    from dlcr.reporting.tables import check
    from dlcr.runtime.timing import load_all

    params = load_params()
    check(params)
    found = claims.claims(params, load_results(Path(), params), load_all())
    if as_json:
        typer.echo(json.dumps(claim_texts.records(found), indent=2, ensure_ascii=False))
    else:
        typer.echo(claim_texts.table(found) if as_markdown else claim_texts.render(found))
    raise typer.Exit(claims.exit_code(found, strict))


@app.command()
def compare(
    here: Annotated[str, typer.Argument(metavar="[A]", help="A folder, git revision or DVC experiment.")] = ".",
    there: Annotated[str, typer.Argument(metavar="[B]", help="What A is compared with.")] = "HEAD",
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of text.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table of Markdown instead.")] = False,
) -> None:
    """Compare the evaluations of A with those of B: without arguments what was run here with what is committed.

    The exit code says if a row differs (docs/claims.md).
    """
    from dlcr.reporting import comparison  # loads pandas

    with comparison.opened(here) as one, comparison.opened(there) as other:
        found = comparison.compare(one, other)
    if as_json:
        typer.echo(json.dumps({"rows": comparison.records(found.rows), "stages": found.stages}, indent=2))
    else:
        typer.echo(comparison.table(found) if as_markdown else comparison.render(found), nl=False)
    raise typer.Exit(comparison.exit_code(found))


@app.command(context_settings={"ignore_unknown_options": True})
def targets(tables: Annotated[list[str] | None, typer.Argument(metavar="TABLE[/ROW]...")] = None) -> None:
    """Print the pipeline's stages that evaluate the rows of TABLEs: `dvc repro $(dlcr targets a1)`, or `a1/5` for one.

    A table is a key of report.tables in params.yaml, in any case. On an error a stage is printed that cannot exist.
    """
    # Without words `dvc repro` would run the whole pipeline, for days.
    try:
        found = sorted(set().union(*(table_stages(load_params(), table) for table in tables or [""])))
    except Exception:
        typer.echo("-".join(["no-such-table", *re.findall("[a-z0-9]+", " ".join(tables or []).lower())]))
        raise
    typer.echo("\n".join(found))


def table_stages(params: Params, asked: str) -> set[str]:
    """Stages whose evaluations a table shows, or TABLE/ROW, one row of it. ValueError for a table or a row that the
    report does not have, and for a table that is empty."""
    from dlcr.reporting.tables import check, specs  # loads pandas

    check(params)
    known = [name for name, spec in specs().items() if spec.lines]
    table, slash, row = asked.partition("/")
    if table.lower() not in known:
        what = f"no table {table!r} in" if table else "name a table of"
        raise ValueError(f"{what} the report; it has {', '.join(known)}")
    rows = params.report.tables.get(table.lower())
    if not rows:
        raise ValueError(f"table {table.lower()!r} has no rows in params.yaml's report: this profile does not fill it")
    if slash and row not in rows:
        what = f"no row {row!r} of" if row else "name a row of"
        raise ValueError(f"{what} table {table.lower()!r}; params.yaml's report has {', '.join(rows)}")
    names = {rows[key].evaluation.partition("/")[0] for key in ([row] if slash else rows)}
    return {f"{'private-' if name in params.private.evaluations else ''}refine-eval@{name}" for name in names}


def main() -> None:
    """Entry point of the console script: an expected error is one line, not a traceback."""
    command = typer.main.get_command(app)
    options = {name for option in command.params for name in option.opts}
    if len(sys.argv) > 1 and sys.argv[1] not in {*command.commands, *options, "--help"}:
        print("no-such-command")  # for a mistyped `dvc repro $(dlcr targets a1)`, as `targets` does on errors
    run_stage(app)
