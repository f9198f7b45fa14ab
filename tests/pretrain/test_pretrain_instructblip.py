"""InstructBLIP's recipe end to end on a few scenes, with the shipped describer as its teacher."""

import numpy as np
import pytest
import torch

from dlcr.minicc import benchmark_scenes, outfit_words, parse_words, render
from dlcr.pretrain import describer, instructblip
from dlcr.pretrain.describer import QUESTIONS
from dlcr.pretrain.instructblip import GRID, SIZE, WORDS, Recipe
from dlcr.pretrain.words import split_words
from dlcr.prompts import describe, load_describer


@pytest.fixture(scope="module")
def small(repository):
    return {
        "scenes": 16, "held_out": 8, "steps": 2, "batch": 4, "teacher": str(repository / "models/mini/describer"),
        "vision_width": 16, "vision_layers": 2, "width": 16, "layers": 1, "queries": 8, "head": 8,
    }  # fmt: skip


def test_recipe_is_seeded_and_saves_what_loads(tmp_path, few_scenes, small, monkeypatch):
    monkeypatch.setattr(instructblip, "pool", lambda count: few_scenes)
    scores = instructblip.pretrain(tmp_path / "a", small)
    assert scores == instructblip.pretrain(tmp_path / "b", small)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert scores["images"] == 8
    made = load_describer(str(tmp_path / "a"))
    assert made.model.config.model_type == "instructblip"
    assert len(describe(made, list(few_scenes.images[:2]), "What?", max_new_tokens=3)) == 2


def test_training_sees_what_the_processor_makes(few_scenes):
    processor = instructblip.make_processor(Recipe())
    pictures = torch.from_numpy(few_scenes.images[:8]).permute(0, 3, 1, 2).float()
    made = describer.as_processed(pictures, processor)
    pixels = processor.image_processor(list(few_scenes.images[:8]), return_tensors="pt")["pixel_values"]
    assert made.shape == pixels.shape == (8, 3, *SIZE)
    assert (made - pixels).abs().max() < 0.02  # the processor rounds to whole values in between


def test_training_asks_as_the_processor_does(few_scenes):
    processor = instructblip.make_processor(Recipe(queries=5))
    answers = ["Gray shirt| Blue jeans| Black shoes", "Red striped t-shirt| Pink skirt| Brown boots"]
    inputs = instructblip.answered(processor, "What?", answers)
    asked = processor(text=["What?"], images=[few_scenes.images[0]], return_tensors="pt")
    length = asked["input_ids"].shape[1]
    assert (inputs["input_ids"][:, :length] == asked["input_ids"]).all()
    assert (inputs["qformer_input_ids"] == asked["qformer_input_ids"]).all()
    assert (inputs["input_ids"] == 3).sum(1).tolist() == [5, 5]
    for labels, answer in zip(inputs["labels"], answers, strict=True):
        assert (labels[:length] == -100).all()
        said = labels[labels != -100]
        assert said[-1] == processor.tokenizer.eos_token_id
        assert processor.tokenizer.decode(said[:-1]).strip() == answer


def test_help_reaches_the_tower_and_the_queries(few_scenes, small):
    recipe = Recipe(**small)
    torch.manual_seed(0)
    helpers = instructblip.Helpers(recipe)
    labels = instructblip.word_labels(few_scenes.words[:4])
    processor = instructblip.make_processor(recipe)
    model = instructblip.make_model(processor.tokenizer, recipe)
    pixels = describer.as_processed(torch.from_numpy(few_scenes.images[:4]).permute(0, 3, 1, 2).float(), processor)
    with instructblip.watched(*model.vision_model.encoder.layers) as inner:
        made = model(pixel_values=pixels, **{**instructblip.answered(processor, "What?", [""] * 4), "labels": None})
    layers = [states[:, 1:] for states in (*inner, made.vision_outputs.last_hidden_state)]
    assert [states.shape for states in layers] == [(4, GRID[0] * GRID[1], recipe.vision_width)] * 3
    loss = helpers.distillation(pixels, layers)
    assert 2.5 < loss < 6  # three stages of unit variance, told by random maps
    loss.backward(retain_graph=True)
    assert model.vision_model.embeddings.patch_embedding.weight.grad.abs().sum() > 0
    assert all(value.grad is None for value in helpers.teacher.parameters())
    assert model.query_tokens.grad is None
    helpers.naming(made.qformer_outputs[0], labels).backward()
    told = model.query_tokens.grad[0].abs().sum(1) > 0
    assert told[: len(WORDS)].all()


def test_patches_of_a_layer_tell_the_stage_of_their_detail(few_scenes, small):
    recipe = Recipe(**small)
    torch.manual_seed(0)
    helpers = instructblip.Helpers(recipe)
    pixels = torch.rand(4, 3, *SIZE)
    layers = [torch.rand(4, GRID[0] * GRID[1], recipe.vision_width, requires_grad=True) for _ in range(3)]
    helpers.distillation(pixels, layers).backward()
    for patches, head in zip(layers, helpers.seen, strict=True):
        assert (patches.grad.abs().sum(2) > 0).all()
        assert head.weight.grad.abs().sum() > 0


def test_watched_modules_are_left_as_they_were():
    inner, outer = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)
    with instructblip.watched(inner, outer) as latest:
        made = outer(inner(torch.ones(5, 2)))
        assert latest[0].shape == (5, 3)
        assert latest[1] is made
    outer(inner(torch.zeros(7, 2)))
    assert latest[1] is made


def test_every_parameter_has_one_optimizer(small):
    recipe = Recipe(**small)
    model = instructblip.make_model(instructblip.make_processor(recipe).tokenizer, recipe)
    muon, adam = instructblip.make_optimizers(model, list(model.parameters()), recipe)
    names = {id(value): name for name, value in model.named_parameters()}
    by_muon, by_adam = (
        {names[id(value)] for value in optimizer.param_groups[0]["params"]} for optimizer in (muon, adam)
    )
    assert by_muon | by_adam == set(names.values())
    assert not by_muon & by_adam
    assert "vision_model.encoder.layers.0.mlp.fc1.weight" in by_muon
    assert "query_tokens" in by_adam
    assert not any("embed" in name for name in by_muon)


def test_words_are_labels():
    labels = instructblip.word_labels(["Gray striped coat| Blue jeans| Black shoes"])
    assert [words[place] for words, place in zip(WORDS, labels[0], strict=True)] == [
        "gray", "striped", "coat", "blue", "jeans", "black", "shoes",
    ]  # fmt: skip


def test_near_patches_begin_alike():
    positions = instructblip.sines(32).unflatten(0, GRID)
    assert positions.shape == (*GRID, 32)
    near = (positions[5, 1] - positions[6, 1]).norm()
    assert near < (positions[5, 1] - positions[8, 1]).norm() < (positions[5, 1] - positions[15, 1]).norm()
    assert len(positions.flatten(0, 1).unique(dim=0)) == GRID[0] * GRID[1]


def test_the_shipped_model_names_colours_of_benchmark_outfits(repository):
    scenes = [scene for scene in benchmark_scenes(train_subjects=6) if scene.split == "train"]
    shipped = load_describer(str(repository / "models" / "mini" / "instructblip"))
    answers = describe(shipped, [render(scene).image for scene in scenes], QUESTIONS[0])
    right = []
    for scene, answer in zip(scenes, answers, strict=True):
        parse_words(answer)  # always of the right form, with known words
        said, worn = split_words(answer), split_words(outfit_words(scene.outfit))
        right.append([said[0] == worn[0], said[3] == worn[3], said[5] == worn[5]])
    assert np.mean(right) > 0.7
