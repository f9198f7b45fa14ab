"""The describer's recipe end to end on a few scenes."""

import numpy as np
import torch

from dlcr.pretrain import describer
from dlcr.pretrain.words import make_tokenizer, split_words

SMALL = {
    "scenes": 16, "held_out": 8, "epochs": 1, "steps": 1, "batch": 4,
    "trunk": (4, 4, 8, 8), "width": 16, "layers": 1, "heads": 2,
}  # fmt: skip


def test_recipe_is_seeded_and_saves_what_loads(tmp_path, few_scenes, monkeypatch):
    monkeypatch.setattr(describer, "pool", lambda count: few_scenes)
    scores = describer.pretrain(tmp_path / "a", SMALL)
    assert scores == describer.pretrain(tmp_path / "b", SMALL)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert scores["images"] == 8


def test_training_sees_what_the_processor_makes(few_scenes):
    processor = describer.make_processor()
    pictures = torch.from_numpy(few_scenes.images[:8]).permute(0, 3, 1, 2).float()
    made = describer.as_processed(pictures, processor)
    pixels = processor.image_processor(list(few_scenes.images[:8]), return_tensors="pt")["pixel_values"]
    assert made.shape == pixels.shape == (8, 3, *describer.SIZE)
    assert (made - pixels).abs().max() < 0.02  # the processor rounds to whole values in between


def test_batches_are_mirrored_and_moved(few_scenes):
    processor = describer.make_processor()
    batch = next(describer.training_batches(few_scenes, processor, describer.Recipe(batch=64)))
    pictures = torch.from_numpy(few_scenes.images[batch.rows]).permute(0, 3, 1, 2).float()
    made = describer.as_processed(pictures, processor)
    assert batch.pixels.shape == made.shape
    assert not torch.equal(batch.pixels, made)
    assert (batch.pixels.mean((2, 3)) - made.mean((2, 3))).abs().max() < 0.1


def test_answers_are_what_counts():
    processor = describer.make_processor()
    answers = ["Gray shirt| Blue jeans| Black shoes", "Red striped t-shirt| Pink skirt| Brown boots"]
    inputs = describer._answered(processor, "What?", answers, torch.zeros(2, 3, *describer.SIZE))
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert (inputs["input_ids"] == image).sum(1).tolist() == [17, 17]
    for labels, answer in zip(inputs["labels"], answers, strict=True):
        said = labels[labels != -100]
        assert said[-1] == processor.tokenizer.eos_token_id
        assert processor.tokenizer.decode(said[:-1]).strip() == answer


def test_words_and_tokens():
    assert split_words("Gray shirt| Blue jeans| Black shoes") == [
        "gray",
        "plain",
        "shirt",
        "blue",
        "jeans",
        "black",
        "shoes",
    ]
    assert split_words("Red striped coat| Pink skirt| Brown boots")[1] == "striped"
    tokenizer = make_tokenizer(["What?"], special=["<image>"], chat_template="x")
    text = "Gray striped hoodie| Blue jeans| Black sneakers"
    assert len(tokenizer(text)["input_ids"]) == 9
    for any_text in (text, "anything at all, ÄÖ 我"):
        assert tokenizer.decode(tokenizer(any_text)["input_ids"]).strip() == any_text
    assert np.array_equal(tokenizer("<image>")["input_ids"], [3])
