"""Qwen-Image-Edit: a text encoder that sees the image, each pair of image and prompt once."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_diffusion import SIZE, draw_pictures
from tiny_edit import SPECIAL, save_qwen_image_edit
from tiny_families import tiny_qwen_tokenizer

from dlcr.inpainting import Expander
from dlcr.inpainting.families import qwen_image_edit

PROMPTS = ["Gray shirt| Blue jeans| Black shoes", "Red coat| Black skirt| Brown boots"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("edit") / "model"
    save_qwen_image_edit(folder)
    return str(folder)


def make(model: str, **settings: object) -> Expander:
    return Expander(model, **({"steps": 2, "guidance": 3.0, "size": SIZE, "batch": 4} | settings))


@pytest.mark.parametrize(("guidance", "times"), [(1.0, 1), (3.0, 2)])
def test_images_are_seen_once_and_pairs_read_once(
    model: str, guidance: float, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expander, seen, read = make(model, guidance=guidance), [], []
    network = expander.pipeline.texts[0][1].model
    look, go = network.visual.forward, network.language_model.forward
    monkeypatch.setattr(network.visual, "forward", lambda *a, **k: seen.append(1) or look(*a, **k))
    monkeypatch.setattr(network.language_model, "forward", lambda *a, **k: read.append(1) or go(*a, **k))
    images, masks = draw_pictures(3)
    canvas = expander.prepare(images, masks)
    for prompt in PROMPTS:
        expander.paint(canvas, range(3), images, masks, [prompt] * 3, [1, 2, 3], lambda place, variant: variant)
    assert len(seen) == 3
    assert len(read) == 3 * len(PROMPTS) * times  # with guidance, each image without a prompt too


def test_what_is_read_depends_on_the_image_and_the_prompt_alone(model: str) -> None:
    expander = make(model)
    images, masks = draw_pictures(2)
    first, second = expander.prepare(images, masks).seen
    (alone,) = expander.prepare(images[:1], masks[:1]).seen
    assert torch.equal(first, alone)
    parts, (tokens, _) = expander.pipeline, expander.loaded.embed(PROMPTS[0])
    (words, there), (others, _) = (qwen_image_edit.read(parts, tokens, seen) for seen in (first, second))
    assert len(words) == len(there) == len(tokens) - 1 + first.shape[:2].numel() - qwen_image_edit.TEMPLATE_TOKENS
    assert (words[-1] != others[-1]).any()  # the last word's embedding is of the image too


@given(*[st.integers(1, 6)] * 3, st.integers(0, 5))
def test_places_are_those_of_transformers(before: int, height: int, width: int, after: int) -> None:
    from transformers import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    holder = type("Holder", (), {"config": Qwen2_5_VLConfig()})()
    holder.get_vision_position_ids = Qwen2_5_VLModel.get_vision_position_ids.__get__(holder)
    kinds = torch.tensor([[0] * before + [1] * (height * width) + [0] * after])
    grid = torch.tensor([[1, 2 * height, 2 * width]])
    places, _ = Qwen2_5_VLModel.get_rope_index(holder, torch.zeros_like(kinds), kinds, image_grid_thw=grid)
    assert torch.equal(qwen_image_edit.locate(before, height, width, after), places[:, 0])


def test_a_model_without_its_processor_is_refused(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_qwen_image_edit(folder)
    (folder / "processor" / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r": no processor/preprocessor_config\.json; expected a folder written"):
        make(str(folder))


def test_the_words_of_a_template_are_cut_where_the_prompt_begins() -> None:
    """With one token for each byte, the system's words are longer than 64: what is cut is never the image."""
    tokens = tiny_qwen_tokenizer(*SPECIAL)(qwen_image_edit.TEMPLATE.format("x")).input_ids
    assert tokens.index(tiny_qwen_tokenizer(*SPECIAL).convert_tokens_to_ids("<|image_pad|>")) > 64
