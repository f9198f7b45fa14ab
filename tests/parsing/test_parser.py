"""Parsing with a small SegFormer of random weights: loading, labels by name, masks at each image's size."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import DAMAGE, damage
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    MobileViTImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
)

from dlcr.parsing import batches, clothes_labels, label_maps, load_parser, mask_status, parse_clothes, schp
from dlcr.parsing.batches import in_parts

MINI = Path(__file__).parents[2] / "models" / "mini" / "parser"
# word for word as `mattmdjaga/segformer_b2_clothes` and SCHP's two data sets have them
# fmt: off
ATR = [
    "Background", "Hat", "Hair", "Sunglasses", "Upper-clothes", "Skirt", "Pants", "Dress", "Belt",
    "Left-shoe", "Right-shoe", "Face", "Left-leg", "Right-leg", "Left-arm", "Right-arm", "Bag", "Scarf",
]
LIP = [
    "Background", "Hat", "Hair", "Glove", "Sunglasses", "Upper-clothes", "Dress", "Coat", "Socks", "Pants",
    "Jumpsuits", "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe",
    "Right-shoe",
]
# as `fashn-ai/fashn-human-parser` has them
FASHN = [
    "background", "face", "hair", "top", "dress", "skirt", "pants", "belt", "bag", "hat", "scarf", "glasses", "arms",
    "hands", "legs", "feet", "torso", "jewelry",
]
# fmt: on


def save_parser(folder, names):
    """A small SegFormer that prefers no label, and the processor beside it."""
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=(1, 1),
        num_encoder_blocks=2,
        hidden_sizes=(8, 16),
        decoder_hidden_size=8,
        id2label=dict(enumerate(names)),
        num_attention_heads=(1, 2),
        sr_ratios=(2, 1),
        patch_sizes=(3, 3),
        strides=(2, 2),
        mlp_ratios=(1, 1),
    )
    model = SegformerForSemanticSegmentation(config)
    torch.nn.init.normal_(model.decode_head.classifier.weight, std=3)
    model.half().save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 32, "width": 16}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_parser(tmp_path_factory.mktemp("parser"), ATR)


@pytest.fixture(scope="module")
def feet(tmp_path_factory):
    return str(save_parser(tmp_path_factory.mktemp("feet"), FASHN))


def pictures(rng, sizes):
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def clothes(names):
    return [names[number] for number in clothes_labels(dict(enumerate(names)))]


def test_clothes_of_the_usual_label_sets_are_found_by_name():
    shoes = ["Left-shoe", "Right-shoe"]
    assert clothes(ATR) == ["Upper-clothes", "Skirt", "Pants", "Dress", "Belt", *shoes]
    assert clothes(LIP) == ["Upper-clothes", "Dress", "Coat", "Socks", "Pants", "Jumpsuits", "Skirt", *shoes]
    minicc = ["background", "skin", "face", "hair", "upper", "lower", "footwear"]
    assert clothes(minicc) == ["upper", "lower", "footwear"]
    cihp = ["UpperClothes", "Torso-skin", "Coat", "Socks", "Sunglasses", "LeftLeg", "LeftShoe"]
    assert clothes(cihp) == ["UpperClothes", "Coat", "Socks", "LeftShoe"]
    fashionpedia = ["top, t-shirt, sweatshirt", "glasses", "watch", "tights, stockings", "bag, wallet", "sleeve"]
    assert clothes(fashionpedia) == ["top, t-shirt, sweatshirt", "tights, stockings", "sleeve"]


def test_parts_of_the_body_are_not_clothes_whatever_else_they_are_called():
    others = ["lower body skin", "upper arm", "Upper_Leg", "Lower_Lip", "sunglasses", "bag", "hat", "LABEL_3", "hair"]
    assert clothes(others) == []


def test_labels_with_names_of_their_own_are_read_as_the_caller_says(feet):
    garments = (3, 4, 5, 6, 7)
    with pytest.warns(
        UserWarning, match=r"no label of this parser is footwear, .*; its labels: background, face, .*feet, torso"
    ):
        assert load_parser(feet).clothes == garments
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parser = load_parser(feet, {"feet": "shoes"})
        assert parser.clothes == (*garments, 15)
        assert load_parser(feet, {"feet": "Left-shoe", "belt": "background", "hat": "upper"}).clothes == (
            3,
            4,
            5,
            6,
            9,
            15,
        )
    images = pictures(np.random.default_rng(0), [(64, 32)] * 4)
    masks, maps = parse_clothes(parser, images, 4), label_maps(parser, images, 4)
    assert all(mask[labels == 15].all() for mask, labels in zip(masks, maps, strict=True))
    assert any((labels == 15).any() for labels in maps)


def test_a_label_taken_for_no_clothes_can_leave_the_footwear_out(folder):
    with pytest.warns(UserWarning, match="no label of this parser is footwear"):
        load_parser(str(folder), {"Left-shoe": "foot", "Right-shoe": "foot"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_parser(str(folder), {"Left-shoe": "foot"})
        load_parser(str(MINI))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"Feet": "shoes"}, r"parse\.labels: .* has no label 'Feet'; its labels: background, face, .*, jewelry"),
        ({"feet": "shoes", "foot": "shoes"}, r"parse\.labels: .* has no label 'foot'"),
        ({"feet": "yes"}, r"parse\.labels\.feet: 'yes' means nothing; expected a word for clothes, such as"),
        ({"feet": ""}, r"parse\.labels\.feet: '' means nothing"),
        (dict.fromkeys(["top", "dress", "skirt", "pants", "belt"], "skin"), "none of its labels is upper clothes"),
    ],
)
def test_labels_that_say_nothing_are_refused(feet, labels, message):
    with pytest.raises(ValueError, match=message):
        load_parser(feet, labels)


def test_schp_is_given_the_same_label_sets():
    assert schp.ATR == ATR
    assert schp.LIP == LIP


def test_masks_have_each_images_own_size_and_ignore_the_batch(folder):
    parser = load_parser(str(folder))
    images = pictures(np.random.default_rng(0), [(32, 16), (40, 20), (96, 31), (7, 5), (32, 16)])
    masks = parse_clothes(parser, images, batch=2)
    assert [(mask.shape, mask.dtype) for mask in masks] == [(image.shape[:2], bool) for image in images]
    assert 0 < np.mean([mask.mean() for mask in masks]) < 1
    for mask, alone in zip(masks, [parse_clothes(parser, [image], batch=1)[0] for image in images], strict=True):
        assert (mask != alone).mean() < 0.02  # the last bits of a sum may depend on the batch


def test_the_network_sees_few_large_pictures_at_a_time(folder, monkeypatch):
    seen, forward = [], SegformerForSemanticSegmentation.forward

    def watched(self, pixel_values):
        seen.append(len(pixel_values))
        return forward(self, pixel_values=pixel_values)

    monkeypatch.setattr(SegformerForSemanticSegmentation, "forward", watched)
    parser = load_parser(str(folder))
    images = pictures(np.random.default_rng(3), [(40, 20)] * 5)
    whole = label_maps(parser, images, batch=5)
    assert seen == [5]
    monkeypatch.setattr(batches, "PART_BYTES", 2 * 32 * 16 * 3 * 4)  # two pictures of the processor's size
    parts = label_maps(parser, images, batch=5)
    assert seen == [5, 2, 2, 1]
    assert np.mean([one != other for one, other in zip(whole, parts, strict=True)]) < 0.001


def test_parts_of_the_usual_sizes():
    """SegFormer resizes to 512 x 512, the mini parser to 96 x 48; a picture that is larger than a part stays whole."""
    counts = [
        [len(part) for part in in_parts(torch.empty(5, 3, *size, dtype=dtype))]
        for size, dtype in [
            ((512, 512), torch.float32),
            ((512, 512), torch.float16),
            ((96, 48), torch.float32),
            ((2048, 1024), torch.float32),
        ]
    ]
    assert counts == [[2, 2, 1], [4, 1], [5], [1] * 5]


def test_results_that_are_no_numbers_are_refused(folder, tmp_path):
    network = SegformerForSemanticSegmentation.from_pretrained(folder, dtype=torch.float32)
    for part in (network.decode_head.batch_norm, network.decode_head.classifier):
        torch.nn.init.constant_(part.weight, 1e30)  # finite, but not so what comes of them
    network.save_pretrained(tmp_path)
    SegformerImageProcessorPil(size={"height": 32, "width": 16}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^{tmp_path}: .*float32: its logits are not finite"):
        label_maps(load_parser(str(tmp_path)), pictures(np.random.default_rng(0), [(32, 16)]), 1)


def test_masks_are_the_clothes_of_the_enlarged_logits(folder):
    parser = load_parser(str(folder))
    (image,) = pictures(np.random.default_rng(1), [(64, 32)])
    pixels = SegformerImageProcessorPil.from_pretrained(folder)([image], return_tensors="pt")["pixel_values"]
    model = SegformerForSemanticSegmentation.from_pretrained(folder, dtype=torch.float32).eval()
    logits = model(pixel_values=pixels).logits
    wanted = torch.nn.functional.interpolate(logits, size=(64, 32), mode="bilinear").argmax(1)[0].numpy()
    assert np.array_equal(label_maps(parser, [image], 1)[0], wanted)
    assert np.array_equal(parse_clothes(parser, [image], 1)[0], np.isin(wanted, parser.clothes))


@pytest.mark.parametrize("model", ["small", "mini"])
def test_tiny_and_thin_images_are_parsed(folder, model):
    parser = load_parser(str(folder) if model == "small" else str(MINI))
    sizes = [(1, 1), (1, 3), (3, 1), (3, 3), (3, 500), (500, 3), (1, 200), (2, 2)]
    masks = parse_clothes(parser, pictures(np.random.default_rng(0), sizes), batch=3, dilation=1)
    assert [(mask.shape, mask.dtype) for mask in masks] == [(size, bool) for size in sizes]


def test_no_images_are_no_masks(folder):
    assert parse_clothes(load_parser(str(folder)), [], batch=4) == []


@given(area=st.floats(0, 1), bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_a_mask_is_ok_between_its_bounds(area, bounds):
    low, high = bounds
    assert mask_status(area, low, high) == ("empty" if area < low else "implausible" if area > high else "ok")


def test_a_mask_at_its_bounds_is_ok():
    assert [mask_status(area, 0.1, 0.6) for area in (0.09, 0.1, 0.6, 0.61)] == ["empty", "ok", "ok", "implausible"]


def test_dilation_grows_by_pixels_in_all_directions(folder):
    parser = load_parser(str(folder))
    images = pictures(np.random.default_rng(2), [(40, 24)])
    mask, grown = parse_clothes(parser, images, 1)[0], parse_clothes(parser, images, 1, dilation=2)[0]
    wanted = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        wanted[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = True
    assert np.array_equal(grown, wanted)


def test_bad_images_and_models_are_named(folder, tmp_path):
    parser = load_parser(str(folder))
    with pytest.raises(ValueError, match=r"image 1: expected uint8 \[H, W, 3\]"):
        parse_clothes(parser, [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)], 1)
    with pytest.raises(ValueError, match=r"image 0: .* found uint8 \[0, 8, 3\]"):
        parse_clothes(parser, [np.zeros((0, 8, 3), np.uint8)], 1)
    save_parser(tmp_path, ["cat", "hat"])
    with pytest.raises(ValueError, match="cat, hat"):
        load_parser(str(tmp_path))


@pytest.mark.parametrize("kind", DAMAGE)
def test_weights_that_are_not_the_whole_parsers_are_refused(folder, tmp_path, kind):
    message = damage(folder, tmp_path, kind, "decode_head.classifier.weight")
    with pytest.raises(ValueError, match=f"^{tmp_path}: .*{message}"):
        load_parser(str(tmp_path))


def test_a_backbone_without_its_head_is_refused(folder, tmp_path):
    SegformerForSemanticSegmentation.from_pretrained(folder).segformer.save_pretrained(tmp_path)
    SegformerImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"missing: decode_head\.batch_norm\.bias and \d+ more"):
        load_parser(str(tmp_path))


@pytest.mark.parametrize("content", ["no json", "{}", '{"image_processor_type": "NoSuchProcessor"}'])
def test_a_processor_that_cannot_be_loaded_is_named(folder, tmp_path, content):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(content)
    if content == "{}":  # nothing but the model's own type tells
        (tmp_path / "config.json").write_text("{}")
    with pytest.raises((ValueError, FileNotFoundError), match=f"^{tmp_path}: cannot be loaded: "):
        load_parser(str(tmp_path))


def test_a_repository_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"^nobody/nothing@main: "):
        load_parser("nobody/nothing@main")


def test_weights_that_are_pickles_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_parser(str(tmp_path))


def test_processors_that_cut_images_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    MobileViTImageProcessorPil(do_center_crop=True).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="do_center_crop"):
        load_parser(str(tmp_path))
