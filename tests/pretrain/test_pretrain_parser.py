"""The parser's recipe end to end on a few scenes."""

import numpy as np
import pytest

from dlcr.minicc import LABELS
from dlcr.parsing import load_parser
from dlcr.pretrain import parser

SMALL = {"scenes": 16, "held_out": 8, "steps": 2, "batch": 4, "widths": (8, 8, 8, 10), "depths": (1, 1, 1, 1)}


@pytest.fixture(autouse=True)
def _few_scenes(few_scenes, monkeypatch):
    monkeypatch.setattr(parser, "pool", lambda count: few_scenes)


def test_recipe_is_seeded_and_saves_what_loads(tmp_path):
    scores = parser.pretrain(tmp_path / "a", SMALL)
    assert scores == parser.pretrain(tmp_path / "b", SMALL)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert set(scores) == {*(f"iou_{label}" for label in LABELS), "iou_clothes", "images"}
    loaded = load_parser(str(tmp_path / "a"))
    assert [LABELS[i] for i in loaded.clothes] == ["upper", "lower", "footwear"]


def test_processor_leaves_pictures_as_they_are(few_scenes):
    processor = parser.make_processor()
    pixels = processor([few_scenes.images[0]], return_tensors="np")["pixel_values"][0]
    restored = pixels.transpose(1, 2, 0) * processor.image_std + processor.image_mean
    assert np.abs(restored * 255 - few_scenes.images[0]).max() < 0.01
