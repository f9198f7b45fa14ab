"""SegFormer-b2 from pictures to masks, and a model of LLaVA-1.5-7B's shape that answers, random weights: images/s."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.device.results import Results, median_seconds
from benchmarks.generation import models
from benchmarks.generation.work import made_up
from dlcr.parsing import Parser, load_parser, parse_clothes
from dlcr.prompts import Describer, describe, load_describer

PARSE, DESCRIBE, TINY = (1, 8, 16, 32, 64, 128), (1, 8, 32), (2,)
TOKENS, FEW = (32, 128), (2, 4)


def run(results: Results, tiny: bool) -> None:
    """The parser's batches, then the describer's for each number of tokens."""
    with tempfile.TemporaryDirectory() as name:
        models.save_segformer(Path(name), tiny, torch.float32)  # as its authors saved it
        parser = load_parser(name)
    for batch in TINY if tiny else PARSE:
        results.case(f"SegFormer-b2, batch {batch}", partial(parse, parser, batch))
    del parser
    describer = open_describer(tiny)
    for tokens in FEW if tiny else TOKENS:
        for batch in TINY if tiny else DESCRIBE:
            results.case(f"LLaVA-7B's shape, {tokens} tokens, batch {batch}", partial(answer, describer, batch, tokens))


def open_describer(tiny: bool) -> Describer:
    """The model made in place, in float16: saved, it would be 14 GB. All else is that of a tiny one that was loaded."""
    with tempfile.TemporaryDirectory() as name:
        models.save_llava(Path(name), tiny=True)
        describer = load_describer(name)
    model, processor = models.make_llava(tiny, torch.bfloat16 if tiny else torch.float16)
    return replace(describer, model=model, processor=processor)


def parse(parser: Parser, batch: int) -> dict:
    """Images/s of the parser, its image processor and the masks included."""
    images = made_up(2 * batch)
    parse_clothes(parser, images, batch)
    found = median_seconds(partial(parse_clothes, parser, images, batch))
    return {"batch": batch, "images/s": len(images) / found["seconds"]} | found


def answer(describer: Describer, batch: int, tokens: int) -> dict:
    """Images/s of answers of so many tokens."""
    images = made_up(batch)
    describe(describer, images, models.QUESTION, max_new_tokens=2)
    found = median_seconds(partial(describe, describer, images, models.QUESTION, max_new_tokens=tokens))
    return {"batch": batch, "images/s": batch / found["seconds"], "tokens/s": batch * tokens / found["seconds"]} | found
