"""The summarizer's recipe end to end with a few steps."""

import numpy as np

from dlcr.pretrain import summarizer
from dlcr.pretrain.words import split_words
from dlcr.prompts import offered_items
from dlcr.prompts.items import PARTS

WORDS = split_words("Gray shirt| Blue jeans| Black shoes")


def test_recipe_is_seeded_and_saves_what_loads(tmp_path, monkeypatch):
    # Weights of so few steps can't make up outfits; the real ones are asked in tests/stages/test_mini_models.py.
    monkeypatch.setattr(summarizer, "random_outfits", lambda *_, **__: [])
    small = {"steps": 2, "batch": 4, "width": 16, "layers": 1, "heads": 2, "tested": 2}
    scores = summarizer.pretrain(tmp_path / "a", small)
    assert scores == summarizer.pretrain(tmp_path / "b", small)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_noise_is_noise_about_the_outfit():
    rng = np.random.default_rng(0)
    right = {part: 0 for part in PARTS}
    for _ in range(100):
        for response in summarizer.noisy_responses(rng, WORDS, 4):
            for part, item in zip(PARTS, ("gray shirt", "blue jeans", "black shoes"), strict=True):
                right[part] += item in offered_items(response)[part]
    assert all(180 < count < 360 for count in right.values())


def test_answers_stand_at_the_end():
    recipe = summarizer.Recipe()
    messages, answers = summarizer.make_texts(np.random.default_rng(0), 4, recipe)
    tokenizer = summarizer.make_tokenizer(["[INST] [/INST]"], special=[], chat_template=summarizer.CHAT_TEMPLATE)
    ids, asked = summarizer._encode(tokenizer, messages, answers)
    for row, marks, answer in zip(ids, asked, answers, strict=True):
        assert tokenizer.decode(row[marks], skip_special_tokens=True).strip() == answer
