"""Stage describe: what a vision-language model says of every training image (Sec. 3.1).

    python -m stages.describe NAME     # a key of params.datasets: data/NAME -> descriptions/NAME.parquet

Answers are kept batch by batch, so that a stopped stage goes on where it was; batches are always the same,
and so are the answers.
"""

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import typer

import dlcr.prompts
from dlcr.data import Images, folder_fingerprint, load_manifest, open_images
from dlcr.params import Describe, load_params, lookup
from dlcr.prompts import Describer, describe, load_describer
from dlcr.prompts.tables import write_texts
from dlcr.runtime import determinism, timing
from dlcr.runtime.checkpoint import code_hash, model_fingerprint
from dlcr.runtime.files import write_json
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import checkpoint_dir, key_of

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Describe the training images of the dataset NAME."""
    params = load_params()
    lookup(params.datasets, "datasets", name)
    determinism.set_up()
    start = time.monotonic()
    manifest = load_manifest(Path("data", name))
    train = manifest[manifest["split"] == "train"]
    images = open_images(Path("data", name, "images"))
    fingerprint = {
        "code": code_hash(dlcr.prompts),
        "dataset": name,
        "describe": params.describe.model_dump(),
        "images": folder_fingerprint(Path("data", name, "images")),
        "model": model_fingerprint(params.models.describer),
        "seed": params.seed,
    }
    kept = checkpoint_dir(key_of({"stage": "describe", "ids": train["image_id"].tolist(), **fingerprint}))
    resumed = kept.is_dir()
    describer = load_describer(params.models.describer)
    responses = describe_all(describer, images, train["image_id"].tolist(), params.describe, (params.seed, name), kept)
    table = train[["image_id", "clothes"]].assign(response=responses)
    write_texts(table, Path("descriptions", f"{name}.parquet"), fingerprint)
    shutil.rmtree(kept, ignore_errors=True)
    if not resumed:  # the rest of a stopped run says nothing about how long all of it takes
        timing.record_images("describe", name, time.monotonic() - start, len(table))
    print(f"{name}: {len(table)} descriptions, {responses.count('')} of them empty")


def describe_all(
    describer: Describer, images: Images, ids: Sequence[str], settings: Describe, seed: tuple, kept: Path
) -> list[str]:
    """The answers for the images `ids`, those of finished batches taken from the folder `kept`."""
    responses = []
    with progress(len(ids), "describe") as bar:
        for first in range(0, len(ids), settings.batch):
            part = ids[first : first + settings.batch]
            path = kept / f"{first:08d}.json"
            if not path.is_file():
                seeds = [seed_of("describe", *seed, image_id) for image_id in part]
                answers = describe(
                    describer,
                    [images[image_id] for image_id in part],
                    settings.question,
                    settings.temperature,
                    settings.max_new_tokens,
                    seeds,
                )
                write_json(path, answers)
            responses += json.loads(path.read_text(encoding="utf-8"))
            bar.update(len(part))
    return responses


if __name__ == "__main__":
    run_stage(app)
