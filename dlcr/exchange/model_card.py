"""The card of an exported model: README.md with the header that model hubs read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from dlcr import __version__
from dlcr.data.readers import find_reader
from dlcr.exchange.cards import PAPER
from dlcr.exchange.trained import RUNS, run_of
from dlcr.params import evaluation_folder, evaluation_places, load_params
from dlcr.reporting.formats import number, spread
from dlcr.reporting.lineage import folder_md5
from dlcr.reporting.provenance import provenance, provenance_rows
from dlcr.runtime.timing import load_all

MEASURES = {"top1": "Top-1", "map": "mAP"}


@dataclass(frozen=True)
class Known:
    """What this repository knows of a trained model: nothing of one from elsewhere.

    run: RUN or RUN/ABLATION. trained_on: a sentence about its data. scores: rows of the card's table, by heading, of
    the evaluations that read these weights, by dvc.lock; others: the run's evaluations that did not.
    provenance: of the first, as `dlcr.reporting.provenance.provenance` has it, without the machine that asks.
    """

    run: str = ""
    trained_on: str = "It is not known here what it was trained on."
    scores: list[dict[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)


def known_of(folder: Path) -> Known:
    """What params.yaml, evaluations/ and dvc.lock say of the model in a folder of runs/."""
    run = run_of(folder)
    name, _, ablation = run.partition("/")
    params = load_params() if name and Path("params.yaml").is_file() else None
    if params is None or name not in params.runs:
        return Known(run)
    item = params.runs[name]
    reader = find_reader(params.datasets[item.dataset].reader)
    generated = "real images alone" if item.generated == "none" else f"with the generated set {item.generated}"
    trained_on = f"Trained on {item.dataset} ({reader.title}), {generated}."
    places = {
        place: evaluation_folder(params, place)
        for place, evaluation in evaluation_places(params).items()
        if evaluation.run == name and place.partition("/")[2] == ablation
    }
    seed = folder.name.removeprefix("seed-")
    found = provenance(Path(), params, load_all())
    weights = folder_md5(RUNS / name)
    entries = {place: found["evaluations"][place] for place in places}
    own = {place: entry for place, entry in entries.items() if entry["data"].get(f"{RUNS}/{name}") == weights}
    scores = {place: _scores(place, path / "scores.json", seed) for place, path in places.items()}
    return Known(
        run,
        trained_on,
        [row for place in own for row in scores[place]],
        [place for place, rows in scores.items() if rows and place not in own],
        {"git": found["git"], "evaluations": own},
    )


def is_private(folder: Path) -> bool:
    """Whether the model in a folder is of a run that params.yaml calls private, or that is made from what is."""
    name = run_of(folder).partition("/")[0]
    return bool(name) and Path("params.yaml").is_file() and load_params().is_private("runs", name)


def card_text(known: Known, facts: Mapping, settings: Mapping, difference: float | None, own_code: bool) -> str:
    """The card as Markdown.

    facts: of preprocessing.json. settings: of config.json. difference: of the ONNX file from PyTorch, None where there
    is none. own_code: whether model.py has to be run.
    """
    header = ModelCardData(
        library_name="dlcr",
        license="other",
        pipeline_tag="image-feature-extraction",
        tags=["person-re-identification", "clothes-changing", *(["onnx"] if "onnx" in facts else [])],
    )
    name = ", ".join(part for part in (known.run, f"seed {settings['seed']}") if part)
    parts = [
        f"---\n{header.to_yaml()}\n---",
        f"# {name}",
        *_what(known, settings),
        *_use(facts, difference, own_code),
        *_results(known),
        *_origin(known, settings),
    ]
    return "\n\n".join(parts) + "\n"


def _what(known: Known, settings: Mapping) -> Iterator[str]:
    yield (
        f"A model of clothes-changing person re-identification: `{settings['model']}` of dlcr {__version__}, a "
        f"pipeline for [DLCR]({PAPER}). {known.trained_on} {settings['subjects']} people, mode {settings['mode']}, "
        f"epoch {settings['epoch'] + 1}."
    )
    yield (
        "Features of a person tell who somebody is: treat them, and the model, as the data that it was trained on, "
        "whose terms its weights come under. A high similarity is no proof that two pictures show the same person."
    )


def _use(facts: Mapping, difference: float | None, own_code: bool) -> Iterator[str]:
    height, width = facts["size"]["height"], facts["size"]["width"]
    yield "## Use"
    if facts["frames"] == 1:
        yield (
            "```python\nfrom dlcr.evaluation.features import extract_features\nfrom dlcr.reid import load_model\n\n"
            f'model = load_model("FOLDER"{", run_code=True" if own_code else ""})\n'
            "features = extract_features(model, images, model.size)  # uint8 [H, W, 3] in RGB, any sizes\n```"
        )
    else:
        yield f"`dlcr.reid.load_model` reads the folder. The model takes clips of {facts['frames']} frames."
    if "onnx" in facts:
        taken, given = facts["onnx"]["input"], facts["onnx"]["output"]
        yield (
            "```python\nimport numpy, onnxruntime\nfrom PIL import Image\n\n"
            f'picture = Image.open(FILE).convert("RGB").resize(({width}, {height}), Image.Resampling.'
            f"{facts['resize'].upper()})\n"
            'session = onnxruntime.InferenceSession("model.onnx")\n'
            f'features = session.run(None, {{"{taken["name"]}": numpy.asarray(picture)[None]}})[0]\n```'
        )
        yield (
            f"`model.onnx` takes uint8 [N, {height}, {width}, 3] in RGB and gives float32 [N, {given['shape'][1]}], "
            "rows of length 1, so that the product of two is their cosine. Normalising and adding the mirrored picture "
            f"are in it. When it was written, the largest difference from PyTorch was {difference:.1e}."
        )
    yield "`preprocessing.json` says the same as data."


def _results(known: Known) -> Iterator[str]:
    yield "## Scores"
    if known.others:
        yield f"Left out, as dvc.lock does not say that they are of these weights: {', '.join(known.others)}."
    if not known.scores:
        yield "No evaluation of it is known here."
        return
    rows = [list(known.scores[0]), ["---"] * len(known.scores[0]), *(list(row.values()) for row in known.scores)]
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    yield "In percent: this seed's, and the mean and standard deviation over all seeds of the run."


def _origin(known: Known, settings: Mapping) -> Iterator[str]:
    yield "## Provenance"
    yield f"Settings and training data are known by the hash `{settings['inputs']}` (`config.json`)."
    git = known.provenance.get("git")
    if git:
        changed = f", with {len(git['changed'])} changed files" if git["changed"] else ""
        yield f"Exported at revision `{git['revision']}`{changed}."
    if known.scores:
        yield from (
            "\n".join(f"- {key}: {text}" for key, text in row.items()) for row in provenance_rows(known.provenance)
        )
        yield "Hashes of all data and code behind the scores are in `provenance.json`."


def _scores(place: str, file: Path, seed: str) -> list[dict[str, str]]:
    """Rows of the card's table: of an evaluation's settings. Raises ValueError naming a file that is no such scores."""
    if not file.is_file():
        return []
    try:
        scores = json.loads(file.read_text(encoding="utf-8"))
        own, mean, std = scores["seeds"].get(seed, {}), scores["mean"], scores["std"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{file}: not the scores of an evaluation: {error}") from error
    return [
        {"Evaluation": place, "Setting": setting.replace("_", ", ", 1).replace("_", " ")}
        | {f"{title}, this seed": number(own.get(setting, {}).get(key)) for key, title in MEASURES.items()}
        | {
            f"{title}, all seeds": spread(mean[setting][key], std.get(setting, {}).get(key))
            for key, title in MEASURES.items()
        }
        for setting in mean
    ]
