"""The shipped describer and summarizer on benchmark images: right outfits, well-formed random ones."""

from collections import defaultdict

import pytest

from dlcr.minicc import benchmark_scenes, outfit_words, parse_words, render
from dlcr.params import load_params
from dlcr.prompts import describe, load_describer, load_summarizer, random_outfits, summarize


@pytest.fixture(scope="module")
def params(repository):
    return load_params(repository / "profiles" / "minicc.yaml")


@pytest.mark.parametrize(("name", "least", "least_colours"), [("llava", 0.9, 0.95), ("instructblip", 0.75, 0.9)])
def test_outfits_of_benchmark_subjects(params, repository, name, least, least_colours):
    scenes = [scene for scene in benchmark_scenes(train_subjects=8) if scene.split == "train"]
    describer = load_describer(str(repository / params.models.describers[name]))
    summarizer = load_summarizer(str(repository / params.models.summarizer))
    images = [render(scene).image for scene in scenes]
    answers = describe(describer, images, params.describe.question, 0.0, params.describe.max_new_tokens)
    responses, truth = defaultdict(list), {}
    for scene, answer in zip(scenes, answers, strict=True):
        parse_words(answer)  # always of the right form, with known words
        responses[scene.clothes].append(answer)
        truth[scene.clothes] = outfit_words(scene.outfit)
    items, colours = [], []
    for seed, (clothes, texts) in enumerate(responses.items()):
        outfit = summarize(summarizer, texts, params.summarize, seed)
        for said, true in zip(outfit.prompt.split("| "), truth[clothes].split("| "), strict=True):
            items.append(said == true)
            colours.append(said.split()[0] == true.split()[0])
    assert sum(items) / len(items) > least
    assert sum(colours) / len(colours) > least_colours


def test_random_outfits_are_outfits_and_differ(params, repository):
    summarizer = load_summarizer(str(repository / params.models.summarizer))
    made = random_outfits(summarizer, 24, params.summarize, seed=0)
    for outfit in made:
        parse_words(outfit.prompt)
    assert len({outfit.prompt for outfit in made}) > 18
