"""Tables of descriptions come back by clothes ID and by image, whatever their texts."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from bad_texts import BAD

from dlcr.prompts.tables import read_descriptions, read_descriptions_by_image, write_texts


def test_descriptions_by_clothes_and_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"image_id": ["c", "a", "b"], "clothes": ["2", "1", "1"], "response": ["z", "x", "y"]})
    write_texts(table, Path("descriptions", "ltcc-blip.parquet"), {"model": "m"})
    assert read_descriptions_by_image("ltcc-blip") == {"1": {"a": "x", "b": "y"}, "2": {"c": "z"}}
    assert read_descriptions("ltcc-blip") == {"1": ["x", "y"], "2": ["z"]}
    assert list(read_descriptions_by_image("ltcc-blip")["1"]) == ["a", "b"]
    assert json.loads(pq.read_schema("descriptions/ltcc-blip.parquet").metadata[b"dlcr"]) == {"model": "m"}


def test_bad_texts_are_kept_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = list(BAD.values())
    table = pd.DataFrame({"image_id": [f"{i:02d}" for i in range(len(texts))], "clothes": "1", "response": texts})
    write_texts(table, Path("descriptions", "mine.parquet"), {})
    assert read_descriptions("mine") == {"1": texts}


def test_missing_descriptions_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (read_descriptions, read_descriptions_by_image):
        with pytest.raises(FileNotFoundError, match=r"descriptions/mine.parquet.*python -m stages.describe mine"):
            read("mine")
