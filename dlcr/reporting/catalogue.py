"""Every table of the report: which evaluations of the profile it shows, its title, and what a reader has to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from dlcr.data import Generated, load_manifest, open_generated
from dlcr.params import Evaluation, Params, training_modes
from dlcr.reporting import comparisons, tables, views
from dlcr.reporting.measured import ENDS, MEASURES, Compare, comparer
from dlcr.reporting.paper import DATASETS, DISAGREEMENTS
from dlcr.reporting.parts import Mark, Table
from dlcr.reporting.results import Result
from dlcr.runtime.seeds import seed_of

Results = Mapping[str, Result | None]
METRICS = {
    "t2": ["dataset", "method"],
    "t3": ["model", "variant"],
    "t4": ["trained_on", "evaluated_on", "model"],
    "a1": ["row"],
    "a8": ["k"],
    "ccfa": ["row"],
    "guidance": ["row"],
}
"""Tables whose scores `dvc metrics` shows, and the columns that name a row there."""
PAPER = {
    "t3": "on PRCC",
    "a1": "CAL's on PRCC",
    "a3": "CAL's on PRCC",
    "a4": "CAL's on PRCC",
    "a5": "CAL's on PRCC",
    "ccfa": "CCFA's on PRCC",
    "ccfa-main": "on PRCC and LTCC",
}
"""Tables that set the paper's numbers beside those of another dataset, and whose numbers they are."""
METRICS_ENDS = tuple(end for end in ENDS if not end.startswith("_difference_"))


@dataclass(frozen=True)
class Sources:
    """What the tables are made of: the profile, its evaluations by name, times, and the generated sets there are."""

    root: Path
    params: Params
    results: Results
    timings: pd.DataFrame
    sets: Mapping[str, Generated]
    compare: Compare

    @property
    def mark(self) -> Mark:
        return self.params.report.mark


def catalogue(root: Path, params: Params, results: Results, timings: pd.DataFrame) -> dict[str, Table]:
    """All tables by name, in the paper's order.

    Args:
        root: the repository's root, in which data/ and generated/ lie.
        params: the active profile.
        results: by the names in `params.report.tables()` and of all evaluations, None if not run.
        timings: as from `dlcr.runtime.timing.load_all`.

    Raises ValueError naming the key of params.yaml or the file that does not fit.
    """
    compare = comparer(params.report.bootstrap, seed_of("report", params.seed))
    sources = Sources(root, params, results, timings, open_sets(root, params), compare)
    makers = (
        _datasets,
        _methods,
        _models,
        _domains,
        _a1,
        _a3,
        _a4,
        _a5,
        _a6,
        _variants,
        _ccfa_main,
        _ccfa,
        _guidance,
        _combinations,
        _settings,
        _quality,
        _wall,
    )
    return {table.name: table for table in (make(sources) for make in makers)}


def metrics(catalogue: Mapping[str, Table], shares: Mapping[str, dict]) -> dict:
    """What `dvc metrics` shows of the tables, nested by table and row: numbers in percent, rows that were not run left
    out. shares: as from `tables.gain_shares`.
    """
    content: dict[str, dict] = {"share_of_oracle_gain": dict(shares), "settings": {}, "a5": {}}
    kept = [f"{measure}{end}" for measure in MEASURES for end in METRICS_ENDS]
    for name, columns in METRICS.items():
        for row in catalogue[name].numbers.dropna(subset="top1").to_dict("records"):
            *outer, last = (_metric_name(column, row[column]) for column in columns)
            place = content.setdefault(name, {})
            for key in outer:
                place = place.setdefault(key, {})
            place[last] = {key: row[key] for key in kept}
    for row in catalogue["settings"].numbers.to_dict("records"):
        scores = {f"{measure}{end}": row[f"{measure}{end}"] for measure in MEASURES for end in ("", "_std")}
        content["settings"].setdefault(row["evaluation"], {})[row["setting"]] = scores
    for row in catalogue["a5"].numbers.dropna(subset="top1").to_dict("records"):
        content["a5"][row["row"]] = {"top1": row["top1"]}
    return content


def _metric_name(column: str, value: object) -> str:
    """A row's name in the metrics, as row5 or k10: a bare number would read as a place in a list."""
    return f"{column}{value}" if str(value).isdigit() else str(value)


def open_sets(root: Path, params: Params) -> dict[str, Generated]:
    """The profile's generated sets that have been made, with the quality gate on them."""
    names = [*params.generated, *params.imported]
    folders = {name: root / "generated" / name for name in names}
    minimum = params.quality.minimum()
    return {name: open_generated(folder, minimum) for name, folder in folders.items() if folder.is_dir()}


def _datasets(sources: Sources) -> Table:
    params, counts = sources.params, {}
    for dataset, name in params.report.t1.items():
        counts[_title(params, dataset)] = {
            "data": dataset,
            "set": name,
            "private": dataset in params.private.datasets,
            **_images(sources.root / "data" / dataset),
            **_generated(sources, dataset, name),
        }
    numbers = tables.table_datasets(counts)
    notes = [
        "Generated images are those that training can use: without what was not made and what the quality gate drops. "
        "Training images, subjects and clothes are of split train; queries are those with changed clothes.",
        "Redistribution: of what the paper's authors generated; of this run's own datasets as the profile says.",
    ]
    view = views.view_datasets(numbers, sources.mark)
    return Table("t1", "Table 1: datasets and what is generated for them", numbers, view, notes)


def _images(folder: Path) -> dict[str, int]:
    """A dataset's images, subjects and clothes by `tables.COUNTS`; {} if it has not been prepared."""
    if not (folder / "manifest.parquet").is_file():
        return {}
    manifest = load_manifest(folder)
    train, splits = manifest[manifest["split"] == "train"], manifest["split"].value_counts()
    return {
        "original_images": len(train),
        "subjects": train["subject"].nunique(),
        "clothes": train["clothes"].nunique(),
        "queries": int(splits.get("query", 0)),
        "gallery": int(splits.get("gallery", 0)),
    }


def _generated(sources: Sources, dataset: str, name: str) -> dict[str, int]:
    if name == "none":
        return {}
    of = (sources.params.generated | sources.params.imported)[name].dataset
    if of != dataset:
        raise ValueError(f"report.t1.{dataset}: expected a set of that dataset, found {name!r}, which is of {of!r}")
    if name not in sources.sets:
        return {}
    return {"generated_images": int((sources.sets[name].table(["skipped"])["skipped"] == "").sum())}


def _methods(sources: Sources) -> Table:
    found = {
        _title(sources.params, dataset): {
            method: (sources.results.get(item.evaluation), item.kind) for method, item in rows.items()
        }
        for dataset, rows in sources.params.report.t2.items()
    }
    numbers = comparisons.table_methods(found, sources.compare)
    headings = {"dataset": "Dataset", "method": "Method", "venue": "Venue", "source": "Paper's number"}
    notes = [
        "Cited: the paper took the number from the method's own publication. Cited only: this project has no such "
        "model. Rows of one dataset can be compared, those of different datasets cannot.",
        *DISAGREEMENTS["t2"],
    ]
    view = views.view_compared(numbers, headings, comparisons.BASE, sources.mark)
    return _table("t2", "Table 2: state of the art, clothes-changing", numbers, view, sources, notes)


def _models(sources: Sources) -> Table:
    models = sources.params.report.t3
    found = {
        model: {which: sources.results.get(name) for which, name in stages.model_dump().items()}
        for model, stages in models.items()
    }
    numbers = comparisons.table_models(found, sources.compare)
    here = [
        f"How this run trains with the generated data in {title}: {', '.join(modes)}."
        for title, which in (("stage 1", "stage_1"), ("stage 1 + 2, which is refined too", "stage_2"))
        if (modes := training_modes(sources.params, [getattr(stages, which) for stages in models.values()]))
    ]
    headings = {"family": "Family", "model": "Model", "variant": "Variant"}
    view = views.view_compared(numbers, headings, "the baseline", sources.mark)
    title = "Tables 3 and A2: existing models without and with DLCR"
    return _table("t3", title, numbers, view, sources, [*DISAGREEMENTS["t3"], *here])


def _domains(sources: Sources) -> Table:
    found = {}
    for model, rows in sources.params.report.t4.items():
        for dataset, item in rows.items():
            trained_on = sources.params.runs[_evaluation(sources, item.evaluation).run].dataset
            place = (_title(sources.params, trained_on), _title(sources.params, dataset))
            found[*place, model] = (sources.results.get(item.evaluation), item.kind)
    numbers = comparisons.table_domains(found, sources.compare)
    headings = {"trained_on": "Trained on", "evaluated_on": "Evaluated on", "model": "Model"}
    view = views.view_compared(numbers, headings, comparisons.BASE, sources.mark)
    kinds = sorted({item.kind for rows in sources.params.report.t4.values() for item in rows.values()})
    notes = [f"Rankings of this run: {', '.join(kinds)}. The paper names no refinement here."] if kinds else []
    return _table("t4", "Table 4: datasets that the models were not trained on", numbers, view, sources, notes)


def _a1(sources: Sources) -> Table:
    numbers = comparisons.table_a1(_rows(sources, "a1"), sources.compare)
    headings = {
        "row": "Row",
        "generated_data": "Generated data",
        "llm_prompts": "LLM prompts",
        "progressive_learning": "Progressive learning",
        "prediction_refinement": "Refinement",
    }
    view = views.view_compared(numbers, headings, "row 1", sources.mark)
    return _table("a1", "Table A1: what each part adds", numbers, view, sources, DISAGREEMENTS["a1"])


def _a3(sources: Sources) -> Table:
    numbers = comparisons.table_prompts("a3", _rows(sources, "a3"), sources.compare)
    view = views.view_compared(numbers, {"what": "Prompts"}, "the first row", sources.mark)
    return _table("a3", "Table A3: where prompts come from", numbers, view, sources)


def _a4(sources: Sources) -> Table:
    numbers = comparisons.table_prompts("a4", _rows(sources, "a4"), sources.compare)
    view = views.view_compared(numbers, {"what": "Describer"}, "the first row", sources.mark)
    return _table("a4", "Table A4: which model describes the clothes", numbers, view, sources)


def _a5(sources: Sources) -> Table:
    params = sources.params
    runs = {row: _evaluation(sources, name).run for row, name in params.report.a5.items()}
    facts = {row: tables.timing_of(sources.timings, "train", run) for row, run in runs.items()}
    seconds = {row: fact["epoch_seconds"] for row, fact in facts.items() if "epoch_seconds" in fact}
    epochs = {row: params.train[params.runs[run].model].epochs for row, run in runs.items()}
    numbers = tables.table_a5(_rows(sources, "a5"), seconds, epochs, sources.compare)
    view = views.view_a5(numbers, sources.mark)
    title = "Table A5: progressive learning against concatenated data"
    return _table("a5", title, numbers, view, sources, DISAGREEMENTS["a5"], "timings")


def _a6(sources: Sources) -> Table:
    report = sources.params.report
    evaluation = report.a1.get("6", "")
    queries = _evaluation(sources, evaluation).queries if evaluation else "none"
    stages = [
        ("parse", report.dataset),
        ("describe", report.dataset),
        ("inpaint", report.samples),
        ("inpaint", queries),
        ("refine", evaluation),
    ]
    numbers = tables.table_a6(sources.timings, stages)
    notes = [
        "The paper's times are of an A100 with 80 GB and its large models; this machine's are of the profile's models. "
        "Memory is the GPU's where one is used, else the process's."
    ]
    view = views.view_a6(numbers, sources.mark)
    return Table("a6", "Table A6: time and memory of each component", numbers, view, notes, "timings")


def _variants(sources: Sources) -> Table:
    numbers = comparisons.table_variants(_rows(sources, "a8"), sources.compare)
    k = comparisons.reference_k(numbers["k"])
    notes = [
        f"K = 0 is the baseline without generated data. Differences are to K = {k}: those of greater K say what more "
        "variants still gain. The paper shows a curve on PRCC without numbers, which hardly rises beyond 10.",
        variants_note(sources.params),
    ]
    view = views.view_compared(numbers, {"k": "K"}, f"K = {k}", sources.mark)
    return _table("a8", "Figure A8: how many variants of an image (K)", numbers, view, sources, notes)


def variants_note(params: Params) -> str:
    """How the runs of Figure A8 train with the variants, beside the paper's."""
    modes = training_modes(params, params.report.a8.values())
    own = f"{', '.join(modes)}; " if modes else ""
    return f"How the variants are trained with: {own}the paper concatenates them (Sec. 15)."


def _ccfa_main(sources: Sources) -> Table:
    numbers = comparisons.table_ccfa_main(_rows(sources, "ccfa"), sources.compare)
    notes = [
        "Cells hold top-1 / mAP. Cited: the slides' number. Cited only: this project has no such model.",
        *DISAGREEMENTS["ccfa-main"],
    ]
    view = views.view_ccfa_main(numbers, sources.mark)
    return _table("ccfa-main", "CCFA: the main table of its slides", numbers, view, sources, notes)


def _ccfa(sources: Sources) -> Table:
    numbers = comparisons.table_ccfa(_rows(sources, "ccfa"), sources.compare)
    notes = [
        "Differences are to phase I, which augments nothing. As in the slides, phase I and the whole model stand in "
        "several groups."
    ]
    return _table("ccfa", "CCFA: three ablations", numbers, views.view_ccfa(numbers, sources.mark), sources, notes)


def _guidance(sources: Sources) -> Table:
    numbers = comparisons.table_guidance(_rows(sources, "guidance"), sources.compare)
    notes = ["The paper gives no table: guidance gains 1 to 2 % on PRCC and CCVID in some cases."]
    view = views.view_compared(numbers, {"row": "Guidance"}, "without", sources.mark)
    return _table("guidance", "Discriminator guidance (Sec. 12)", numbers, view, sources, notes)


def _combinations(sources: Sources) -> Table:
    items = sources.params.report.combinations.items()
    found = {what: (sources.results.get(item.evaluation), item.kind) for what, item in items}
    numbers = comparisons.table_combinations(found, sources.compare)
    view = views.view_compared(numbers, {"what": "Combination"}, "the first row", sources.mark)
    return _table("combinations", "Combinations that the paper does not have", numbers, view, sources)


def _settings(sources: Sources) -> Table:
    numbers = tables.table_settings(sources.results)
    notes = ["Top-1 and mAP in percent; ± is the standard deviation over training seeds."]
    view = views.view_settings(numbers, sources.mark)
    return Table("settings", "Every evaluation in every setting", numbers, view, notes)


def _quality(sources: Sources) -> Table:
    numbers = tables.table_quality(sources.sets)
    return Table("quality", "Generated sets and the quality gate", numbers, views.view_quality(numbers, sources.mark))


def _wall(sources: Sources) -> Table:
    numbers = tables.table_wall(sources.timings)
    view = views.view_wall(numbers, sources.mark)
    return Table("wall", "What every stage took on this machine", numbers, view, folder="timings")


def _table(
    name: str,
    title: str,
    numbers: pd.DataFrame,
    view: pd.DataFrame,
    sources: Sources,
    notes: Sequence[str] = (),
    folder: Literal["tables", "timings"] = "tables",
) -> Table:
    """A table of evaluations, with the notes that all of them share before its own."""
    params, shown = sources.params, (sources.results[name] for name in numbers["evaluation"].dropna())
    settings = ", ".join(sorted({views.setting_name(result.setting) for result in shown}))
    scores = f"Top-1 and mAP in percent; setting: {settings or 'not run'}."
    if name in PAPER:
        dataset = params.report.dataset
        scores += f" The paper's numbers are {PAPER[name]}, this run's are on {dataset}"
        scores += "." if dataset == "prcc" else ": compare order and differences, not levels."
    spread = (
        "± is the standard deviation over training seeds; intervals and p values resample the queries "
        f"{params.report.bootstrap} times, seeds averaged: they say nothing about other training seeds. A p value is "
        "that of one test."
    )
    smoke = ["Made to test the pipeline: the scores mean nothing."] if sources.mark == "smoke" else []
    return Table(name, title, numbers, view, [scores, spread, *smoke, *notes], folder)


def _rows(sources: Sources, table: str) -> dict[str, Result | None]:
    return {row: sources.results.get(name) for row, name in getattr(sources.params.report, table).items()}


def _evaluation(sources: Sources, place: str) -> Evaluation:
    """The evaluation of a place, NAME or NAME/ABLATION."""
    return sources.params.evaluations[place.partition("/")[0]]


def _title(params: Params, dataset: str) -> str:
    """A dataset's name in the paper if it is one of its datasets, else its own."""
    return DATASETS.get(params.datasets[dataset].reader, dataset)
