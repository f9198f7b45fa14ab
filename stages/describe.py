"""Stage describe: what a vision-language model says of every training image (Sec. 3.1; PAPER: stage 1, step 2).

    python -m stages.describe NAME     # a key of params.descriptions -> descriptions/NAME.parquet

Answers are kept batch by batch, so that a stopped stage goes on where it was; batches are always the same,
and so are the answers. An image that can't be decoded has an empty answer.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

import dlcr.prompts
from dlcr.data import Images, decode_rgb, folder_fingerprint, load_manifest, open_images
from dlcr.params import load_params, lookup
from dlcr.prompts import describe, load_describer
from dlcr.prompts.tables import write_texts
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import code_hash, model_fingerprint
from dlcr.runtime.executor import run_chunks
from dlcr.runtime.files import write_json
from dlcr.runtime.memory import Batch
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import checkpoint_dir, key_of

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Chunk:
    """The images of one batch, encoded, and the seeds of their answers."""

    image_ids: list[str]
    images: list[bytes]
    seeds: list[int]


Answers = list[str | None]
"""An answer an image, None where it can't be decoded."""


@app.command()
def main(name: str) -> None:
    """Make the descriptions NAME."""
    params = load_params()
    entry = lookup(params.descriptions, "descriptions", name)
    determinism.set_up()
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
    ids = train["image_id"].tolist()
    kept = checkpoint_dir(key_of({"stage": "describe", "code": code_hash(dlcr.prompts), "ids": ids, **fingerprint}))
    resumed = kept.is_dir()
    build = partial(answerer, model, settings)
    answers = describe_all(build, images, ids, settings["batch"], (params.seed, entry.dataset), kept)
    unreadable = answers.count(None)
    table = train[["image_id", "clothes"]].assign(response=[answer or "" for answer in answers])
    write_texts(table, Path("descriptions", f"{name}.parquet"), fingerprint)
    shutil.rmtree(kept, ignore_errors=True)
    if not resumed:  # the rest of a stopped run says nothing about how long all of it takes
        timing.record_images("describe", name, time.monotonic() - start, len(table))
    print(f"{name}: {len(table)} descriptions, {answers.count('')} of them empty")
    if unreadable:
        print(f"warning: {unreadable} images can't be decoded and have no description", file=sys.stderr)


def describe_all(
    build: Callable[[], Callable[[Chunk], Answers]],
    images: Images,
    ids: Sequence[str],
    batch: int,
    seed: tuple[int, str],
    kept: Path,
) -> Answers:
    """The answers for the images `ids`, those of finished batches taken from the folder `kept`."""
    files = {f"{first:08d}.json": ids[first : first + batch] for first in range(0, len(ids), batch)}
    missing = {name: part for name, part in files.items() if not (kept / name).is_file()}
    with progress(len(ids), "describe") as bar:
        bar.update(len(ids) - sum(len(part) for part in missing.values()))
        with closing(run_chunks(build, _chunks(missing, images, seed), "descriptions")) as results:
            for name, answers in results:
                write_json(kept / name, answers)
                bar.update(len(answers))
    return [answer for name in files for answer in json.loads((kept / name).read_text(encoding="utf-8"))]


def answerer(model: str, settings: dict) -> Callable[[Chunk], Answers]:
    """What answers a batch. settings: the section `describe` of params.yaml."""
    describer, batch = load_describer(model), Batch(settings["batch"])

    def answer(chunk: Chunk) -> Answers:
        images = {}
        for place, (image_id, data) in enumerate(zip(chunk.image_ids, chunk.images, strict=True)):
            try:
                images[place] = decode_rgb(data, image_id)
            except ValueError:
                continue  # has no answer

        def ask(places: Sequence[int]) -> list[str]:
            return describe(
                describer,
                [images[place] for place in places],
                settings["question"],
                settings["temperature"],
                settings["max_new_tokens"],
                [chunk.seeds[place] for place in places],
            )

        answers = dict(zip(images, batch.run(ask, list(images)), strict=True))
        return [answers.get(place) for place in range(len(chunk.images))]

    return answer


def _chunks(
    files: dict[str, Sequence[str]], images: Images, seed: tuple[int, str]
) -> Iterator[tuple[str, Callable[[], Chunk]]]:
    for name, part in files.items():
        yield name, partial(_chunk, part, images, seed)


def _chunk(image_ids: Sequence[str], images: Images, seed: tuple[int, str]) -> Chunk:
    seeds = [seed_of("describe", *seed, image_id) for image_id in image_ids]
    return Chunk(list(image_ids), [images.encoded(image_id) for image_id in image_ids], seeds)


if __name__ == "__main__":
    run_stage(app)
