"""Stage describe with a describer of fixed words: order, resuming, the same bytes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import dlcr.prompts.answers
import stages.describe
from dlcr.data import encode_png
from dlcr.data.pack import pack


@pytest.fixture
def workplace(tmp_path, repository, monkeypatch) -> Path:
    """The shipped profile and a dataset of ten pictures whose first pixel is their number."""
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))
    params["describe"] |= {"batch": 3, "temperature": 0.5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in ("describer", "instructblip"):
        (tmp_path / "models" / "mini" / name).mkdir(parents=True)
    rows, encoded = [], {}
    for number in range(10):
        name = f"{number:02d}.png"
        encoded[name] = encode_png(np.full((8, 4, 3), number, np.uint8))
        rows.append({
            "image_id": name, "subject": "1", "clothes": f"1-{number % 2}", "camera": "A", "tracklet": "",
            "split": "gallery" if number == 4 else "train", "frame": number, "width": 4, "height": 8,
        })  # fmt: skip
    pack(pd.DataFrame(rows), encoded.__getitem__, tmp_path / "data" / "minicc", {"dataset": "minicc"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dlcr.prompts.answers, "load_describer", lambda model: model)
    return tmp_path


def answers(describer, images, question, temperature, max_new_tokens, seeds):
    return [f"{image[0, 0, 0]} {seed}" for image, seed in zip(images, seeds, strict=True)]


def run(monkeypatch, describe) -> bytes:
    monkeypatch.setattr(dlcr.prompts.answers, "describe", describe)
    CliRunner().invoke(stages.describe.app, ["minicc"], catch_exceptions=False)
    return Path("descriptions/minicc.parquet").read_bytes()


def test_a_stopped_stage_goes_on_where_it_was(workplace, monkeypatch):
    whole = run(monkeypatch, answers)
    table = pd.read_parquet("descriptions/minicc.parquet")
    assert list(table.columns) == ["image_id", "clothes", "response"]
    assert [response.split()[0] for response in table["response"]] == [
        str(number) for number in range(10) if number != 4
    ]
    assert json.loads(pq.read_schema("descriptions/minicc.parquet").metadata[b"dlcr"])["dataset"] == "minicc"
    assert not list((workplace / ".dlcr" / "parts").glob("*"))

    Path("descriptions/minicc.parquet").unlink()
    shutil.rmtree(workplace / ".dlcr" / "store")
    asked = []

    def stopped(describer, images, *rest):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(images))
        return answers(describer, images, *rest)

    monkeypatch.setattr(dlcr.prompts.answers, "describe", stopped)
    with pytest.raises(KeyboardInterrupt):
        stages.describe.main("minicc")
    assert not Path("descriptions/minicc.parquet").exists()
    asked.clear()
    assert run(monkeypatch, stopped) == whole
    assert asked == [3]  # the last of three batches


def test_an_unreadable_image_has_an_empty_answer(workplace, monkeypatch):
    monkeypatch.setattr(dlcr.prompts.answers, "describe", answers)
    answer = dlcr.prompts.answers.answerer("model", {"batch": 2, "question": "", "temperature": 0, "max_new_tokens": 1})
    data = [encode_png(np.full((8, 4, 3), number, np.uint8)) for number in range(3)]
    rows = list(zip("abcd", [data[0], data[1][:30], data[2], b""], [5, 6, 7, 8], strict=True))
    assert answer(rows) == ["0 5", None, "2 7", None]


def test_a_describers_name_is_that_of_the_descriptions(workplace, monkeypatch):
    run(monkeypatch, answers)
    result = CliRunner().invoke(stages.describe.app, ["minicc-instructblip"])
    assert result.exception is None
    first, second = (pd.read_parquet(f"descriptions/{name}.parquet") for name in ("minicc", "minicc-instructblip"))
    assert first.equals(second)  # the same seeds: only the model differs


def test_other_settings_start_anew(workplace, monkeypatch):
    whole = run(monkeypatch, answers)
    path = workplace / "params.yaml"
    path.write_text(path.read_text().replace("seed: 0\nseeds", "seed: 1\nseeds"), encoding="utf-8")
    assert run(monkeypatch, answers) != whole
