"""What describers see of a picture, by the processor files of the real repositories."""

import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from made_families import KINDS
from made_models import QUERIES
from PIL import Image
from transformers import AutoConfig

from dlcr.prompts import load_describer
from dlcr.prompts.describer import model_inputs
from dlcr.prompts.processor import load_processor, margin_colour, pad_to_square
from dlcr.runtime.networks import find_pretrained


def processor_of(model):
    pretrained = find_pretrained(model)
    return load_processor(model, pretrained, AutoConfig.from_pretrained(pretrained.location, **pretrained.arguments()))


def person() -> np.ndarray:
    """A red head, a green body and blue shoes, as tall as in PRCC."""
    picture = np.zeros((250, 100, 3), np.uint8)
    picture[:60, :, 0] = picture[60:190, :, 1] = picture[190:, :, 2] = 255
    return picture


def shares(describer, picture) -> np.ndarray:
    """How much of what the model is given is head, body and shoes."""
    images = describer.processor.image_processor
    pixels = model_inputs(describer, [picture], "What?")["pixel_values"][0].permute(1, 2, 0).float().numpy()
    rgb = pixels * images.image_std + images.image_mean
    return np.array([(rgb @ np.eye(3)[part] - rgb @ (1 - np.eye(3)[part]) > 0.6).mean() for part in range(3)])


def test_llava_sees_head_and_shoes(folders):
    describer = load_describer(str(folders["llava 1.5"]))
    assert describer.margin == (122, 116, 104)
    inputs = model_inputs(describer, [person(), person()], "What?")
    assert inputs["pixel_values"].shape == (2, 3, 336, 336)
    assert (inputs["input_ids"] == 3).sum(1).tolist() == [576, 576]
    seen = shares(describer, person())
    assert seen == pytest.approx(0.4 * np.array([0.24, 0.52, 0.24]), abs=0.005)  # of a square as high as the picture
    across = shares(describer, np.rot90(person()))
    assert across == pytest.approx(seen, abs=0.005)


def test_pictures_are_padded_as_llava_s_authors_do():
    """`expand2square` of haotian-liu/LLaVA, llava/mm_utils.py."""
    rng = np.random.default_rng(0)
    for height, width in ((250, 100), (101, 250), (7, 4), (5, 5), (1, 2)):
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        side = max(height, width)
        wanted = Image.new("RGB", (side, side), (122, 116, 104))
        at = (0, (width - height) // 2) if width > height else ((height - width) // 2, 0)
        wanted.paste(Image.fromarray(picture), at)
        np.testing.assert_array_equal(pad_to_square(picture, (122, 116, 104)), np.asarray(wanted))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "llava 1.5"])
def test_what_is_seen_whole_is_not_padded(folders, kind):
    """LLaVA-NeXT says that it crops, but crops its tiles."""
    processor = processor_of(str(folders[kind]))
    assert margin_colour(processor) is None
    for rows in (slice(0, 25), slice(-25, None)):  # a tenth of the height
        changed = person()
        changed[rows] = 255
        before, after = (
            processor.image_processor([Image.fromarray(picture)], return_tensors="pt")["pixel_values"]
            for picture in (person(), changed)
        )
        assert not torch.equal(before, after)


@pytest.mark.parametrize("name", ["describer", "instructblip"])
def test_the_shipped_describers_see_a_picture_whole(repository, name):
    """So the margins of others move nothing of MiniCC."""
    describer = load_describer(str(repository / "models" / "mini" / name))
    assert describer.margin is None
    seen = shares(describer, person())
    assert seen == pytest.approx([0.24, 0.52, 0.24], abs=0.02)


def test_tokens_of_pictures_are_as_many_as_their_patches(folders):
    sizes = [(250, 100), (128, 64), (64, 128)]
    pictures = [np.zeros((*size, 3), np.uint8) for size in sizes]
    for kind, unit, token in (("qwen 2.5", 28, "<|image_pad|>"), ("qwen 3", 32, "<|image_pad|>")):
        describer = load_describer(str(folders[kind]))
        inputs = model_inputs(describer, pictures, "What?")
        number = describer.processor.tokenizer.convert_tokens_to_ids(token)
        wanted = [round(height / unit) * round(width / unit) for height, width in sizes]
        assert (inputs["input_ids"] == number).sum(1).tolist() == wanted
        lengths = inputs["attention_mask"].sum(1)
        assert len(set(lengths.tolist())) > 1
        assert inputs["attention_mask"][:, -1].all()  # padded on the left
        assert inputs["pixel_values"].dtype == describer.model.dtype
    gemma = model_inputs(load_describer(str(folders["gemma 3"])), pictures, "What?")
    assert (gemma["input_ids"] == 1).sum(1).tolist() == [1, 1, 1]  # its template says <bos>, and so would its tokenizer
    blip = model_inputs(load_describer(str(folders["instructblip of LLaMA"])), pictures, "What?")
    assert (blip["input_ids"] == 3).sum(1).tolist() == [QUERIES] * 3


def test_instructblip_s_second_tokenizer_is_its_own_offline(folders, tmp_path, monkeypatch):
    """In a hub's cache, where nothing says that its folder has no config.json."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    base = tmp_path / "models--owner--blip"
    shutil.copytree(folders["instructblip of LLaMA"], base / "snapshots" / ("a" * 40))
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("a" * 40)
    processor = processor_of("owner/blip@main")
    assert "[DEC]" in processor.qformer_tokenizer.get_vocab()
    assert type(processor).__name__ == "InstructBlipProcessor"
    assert processor.num_query_tokens == QUERIES
