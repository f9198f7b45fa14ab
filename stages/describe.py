"""Stage describe: what a vision-language model says of every training image (Sec. 3.1).

    python -m stages.describe NAME     # a key of params.descriptions -> descriptions/NAME.parquet

Answers are kept batch by batch, so that a stopped stage goes on where it was; batches are always the same,
and so are the answers. An image that can't be decoded has an empty answer.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import typer

from dlcr.data import folder_fingerprint, load_manifest, open_images
from dlcr.params import load_params, lookup
from dlcr.prompts.answers import answerer, write_answers
from dlcr.prompts.tables import write_texts
from dlcr.runtime import timing
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.resume import make_files, parts_folder, split_rows
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Make the descriptions NAME."""
    params = load_params()
    entry = lookup(params.descriptions, "descriptions", name)
    start = time.monotonic()
    manifest = load_manifest(Path("data", entry.dataset))
    train = manifest[manifest["split"] == "train"]
    images = open_images(Path("data", entry.dataset, "images"))
    model, settings = params.models.describers[entry.describer], params.describe.model_dump()
    fingerprint = {
        "dataset": entry.dataset,
        "describe": settings,
        "images": folder_fingerprint(Path("data", entry.dataset, "images")),
        "model": model_fingerprint(model),
        "seed": params.seed,
    }

    def read(image_id: str) -> tuple[str, bytes, int]:
        return image_id, images.encoded(image_id), seed_of("describe", params.seed, entry.dataset, image_id)

    files = split_rows(train["image_id"].tolist(), settings["batch"], "{:08d}.json")
    with parts_folder("describe", name) as parts:
        made = make_files(
            parts,
            files,
            build=partial(answerer, model, settings),
            payload=lambda ids: [read(image_id) for image_id in ids],
            key=lambda ids: {"stage": "describe", "ids": ids, **fingerprint},
            write=write_answers,
            desc="describe",
        )
        answers = [answer for file in files for answer in json.loads((parts / file).read_text(encoding="utf-8"))]
    table = train[["image_id", "clothes"]].assign(response=[answer or "" for answer in answers])
    write_texts(table, Path("descriptions", f"{name}.parquet"), fingerprint)
    if made == len(table):  # answers from the store say nothing about how long making them takes
        timing.record_images("describe", name, time.monotonic() - start, made)
    print(f"{name}: {len(table)} descriptions, {answers.count('')} of them empty")
    if unreadable := answers.count(None):
        print(f"warning: {unreadable} images can't be decoded and have no description", file=sys.stderr)


if __name__ == "__main__":
    run_stage(app)
