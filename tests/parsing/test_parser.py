"""Parsing with a small SegFormer of random weights: loading, labels by name, masks at each image's size."""

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

from dlcr.parsing import clothes_labels, label_maps, load_parser, parse_clothes

ATR_LABELS = """Background Hat Hair Sunglasses Upper-clothes Skirt Pants Dress Belt Left-shoe Right-shoe Face
Left-leg Right-leg Left-arm Right-arm Bag Scarf"""
ATR = dict(enumerate(ATR_LABELS.split()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parser")
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=(1, 1),
        num_encoder_blocks=2,
        hidden_sizes=(8, 16),
        decoder_hidden_size=8,
        id2label=ATR,
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


def pictures(rng, sizes):
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def test_clothes_are_found_by_name():
    assert [ATR[i] for i in clothes_labels(ATR)] == [
        "Upper-clothes",
        "Skirt",
        "Pants",
        "Dress",
        "Belt",
        "Left-shoe",
        "Right-shoe",
    ]
    minicc = dict(enumerate(("background", "skin", "face", "hair", "upper", "lower", "footwear")))
    assert clothes_labels(minicc) == (4, 5, 6)
    others = ("lower body skin", "upper arm", "sunglasses", "bag", "hat", "LABEL_3", "hair")
    assert clothes_labels(dict(enumerate(others))) == ()


def test_masks_have_each_images_own_size_and_ignore_the_batch(folder):
    parser = load_parser(str(folder))
    images = pictures(np.random.default_rng(0), [(32, 16), (40, 20), (96, 31), (7, 5), (32, 16)])
    masks = parse_clothes(parser, images, batch=2)
    assert [(mask.shape, mask.dtype) for mask in masks] == [(image.shape[:2], bool) for image in images]
    assert 0 < np.mean([mask.mean() for mask in masks]) < 1
    for mask, alone in zip(masks, [parse_clothes(parser, [image], batch=1)[0] for image in images], strict=True):
        assert (mask != alone).mean() < 0.02  # the last bits of a sum may depend on the batch


def test_masks_are_the_clothes_of_the_enlarged_logits(folder):
    parser = load_parser(str(folder))
    (image,) = pictures(np.random.default_rng(1), [(64, 32)])
    pixels = parser.processor([image], return_tensors="pt")["pixel_values"]
    logits = parser.model(pixel_values=pixels).logits
    wanted = torch.nn.functional.interpolate(logits, size=(64, 32), mode="bilinear").argmax(1)[0].numpy()
    assert np.array_equal(label_maps(parser, [image], 1)[0], wanted)
    assert np.array_equal(parse_clothes(parser, [image], 1)[0], np.isin(wanted, parser.clothes))


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
    config = SegformerConfig(
        num_encoder_blocks=1,
        depths=(1,),
        hidden_sizes=(8,),
        num_attention_heads=(1,),
        sr_ratios=(1,),
        patch_sizes=(3,),
        strides=(2,),
        mlp_ratios=(1,),
        decoder_hidden_size=8,
        id2label={0: "cat", 1: "hat"},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    SegformerImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cat, hat"):
        load_parser(str(tmp_path))


def test_weights_that_are_pickles_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load_parser(str(tmp_path))
