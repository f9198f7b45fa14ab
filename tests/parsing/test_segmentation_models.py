"""Each family of segmentation models with tiny random weights, against its arithmetic written out."""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import damage
from made_parsers import CLOTHES, IMAGENET, NAMES, SEMANTIC, UNIVERSAL, save_parser, write_json
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate
from transformers import (
    BeitForSemanticSegmentation,
    BeitImageProcessorPil,
    CLIPTokenizer,
    Data2VecVisionForSemanticSegmentation,
    DPTForSemanticSegmentation,
    DPTImageProcessorPil,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    EomtImageProcessorPil,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessorPil,
    OneFormerForUniversalSegmentation,
    OneFormerImageProcessorPil,
    Sapiens2ForSemanticSegmentation,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    UperNetForSemanticSegmentation,
)

from dlcr.parsing import batches, label_maps, load_parser, parse_clothes
from dlcr.parsing.batches import in_parts_by_size

FAMILIES = (*SEMANTIC, *UNIVERSAL)
SIZES = [(50, 20), (30, 40), (64, 64), (41, 17), (50, 20)]
CLASSES = {
    "segformer": (SegformerForSemanticSegmentation, SegformerImageProcessorPil),
    "upernet": (UperNetForSemanticSegmentation, SegformerImageProcessorPil),
    "beit": (BeitForSemanticSegmentation, BeitImageProcessorPil),
    "data2vec-vision": (Data2VecVisionForSemanticSegmentation, BeitImageProcessorPil),
    "dpt": (DPTForSemanticSegmentation, DPTImageProcessorPil),
    "sapiens2": (Sapiens2ForSemanticSegmentation, None),
    "maskformer": (MaskFormerForInstanceSegmentation, MaskFormerImageProcessorPil),
    "mask2former": (Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil),
    "oneformer": (OneFormerForUniversalSegmentation, OneFormerImageProcessorPil),
    "eomt": (EomtForUniversalSegmentation, EomtImageProcessorPil),
    "eomt_dinov3": (EomtDinov3ForUniversalSegmentation, EomtImageProcessorPil),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: save_parser(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


def pictures(sizes=SIZES, seed=0):
    """Smooth colours: of noise a network sees little."""
    rng = np.random.default_rng(seed)
    seeds = [Image.fromarray(rng.integers(0, 256, (9, 6, 3), dtype=np.uint8)) for _ in sizes]
    return [np.asarray(image.resize((width, height), 3)) for image, (height, width) in zip(seeds, sizes, strict=True)]


@cache
def network_of(folder, family):
    return CLASSES[family][0].from_pretrained(folder).eval()


def enlarged(values, size):
    return interpolate(values, size=size, mode="bilinear", align_corners=False)


def scores(output, masks):
    """Of all labels: the queries' probabilities, "no object" left out, times their masks."""
    return torch.einsum("bqc,bqhw->bchw", output.class_queries_logits.softmax(-1)[..., :-1], masks.sigmoid())


def sapiens2_pixels(image):
    """Squeezed bilinearly to 24 x 32 pixels, and ImageNet's mean and deviation."""
    small = np.asarray(Image.fromarray(image).resize((24, 32), Image.Resampling.BILINEAR)) / 255
    values = (small - IMAGENET["image_mean"]) / IMAGENET["image_std"]
    return torch.from_numpy(values).permute(2, 0, 1)[None].float()


def pixels_of(folder, family, image):
    if family == "sapiens2":
        return sapiens2_pixels(image)
    unread = {"class_info_file": None} if family == "oneformer" else {}
    processor = CLASSES[family][1].from_pretrained(folder, **unread)
    return processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]


def expected_labels(folder, family, image):
    """The labels of one image, int64 [H, W], with nothing of the processors but the pixels."""
    network, pixels, size = network_of(folder, family), pixels_of(folder, family, image), image.shape[:2]
    with torch.no_grad():
        if family == "oneformer":
            tokens = CLIPTokenizer.from_pretrained(folder)("the task is semantic")["input_ids"]
            task = torch.tensor([tokens + [0] * (77 - len(tokens))])
            output = network(pixel_values=pixels, task_inputs=task)
        else:
            output = network(pixel_values=pixels)
        if family in SEMANTIC:
            found = output.logits
        elif family == "mask2former":
            found = scores(output, enlarged(output.masks_queries_logits, (384, 384)))
        elif family == "eomt":
            found = merged(scores(output, enlarged(output.masks_queries_logits, (32, 32))), size)
        elif family == "eomt_dinov3":
            height, width = (round(32 * side / max(size)) for side in size)
            masks = enlarged(output.masks_queries_logits, (32, 32))[..., :height, :width]
            found = scores(output, enlarged(masks, (32, 32)))
        else:
            found = scores(output, output.masks_queries_logits)
    return enlarged(found, size)[0].argmax(0).numpy()


def merged(patches, size):
    """The scores of 32 x 32 patches, evenly spread over the longer side, averaged where they overlap."""
    length = int(32 * max(size) / min(size))
    total, count = torch.zeros(patches.shape[1], length, 32), torch.zeros(length, 1)
    tall = size[0] > size[1]
    for index, patch in enumerate(patches):
        start = math.floor(index * (length - 32) / max(len(patches) - 1, 1))
        total[:, start : start + 32] += patch if tall else patch.transpose(1, 2)
        count[start : start + 32] += 1
    mean = (total / count)[None]
    return mean if tall else mean.transpose(2, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_the_best_at_each_images_own_size(folders, family):
    images = pictures()
    found = label_maps(load_parser(str(folders[family])), images, batch=4)
    assert [(labels.shape, labels.dtype) for labels in found] == [(image.shape[:2], np.uint8) for image in images]
    assert all(len(np.unique(labels)) > 1 for labels in found[1:])
    for image, labels in zip(images, found, strict=True):
        assert (labels != expected_labels(folders[family], family, image)).mean() < 0.002


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_has_the_same_labels_in_every_batch(folders, family):
    parser = load_parser(str(folders[family]))
    images = pictures()
    alone = label_maps(parser, images, batch=1)
    assert np.array_equal(alone[0], label_maps(parser, images[:1], batch=1)[0])
    for together in (label_maps(parser, images, batch=4), label_maps(parser, images[::-1], batch=5)[::-1]):
        assert all((one != other).mean() < 0.002 for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_label_names_decide_what_is_clothes(folders, family):
    """Also where the processor's settings shift the labels of training data (`reduce_labels`)."""
    parser = load_parser(str(folders[family]))
    images = pictures()
    maps, masks = label_maps(parser, images, 4), parse_clothes(parser, images, 4)
    assert parser.clothes == CLOTHES
    assert all(np.array_equal(mask, np.isin(labels, CLOTHES)) for mask, labels in zip(masks, maps, strict=True))
    assert 0 < np.mean([mask.mean() for mask in masks]) < 1
    assert load_parser(str(folders[family]), {"Left_Foot": "shoes", "Upper_Clothing": "skin"}).clothes == (4, 5, 6)


@pytest.mark.parametrize("family", ["segformer", "mask2former"])
def test_labels_without_names_are_named_by_the_caller(tmp_path, family):
    folder = save_parser(tmp_path, family, [f"LABEL_{number}" for number in range(5)])
    with pytest.raises(ValueError, match=f"^{tmp_path}: none of its labels is .*LABEL_0, LABEL_1"):
        load_parser(str(folder))
    assert load_parser(str(folder), {"LABEL_1": "upper", "LABEL_4": "shoes"}).clothes == (1, 4)


@pytest.mark.parametrize("family", ["segformer", "mask2former"])
def test_images_that_keep_their_proportions_can_share_a_batch(tmp_path, family):
    sizes = {"segformer": {"shortest_edge": 32}, "mask2former": {"height": 64, "width": 64}}
    folder = save_parser(tmp_path, family, size=sizes[family])
    images = pictures()
    for image, labels in zip(images, label_maps(load_parser(str(folder)), images, 5), strict=True):
        assert (labels != expected_labels(folder, family, image)).mean() < 0.002


def test_a_sapiens2_whose_processor_file_says_little_is_given_what_its_own_processor_gives(folders, tmp_path):
    copy(folders["sapiens2"], tmp_path)
    said = {"image_processor_type": "Sapiens2ImageProcessor", "size": {"height": 32, "width": 24}}
    write_json(tmp_path / "preprocessor_config.json", said)
    for image, labels in zip(pictures(), label_maps(load_parser(str(tmp_path)), pictures(), 5), strict=True):
        assert (labels != expected_labels(tmp_path, "sapiens2", image)).mean() < 0.002


def test_pictures_of_one_size_are_computed_together_and_returned_in_order(monkeypatch):
    seen = []

    def sums(part):
        seen.append(tuple(part.shape))
        return part.sum((1, 2, 3)), part[:, 0, 0, :1]

    sizes = [(2, 3), (4, 4), (2, 3), (2, 3), (4, 4)]
    pictures = [torch.full((3, *size), float(value)) for value, size in enumerate(sizes)]
    monkeypatch.setattr(batches, "PART_BYTES", 2 * 3 * 2 * 3 * 4)
    rows = in_parts_by_size(pictures, sums)
    assert [(float(total), float(first)) for total, first in rows] == [
        (value * 3 * height * width, value) for value, (height, width) in enumerate(sizes)
    ]
    assert seen == [(2, 3, 2, 3), (1, 3, 2, 3), (1, 3, 4, 4), (1, 3, 4, 4)]
    assert in_parts_by_size([], sums) == []


@pytest.mark.parametrize("family", UNIVERSAL)
@pytest.mark.parametrize("part", ["classes", "masks"])
def test_queries_that_are_no_numbers_are_refused(folders, tmp_path, family, part):
    pattern = {"classes": r"class_(predictor|embed)", "masks": r"mask_(embed|head)"}[part]
    network = CLASSES[family][0].from_pretrained(folders[family])
    for name, weights in network.named_parameters():
        if re.search(pattern, name):
            torch.nn.init.uniform_(weights, -1.5e38, 1.5e38)  # finite, but not so what comes of them
    copy(folders[family], tmp_path)
    network.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^{tmp_path}: .*float32: its logits are not finite"):
        label_maps(load_parser(str(tmp_path)), pictures(), 2)


@pytest.mark.parametrize("family", UNIVERSAL)
def test_weights_that_are_not_the_whole_networks_are_refused(folders, tmp_path, family):
    name = next(name for name in load_file(folders[family] / "model.safetensors") if "class_" in name)
    message = damage(folders[family], tmp_path, "one missing", name)
    with pytest.raises(ValueError, match=f"^{tmp_path}: .*{message}"):
        load_parser(str(tmp_path))


def test_a_oneformers_text_encoder_is_left_out(folders, tmp_path):
    """Only training uses it, but a file saved in training holds it, and the configuration says so."""
    copy(folders["oneformer"], tmp_path)
    whole = OneFormerForUniversalSegmentation.from_pretrained(tmp_path, is_training=True)
    state = load_file(tmp_path / "model.safetensors")
    extra = {name: value for name, value in whole.state_dict().items() if ".text_mapper." in name}
    assert len(extra) > 10
    save_file({**state, **extra}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    whole.config.save_pretrained(tmp_path)
    images = pictures()
    wanted = label_maps(load_parser(str(folders["oneformer"])), images, 4)
    assert all(map(np.array_equal, label_maps(load_parser(str(tmp_path)), images, 4), wanted))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            ["vocab.json", "merges.txt"],
            r"a tokenizer of 2 tokens; expected .* of one of \d\d \(vocab\.json, merges\.txt\)",
        ),
        (["merges.txt"], "cannot be loaded: .*`merges`"),
    ],
)
def test_a_oneformer_without_its_tokenizer_is_refused(folders, tmp_path, missing, message):
    """The library would make an empty tokenizer where none is, and the network take its numbers."""
    copy(folders["oneformer"], tmp_path)
    for name in missing:
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"^{tmp_path}: {message}"):
        load_parser(str(tmp_path))


def test_weights_under_another_name_are_named(folders, tmp_path):
    """As the authors' own files of Sapiens2 are called."""
    copy(folders["sapiens2"], tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "sapiens2_0.4b_seg.safetensors")
    message = r"no model\.safetensors, only sapiens2_0\.4b_seg\.safetensors; .* in which save_pretrained wrote"
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path}: {message}"):
        load_parser(str(tmp_path))


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("beit", {"do_center_crop": True}, r"cuts images \(do_center_crop\)"),
        ("dpt", {"do_pad": True, "size_divisor": 64}, r"pads images \(do_pad\)"),
        ("dpt", {"keep_aspect_ratio": True}, r"keeps proportions, .* \(keep_aspect_ratio\)"),
        ("sapiens2", {"do_pad": True}, r"pads images \(do_pad\)"),
        ("maskformer", {"pad_size": {"height": 256, "width": 256}}, r"pads images \(pad_size\)"),
    ],
)
def test_processors_that_do_more_than_resize_are_refused(tmp_path, family, settings, message):
    save_parser(tmp_path, family, **settings)
    with pytest.raises(ValueError, match=f"^{tmp_path}: its processor {message}; expected one that only resizes"):
        load_parser(str(tmp_path))


@pytest.mark.parametrize("kind", ["detr", "videomt", "vit", "depth_anything"])
def test_models_of_other_types_are_refused_by_name(folders, tmp_path, kind):
    copy(folders["segformer"], tmp_path)
    write_json(tmp_path / "config.json", {"model_type": kind})
    supported = r"expected a semantic .*beit, .*segformer, .*upernet\) or a universal one \(eomt, .*oneformer\)$"
    with pytest.raises(ValueError, match=f"^{tmp_path}: of type '{kind}', which is no parser; {supported}"):
        load_parser(str(tmp_path))


def test_more_labels_than_a_map_holds_are_refused(tmp_path):
    save_parser(tmp_path, "segformer", [*NAMES, *(f"thing {number}" for number in range(250))])
    with pytest.raises(ValueError, match=f"^{tmp_path}: it has 257 labels; expected at most 256"):
        load_parser(str(tmp_path))


def test_every_family_has_a_row_in_the_documentation():
    rows = (Path(__file__).parents[2] / "docs" / "parsers.md").read_text().splitlines()
    types = [match[1] for row in rows if (match := re.match(r"\| [^|]+ \| `([\w-]+)` \|", row))]
    assert sorted(types) == sorted(FAMILIES)


def copy(folder, target):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
