"""Stage summarize: one row a clothes ID, random outfits, clothes IDs about which nothing is said."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import dlcr.prompts.summarizer
import stages.summarize
from dlcr.pretrain.summarizer import RANDOM_INSTRUCTION
from dlcr.prompts import Summarizer
from dlcr.prompts.tables import write_texts


@pytest.fixture
def workplace(tmp_path, repository, monkeypatch) -> Path:
    """The shipped profile and descriptions of three clothes IDs; no language model."""
    (tmp_path / "params.yaml").write_bytes((repository / "profiles" / "minicc.yaml").read_bytes())
    (tmp_path / "models" / "mini" / "summarizer").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages.summarize, "load_summarizer", lambda model: Summarizer(model, None, None))
    responses = {
        "a-1": ["Gray shirt| Blue jeans| Black shoes"] * 2,
        "a-2": ["Red coat| Pink skirt| Brown boots", "Red coat| Red skirt| Brown boots", ""],
        "b-1": ["", "?"],
    }
    rows = [
        {"image_id": f"{clothes}/{i}", "clothes": clothes, "response": text}
        for clothes, texts in responses.items()
        for i, text in enumerate(texts)
    ]
    write_texts(pd.DataFrame(rows), Path("descriptions/minicc.parquet"), {})
    return tmp_path


def run(monkeypatch, name: str, answer: str):
    monkeypatch.setattr(dlcr.prompts.summarizer, "_ask", lambda _, content, settings, seeds, *__: [answer] * len(seeds))
    return CliRunner().invoke(stages.summarize.app, [name], catch_exceptions=False)


def test_one_outfit_a_clothes_id(workplace, monkeypatch):
    result = run(monkeypatch, "minicc", "Gray shirt| Blue jeans| Black shoes")
    table = pd.read_parquet("outfits/minicc.parquet")
    assert table.to_dict("list") == {
        "clothes": ["a-1", "a-2"],
        "prompt": ["Gray shirt| Blue jeans| Black shoes", "Red coat| Pink skirt| Brown boots"],
        "origin": ["model", "vote"],
        "answer": ["Gray shirt| Blue jeans| Black shoes"] * 2,
    }
    assert "2 outfits; origin: model 1, parsed 0, repaired 0, vote 1, empty 1" in result.output
    assert "1 clothes IDs left out" in result.output
    fingerprint = json.loads(pq.read_schema("outfits/minicc.parquet").metadata[b"dlcr"])
    assert fingerprint["excluded"] == ["b-1"]
    assert fingerprint["origins"] == {"model": 1, "parsed": 0, "repaired": 0, "vote": 1, "empty": 1}


def test_as_many_random_outfits_as_clothes_ids(workplace, monkeypatch):
    run(monkeypatch, "minicc-random", "1. blue hoodie\n2. gray shorts\n3. white sneakers")
    table = pd.read_parquet("outfits/minicc-random.parquet")
    assert table["clothes"].tolist() == ["random-0000", "random-0001", "random-0002"]
    assert set(table["prompt"]) == {"Blue hoodie| Gray shorts| White sneakers"}
    assert set(table["origin"]) == {"parsed"}


@pytest.mark.parametrize("name", ["minicc", "minicc-random"])
def test_a_stopped_stage_goes_on_where_it_was(workplace, monkeypatch, name):
    monkeypatch.setattr(dlcr.prompts.summarizer, "RANDOM_BATCH", 1)
    answers = [
        "Gray shirt| Blue jeans| Black shoes",
        "Red coat| Red skirt| Brown boots",
        "Blue tee| Red jeans| Gray boots",
    ]
    asked = []

    def stopped(summarizer, content, settings, seeds, least_tokens):
        asked.append(content)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return [answers[seed % 3] for seed in seeds]

    monkeypatch.setattr(dlcr.prompts.summarizer, "_ask", stopped)
    with pytest.raises(KeyboardInterrupt):
        stages.summarize.main(name)
    assert not Path(f"outfits/{name}.parquet").exists()
    stages.summarize.main(name)
    asks = {"minicc": 2, "minicc-random": 3}[name]
    assert len(asked) == asks + 1  # the first answer was kept
    resumed = Path(f"outfits/{name}.parquet").read_bytes()
    assert not list((workplace / ".dlcr" / "checkpoints").glob("*"))
    stages.summarize.main(name)
    assert len(asked) == 2 * asks + 1
    assert Path(f"outfits/{name}.parquet").read_bytes() == resumed


def test_one_image_of_a_clothes_id_without_a_language_model(workplace, monkeypatch):
    monkeypatch.setattr(stages.summarize, "load_summarizer", None)
    assert "origin: model 2, parsed 0, repaired 0, vote 0, empty 1" in run(monkeypatch, "minicc-vlm", "").output
    table = pd.read_parquet("outfits/minicc-vlm.parquet").set_index("clothes")
    assert table.loc["a-1", "prompt"] == "Gray shirt| Blue jeans| Black shoes"
    assert table.loc["a-2", "prompt"] in ("Red coat| Pink skirt| Brown boots", "Red coat| Red skirt| Brown boots")
    assert table.loc["a-2", "answer"].lower() == table.loc["a-2", "prompt"].lower()


def test_missing_and_useless_descriptions_are_one_clear_error(workplace, monkeypatch):
    write_texts(
        pd.DataFrame([{"image_id": "x", "clothes": "c", "response": "?"}]),
        Path("descriptions/minicc.parquet"),
        {},
    )
    with pytest.raises(ValueError, match="no description of minicc names any garment"):
        run(monkeypatch, "minicc", "")
    Path("descriptions/minicc.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"stages\.describe minicc"):
        run(monkeypatch, "minicc", "")
    with pytest.raises(ValueError, match="outfits has no 'x'"):
        run(monkeypatch, "x", "")


def test_profile_names_the_shipped_models(repository):
    models = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))["models"]
    assert models["summarizer"] == "models/mini/summarizer"


def test_profiles_ask_for_made_up_outfits_as_their_models_understand(repository):
    """The shipped one knows the words that it was trained on; a chat model is told the form of its answer."""
    for path in (repository / "profiles").glob("*.yaml"):
        params = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        asked = params["summarize"]["random_instruction"]
        if params["models"]["summarizer"] == "models/mini/summarizer":
            assert asked == RANDOM_INSTRUCTION
        else:
            assert "one line of the form upper| lower| shoes" in asked
