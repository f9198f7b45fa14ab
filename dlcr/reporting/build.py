"""Makes the whole report in memory: `build(root, params)` gives every file's bytes, `publish` writes them.

Nothing is written before everything is made, and files of an earlier report do not survive beside those of a
new one. What is hashed by DVC (tables/, figures/, plots/, metrics.json) holds no times; those are in timings/
and on the page.
"""

import json
from pathlib import Path

import pandas as pd

from dlcr.data import Generated, load_manifest, open_generated
from dlcr.params import Params
from dlcr.reporting import comparisons, figures, formats, scores, sheets, tables, views
from dlcr.reporting.page import Page, render
from dlcr.reporting.paper import DISAGREEMENTS
from dlcr.reporting.results import Result, load_result
from dlcr.runtime.files import atomic_path
from dlcr.runtime.seeds import seed_of

NO_LOSS = ("learning_rate", "variants", "replaced")
"""Columns of a training history that are no losses."""
FOLDERS = ("tables", "figures", "plots", "timings")


def build(root: Path, params: Params, timings: pd.DataFrame) -> dict[str, bytes]:
    """Every file of the report, by its path relative to `reports/`.

    Args:
        root: the repository's root, in which data/, masks/, ..., evaluations/ lie.
        params: the active profile.
        timings: as from `dlcr.runtime.timing.load_all`.

    Raises ValueError or OSError naming the file that is damaged or incomplete; what was not run is a gap, not
    an error. Pictures of a private dataset are left out.
    """
    report, seed = params.report, seed_of("report", params.seed)
    results = {name: load_result(root / "evaluations" / name) for name in params.evaluations}
    a1_results = {row: results[name] for row, name in report.a1.items()}
    a1 = tables.table_a1(a1_results, report.bootstrap, seed)
    shares = tables.gain_shares(a1_results, report.bootstrap, seed)
    settings = tables.table_settings(results)
    prompts = {
        name: tables.table_prompts(name, {row: results[item] for row, item in rows.items()}, report.bootstrap, seed)
        for name, rows in (("a3", report.a3), ("a4", report.a4))
    }
    models = {
        model: {"baseline": results[pair.baseline], "dlcr": results[pair.dlcr]} for model, pair in report.t3.items()
    }
    t3 = comparisons.table_models(models, report.bootstrap, seed)
    ccfa_results = {row: results[name] for row, name in report.ccfa.items()}
    ccfa = comparisons.table_ccfa(ccfa_results, report.bootstrap, seed)
    combined = {row: (results[item.evaluation], item.kind) for row, item in report.combinations.items()}
    combinations = comparisons.table_combinations(combined, report.bootstrap, seed)
    compared = {
        "t3": (t3, {"model": "Model", "variant": "Variant"}, "the baseline"),
        "a3": (prompts["a3"], {"what": "Prompts"}, "the first row"),
        "a4": (prompts["a4"], {"what": "Describer"}, "the first row"),
        "ccfa": (ccfa, {"group": "Ablation", "what": "Setting"}, "phase I"),
        "combinations": (combinations, {"what": "Combination"}, "the first row"),
    }
    views_of = {name: views.view_compared(*item) for name, item in compared.items()}
    quality = tables.table_quality(open_sets(root, params))
    a5_results = {row: results[name] for row, name in report.a5.items()}
    stages = stage_scores(root, params)
    histories = load_histories(root, list(params.runs))
    samples = sheets.load_samples(root, report.dataset, report.samples)
    retrievals, counts = _retrievals(root, report, results)
    if report.dataset in params.private.datasets:
        samples, retrievals = [], []  # reports/ is in Git: its pictures would go wherever the repository goes
    notes = _notes_a1(params, a1_results)

    files = {
        **_table("a1", a1, views.view_a1(a1), [*notes, *DISAGREEMENTS["a1"]]),
        **_table("settings", settings, views.view_settings(settings)),
        **{
            path: file
            for name, view in views_of.items()
            for path, file in _table(name, compared[name][0], view).items()
        },
        **_table("quality", quality, views.view_quality(quality)),
        "figures/a1.svg": figures.bars(a1),
        "plots/top1.csv": formats.csv_bytes(a1.loc[a1["top1"].notna(), ["row", "top1"]], 2),
        "metrics.json": _json(_metrics(a1, shares, settings, a5_results, t3, ccfa, stages, counts)),
        **{f"plots/training/{run}.csv": formats.csv_bytes(history) for run, history in histories.items()},
    }
    if samples:
        files["figures/samples.png"] = figures.sample_sheet(samples)
    if retrievals:
        files["figures/retrievals.png"] = figures.retrieval_sheet(retrievals, *_headings(report))
    if histories:
        models = {name: params.train[run.model].model or run.model for name, run in params.runs.items()}
        files["figures/training.svg"] = figures.curves(histories, models)

    a5 = tables.table_a5(a5_results, _epoch_seconds(params, timings), _epochs(params))
    a6 = tables.table_a6(timings, _components(params))
    wall = tables.table_wall(timings)
    times = {
        **_table("a5", a5, views.view_a5(a5), DISAGREEMENTS["a5"], "timings"),
        **_table("a6", a6, views.view_a6(a6), folder="timings"),
        **_table("wall", wall, views.view_wall(wall), folder="timings"),
    }
    page = Page(
        params=params,
        a1=a1,
        shares=shares,
        settings=settings,
        compared=views_of,
        quality=quality,
        stages=stages,
        samples=samples,
        retrievals=retrievals,
        counts=counts,
        a5=a5,
        a6=a6,
        wall=wall,
        files=files,
        notes={"a1": notes},
    )
    return files | times | {"index.html": render(page)}


def publish(files: dict[str, bytes], folder: Path) -> Path:
    """Writes the report's files atomically, removes those of an earlier one from its sub-folders; returns the
    page's path."""
    for name, content in files.items():
        with atomic_path(folder / name) as part:
            part.write_bytes(content)
    for sub in FOLDERS:
        for path in sorted((folder / sub).rglob("*")):
            if path.is_file() and not path.name.startswith(".") and path.relative_to(folder).as_posix() not in files:
                path.unlink()
    return folder / "index.html"


def stage_scores(root: Path, params: Params) -> dict[str, dict]:
    """Scores of the single stages; {} for a dataset without known truth (every real one)."""
    dataset, generated = params.report.dataset, params.report.samples
    if not (root / "data" / dataset / "truth").is_dir():
        return {}
    manifest = load_manifest(root / "data" / dataset)
    return {
        "masks": scores.mask_scores(root, dataset, manifest),
        **_text_scores(root, params, dataset, params.generated[generated].outfits),
        "variants": scores.variant_scores(root, dataset, generated),
        "prompt_alignment": scores.prompt_alignment(
            root,
            dataset,
            generated,
            params.models.describers[params.models.judge],
            params.describe.model_dump(),
            params.seed,
            oracle_of(root, params, generated),
        ),
        "discriminators": _discriminator_scores(root, params),
    }


def open_sets(root: Path, params: Params) -> dict[str, Generated]:
    """The profile's generated sets that have been made, with the quality gate on them."""
    names = [*params.generated, *params.imported, *(f"queries-{name}" for name in params.queries)]
    folders = {name: root / "generated" / name for name in names}
    minimum = params.quality.minimum()
    return {name: open_generated(folder, minimum) for name, folder in folders.items() if folder.is_dir()}


def _text_scores(root: Path, params: Params, dataset: str, outfits: str) -> dict[str, dict[str, float]]:
    return scores.prompt_scores(root, dataset, params.outfits[outfits].descriptions, outfits)


def _discriminator_scores(root: Path, params: Params) -> dict[str, dict[str, float]]:
    """By discriminator and timesteps, the held-out images that it tells from generated ones, in percent."""
    found = {}
    for name in params.discriminators:
        path = root / "discriminators" / name / "scores.json"
        if path.is_file():
            bands = json.loads(path.read_text(encoding="utf-8"))["bands"]
            found[name] = {f"{band['first']} to {band['last']}": 100 * band["accuracy"] for band in bands}
    return found


def oracle_of(root: Path, params: Params, generated: str) -> str | None:
    """The oracle set with the same outfits on the same images as a generated set, None if none has been made."""
    wanted = params.generated[generated]
    same = (
        name
        for name, item in sorted(params.generated.items())
        if item.kind == "oracle"
        and (item.dataset, item.outfits) == (wanted.dataset, wanted.outfits)
        and (root / "generated" / name).is_dir()
    )
    return next(same, None)


def load_histories(root: Path, runs: list[str]) -> dict[str, pd.DataFrame]:
    """Each trained run's losses by epoch, means over its seeds: epoch and a column a loss, `identity` always
    among them.

    Raises ValueError naming a history without epoch or identity loss.
    """
    histories = {}
    for run in runs:
        found = []
        for path in sorted((root / "runs" / run).glob("seed-*/history.csv")):
            table = pd.read_csv(path)
            if not {"epoch", "identity"} <= set(table.columns):
                raise ValueError(f"{path}: expected the columns epoch and identity, found {', '.join(table.columns)}")
            found.append(table.drop(columns=[name for name in NO_LOSS if name in table.columns]))
        if found:
            histories[run] = pd.concat(found).groupby("epoch", as_index=False, sort=True).mean()
    return histories


def _retrievals(root: Path, report, results: dict[str, Result | None]):
    before, after = (results.get(report.a1.get(row, "")) for row in ("1", "6"))
    if before is None or after is None:
        return [], {}
    return sheets.load_retrievals(root, report.dataset, before, after, refined=True)


def _headings(report) -> tuple[str, str]:
    return f"top {sheets.TOP} of the baseline (row 1)", f"top {sheets.TOP} of DLCR (row 6)"


def _notes_a1(params: Params, results: dict[str, Result | None]) -> list[str]:
    dataset = params.report.dataset
    setting = ", ".join(sorted({views.setting_name(result.setting) for result in results.values() if result}))
    return [
        f"Top-1 and mAP in percent; setting: {setting or 'not run'}. The paper's numbers are CAL's on PRCC, "
        f"this run's are on {dataset}" + (": compare order and differences, not levels." if dataset != "prcc" else "."),
        "± is the standard deviation over training seeds; intervals and p values resample the queries "
        f"{params.report.bootstrap} "
        "times, seeds averaged: they say nothing about other training seeds.",
        *([f"No pictures: {dataset} may not be redistributed."] if dataset in params.private.datasets else []),
    ]


def _table(name: str, table: pd.DataFrame, view: pd.DataFrame, notes: list[str] = (), folder: str = "tables"):
    return {
        f"{folder}/{name}.csv": formats.csv_bytes(table),
        f"{folder}/{name}.md": formats.markdown(view, list(notes)),
    }


def _json(content: dict) -> bytes:
    text = json.dumps(formats.rounded(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _metrics(a1, shares, settings, a5_results, t3, ccfa, stages, counts) -> dict:
    """What `dvc metrics` shows: numbers only; a gap is left out."""
    kept = [
        "top1",
        "top1_std",
        "top1_low",
        "top1_high",
        "top1_difference",
        "top1_p",
        "map",
        "map_std",
        "map_low",
        "map_high",
        "map_difference",
        "map_p",
    ]
    models: dict[str, dict] = {}
    for row in t3.dropna(subset="top1").to_dict("records"):
        models.setdefault(row["model"], {})[row["variant"]] = {key: row[key] for key in kept}
    ablations = {row["row"]: {key: row[key] for key in kept} for row in ccfa.dropna(subset="top1").to_dict("records")}
    rows = {
        f"row{row['row']}" if row["row"].isdigit() else row["row"]: {key: row[key] for key in kept}
        for row in a1.to_dict("records")
    }
    everything: dict[str, dict] = {}
    for row in settings.to_dict("records"):
        everything.setdefault(row["evaluation"], {})[row["setting"]] = {
            key: row[key] for key in ("top1", "top1_std", "map", "map_std")
        }
    a5 = {key: {"top1": result.metrics["mean"][result.setting]["top1"]} for key, result in a5_results.items() if result}
    return {
        "tables": {
            "a1": rows,
            "share_of_oracle_gain": shares,
            "settings": everything,
            "a5": a5,
            "t3": models,
            "ccfa": ablations,
        },
        "stages": stages,
        "retrievals": counts,
    }


def _epoch_seconds(params: Params, timings: pd.DataFrame) -> dict[str, float]:
    seconds = {}
    for row, evaluation in params.report.a5.items():
        fact = tables.timing_of(timings, "train", params.evaluations[evaluation].run)
        if "epoch_seconds" in fact:
            seconds[row] = fact["epoch_seconds"]
    return seconds


def _epochs(params: Params) -> dict[str, int]:
    runs = {row: params.runs[params.evaluations[evaluation].run] for row, evaluation in params.report.a5.items()}
    return {row: params.train[run.model].epochs for row, run in runs.items()}


def _components(params: Params) -> list[tuple[str, str]]:
    """Table A6's components as (stage, name) of the timings."""
    dataset = params.report.dataset
    evaluation = params.report.a1.get("6", "")
    queries = params.evaluations[evaluation].queries if evaluation else "none"
    return [
        ("parse", dataset),
        ("describe", dataset),
        ("inpaint", params.report.samples),
        ("inpaint", queries),
        ("refine", evaluation),
    ]
