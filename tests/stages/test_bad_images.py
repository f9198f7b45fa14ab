"""Odd and broken images through parse, describe and inpaint with the shipped models: made, or skipped with a record."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcr.data import decode_rgb, encode_png
from dlcr.inpainting import Chunk
from dlcr.inpainting.kinds import inpainting
from dlcr.minicc import benchmark_scenes, render
from dlcr.parsing import mask_maker
from dlcr.prompts.answers import answerer

PARSE = {"batch": 4, "dilation": 0, "min_area": 0.01, "max_area": 0.95, "labels": {}}
DESCRIBE = {"batch": 4, "question": "What clothes is the person wearing?", "temperature": 0.0, "max_new_tokens": 16}
SAMPLER = {"steps": 1, "guidance": 2.0, "size": (96, 48), "solver": "dpm++", "batch": 4}
BROKEN = ("truncated", "bomb", "nothing", "text")


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0" * 64)) + part(b"IEND", b"")


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    scene = next(scene for scene in benchmark_scenes(train_subjects=1) if scene.split == "train")
    person = render(scene).image
    picture, good = Image.fromarray(person), encode_png(person)
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    return {
        "good": good,
        "one pixel": encoded(picture.resize((1, 1))),
        "one column": encoded(picture.resize((1, 200))),
        "four channels": encoded(picture.convert("RGBA")),
        "16 bit": encoded(Image.fromarray(grey)),
        "CMYK": encoded(picture.convert("CMYK"), "JPEG"),
        "palette": encoded(picture.convert("P")),
        "truncated": good[: len(good) // 2],
        "bomb": bomb(),
        "nothing": b"",
        "text": b"not an image",
        "good again": good,
    }


@pytest.mark.slow
def test_every_odd_image_is_made_or_recorded_and_stops_nothing(images: dict[str, bytes], repository: Path) -> None:
    models, names, data = repository / "models" / "mini", list(images), list(images.values())
    sizes = [(96, 48) if name in BROKEN else decode_rgb(images[name], name).shape[:2] for name in names]

    rows = mask_maker(str(models / "parser"), PARSE)(list(zip(names, data, sizes, strict=True)))
    statuses = dict(zip(names, rows["status"], strict=True))
    assert {name for name, status in statuses.items() if status == "unreadable"} == set(BROKEN)
    assert statuses["good"] == statuses["four channels"] == statuses["good again"] == "ok"

    answer = answerer(str(models / "describer"), DESCRIBE)
    answers = dict(zip(names, answer(list(zip(names, data, range(len(names)), strict=True))), strict=True))
    assert {name for name, text in answers.items() if text is None} == set(BROKEN)
    assert answers["good"] == answers["good again"] == answers["four channels"]

    ones = [encode_png(np.ones(size, bool)) for size in sizes]
    prompts = ["Gray shirt| Blue jeans| Black shoes"] * len(names)
    paint = inpainting.build(str(models / "inpainter"), SAMPLER)
    samples = paint(Chunk(names, [""] * len(names), prompts, list(range(len(names))), data, ones))
    for name, size, sample in zip(names, sizes, samples, strict=True):
        if name in BROKEN:
            assert sample.image is None
            assert sample.skipped.startswith(f"unreadable image: {name}: ")
        else:
            assert decode_rgb(sample.image, name).shape == (*size, 3)
