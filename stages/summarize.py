"""Stage summarize: one outfit text per clothes ID of the training split (Sec. 3.1).

    python -m stages.summarize NAME    # a key of params.outfits -> outfits/NAME.parquet

Source `vlm+llm`: a language model merges the descriptions of all images of a clothes ID. Source `vlm`: the description
of one of its images, without a summary. Source `random`: the language model makes up as many outfits as there are
clothes IDs (baseline "random prompts").

The language model's answers are kept one by one, so that a stopped stage goes on where it was.
"""

import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import typer

from dlcr.params import Summarize, load_params, lookup
from dlcr.prompts import (
    Outfit,
    Summarizer,
    count_origins,
    load_summarizer,
    random_outfits,
    single_image_outfit,
    summarize,
)
from dlcr.prompts.tables import read_descriptions, read_descriptions_by_image, write_texts
from dlcr.runtime import determinism, timing
from dlcr.runtime.code import code_of
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.progress import progress
from dlcr.runtime.seeds import seed_of
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import key_of, work_folder

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Make the outfit texts of the set NAME."""
    params = load_params()
    entry = lookup(params.outfits, "outfits", name)
    determinism.set_up()
    start = time.monotonic()
    model = None if entry.source == "vlm" else model_fingerprint(params.models.summarizer)
    identity = {"model": model, "settings": params.summarize.model_dump(), "code": code_of(summarize, random_outfits)}
    kept = work_folder(key_of({"stage": "summarize", "name": name, **identity}))
    resumed = kept.is_dir()
    if entry.source == "vlm":
        outfits = {
            clothes: single_image_outfit(responses, seed_of("single image", params.seed, clothes))
            for clothes, responses in read_descriptions_by_image(entry.descriptions).items()
        }
    else:
        responses = read_descriptions(entry.descriptions)
        summarizer = replace(load_summarizer(params.models.summarizer), kept=kept)
        if entry.source == "random":
            seed = seed_of("random outfits", params.seed, name)
            made = random_outfits(summarizer, len(responses), params.summarize, seed)
            outfits = {f"random-{index:04d}": outfit for index, outfit in enumerate(made)}
        else:
            outfits = summarize_all(summarizer, responses, params.summarize, params.seed)
    counts = count_origins(list(outfits.values()))
    excluded = [clothes for clothes, outfit in outfits.items() if outfit.origin == "empty"]
    rows = [{"clothes": clothes, **asdict(outfit)} for clothes, outfit in outfits.items() if clothes not in excluded]
    if not rows:
        raise ValueError(f"{name}: no description of {entry.descriptions} names any garment; see descriptions/")
    fingerprint = {
        "model": model,
        "origins": counts,
        "excluded": excluded,
        "source": entry.source,
        "descriptions": entry.descriptions,
    }
    write_texts(pd.DataFrame(rows), Path("outfits", f"{name}.parquet"), fingerprint)
    shutil.rmtree(kept, ignore_errors=True)
    if not resumed:  # the rest of a stopped run says nothing about how long all of it takes
        seconds = time.monotonic() - start
        timing.record("summarize", name, seconds=seconds, outfits=len(rows), peak_memory_mb=timing.peak_memory_mb())
    print(f"{name}: {len(rows)} outfits; origin: " + ", ".join(f"{key} {value}" for key, value in counts.items()))
    if excluded:
        print(
            f"warning: {len(excluded)} clothes IDs left out, as no description names any garment: "
            f"{', '.join(excluded[:10])}{' ...' if len(excluded) > 10 else ''}",
            file=sys.stderr,
        )


def summarize_all(
    summarizer: Summarizer, responses: dict[str, list[str]], settings: Summarize, seed: int
) -> dict[str, Outfit]:
    """One outfit per clothes ID; each depends on its own responses and seed only."""
    outfits = {}
    with progress(len(responses), "summarize", unit="clothes ID") as bar:
        for clothes, texts in responses.items():
            outfits[clothes] = summarize(summarizer, texts, settings, seed_of("summarize", seed, clothes))
            bar.update(1)
    return outfits


if __name__ == "__main__":
    run_stage(app)
