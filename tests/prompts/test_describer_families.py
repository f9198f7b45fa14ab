"""Families of vision-language models: each row of docs/describers.md on a small model of its real classes."""

import inspect
import json
import re
import shutil
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_families import KINDS, NEWER, named_tokens
from made_models import byte_tokenizer
from transformers import (
    AutoConfig,
    FastVlmConfig,
    Gemma3nConfig,
    InstructBlipVideoConfig,
    Lfm2VlConfig,
    SmolVLMProcessor,
)
from transformers.models.smolvlm import processing_smolvlm

from dlcr.prompts import describe, load_describer
from dlcr.prompts.describer import Describer, model_inputs
from dlcr.prompts.processor import LeftOut, _for_pictures, load_processor, margin_colour
from dlcr.runtime.networks import find_pretrained

SIZES = ((250, 100), (128, 64), (64, 128))
TALL = (250, 100)


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def image_tokens(describer, inputs) -> list[int]:
    return (inputs["input_ids"] == describer.model.config.image_token_id).sum(1).tolist()


def features(describer, inputs) -> int:
    """How many vectors the model's vision tower makes of all pictures."""
    wanted = {*inspect.signature(describer.model.get_image_features).parameters, "image_sizes"}
    with torch.inference_mode():
        made = describer.model.get_image_features(**{key: inputs[key] for key in inputs if key in wanted})
    made = getattr(made, "pooler_output", made)
    return sum(part.numel() // part.shape[-1] for part in ([made] if torch.is_tensor(made) else made))


@pytest.mark.parametrize("kind", KINDS)
def test_image_tokens_are_as_many_as_the_model_s_features(folders, kind):
    describer = load_describer(str(folders[kind]))
    alone = []
    for picture in pictures(*SIZES):
        inputs = model_inputs(describer, [picture], "What?")
        (count,) = image_tokens(describer, inputs)
        assert count == features(describer, inputs) > 0
        alone.append(count)
    together = model_inputs(describer, pictures(*SIZES), "What?")
    assert image_tokens(describer, together) == alone
    assert features(describer, together) == sum(alone)
    assert together["attention_mask"][:, -1].all()  # padded on the left


@pytest.mark.parametrize("kind", NEWER)
def test_pictures_change_the_answers(folders, kind):
    """Else that answers are the same alone and in a batch would say nothing."""
    assert len(set(describe(load_describer(str(folders[kind])), pictures(*SIZES), "What?", max_new_tokens=6))) > 1


FILES = {
    "llava-onevision": (
        {
            "size": {"height": 384, "width": 384},
            "image_grid_pinpoints": [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)],
        },
        {"num_image_tokens": 729},
    ),
    "internvl 3": ({"size": {"height": 448, "width": 448}}, {"image_seq_length": 256}),
    "smolvlm 2": ({"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}, {"image_seq_len": 64}),
    "idefics 3": ({"size": {"longest_edge": 1456}, "max_image_size": {"longest_edge": 364}}, {"image_seq_len": 169}),
    "pixtral": ({"size": {"longest_edge": 1024}}, {}),
    "mistral 3": ({"size": {"longest_edge": 1540}}, {}),
    "florence 2": ({"size": {"height": 768, "width": 768}, "image_seq_length": 577}, {}),
}
"""What the repositories' preprocessor_config.json and processor_config.json say where the small ones say less."""

ROWS = {
    "llava-onevision": "LLaVA-OneVision",
    "internvl 3": "InternVL3",
    "smolvlm 2": "SmolVLM2",
    "idefics 3": "Idefics3",
    "pixtral": "Pixtral",
    "mistral 3": "Mistral Small 3.1",
    "florence 2": "Florence-2",
}


@pytest.mark.parametrize("kind", NEWER)
def test_what_the_table_says_of_real_sizes(folders, tmp_path, repository, kind):
    """Pictures and tokens of a person of 100x250, by docs/describers.md."""
    folder = shutil.copytree(folders[kind], tmp_path / "model")
    for name, said in zip(("preprocessor_config.json", "processor_config.json"), FILES[kind], strict=True):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | said))
    config = AutoConfig.from_pretrained(folder)
    processor = load_processor(str(folder), find_pretrained(str(folder)), config)
    model = SimpleNamespace(config=config, device="cpu", dtype=torch.float32)
    describer = Describer(str(folder), model, processor, margin_colour(processor))
    inputs = model_inputs(describer, pictures(TALL), "What?")
    table = (repository / "docs" / "describers.md").read_text(encoding="utf-8")
    _, _, given, tokens, _ = re.search(rf"^\| {ROWS[kind]} (.*)\|$", table, re.M)[0].strip("| ").split(" | ")
    assert [int(tokens)] == image_tokens(describer, inputs)
    *tiles, height, width = inputs["pixel_values"].shape
    others = int(np.prod(tiles)) // 3 - 1
    also = f" and {others} tile{'s' * (others > 1)} of {width}x{height}" if others else ""
    assert given == f"{width}x{height}{also}"


def test_florence_is_asked_by_its_tasks(folders):
    """<MORE_DETAILED_CAPTION> stands for a sentence; the picture comes first, and no token is said twice."""
    describer = load_describer(str(folders["florence 2"]))
    assert not describer.processor.chat_template
    tokens = model_inputs(describer, pictures(TALL), "<MORE_DETAILED_CAPTION>")["input_ids"][0]
    said = describer.processor.tokenizer.decode(tokens)
    assert said == "<image>" * 17 + "<s>Describe with a paragraph what is shown in the image.</s>"
    with pytest.raises(ValueError, match="should be the only content"):
        describe(describer, pictures(TALL), "<MORE_DETAILED_CAPTION> Please.")


def test_a_template_s_own_start_is_said_once(folders):
    describer = load_describer(str(folders["pixtral"]))
    tokens = model_inputs(describer, pictures(TALL), "What?")["input_ids"]
    assert (tokens == describer.processor.tokenizer.bos_token_id).sum() == 1


def test_smolvlm_s_pictures_are_those_of_its_own_processor(folders, monkeypatch):
    """Its own class needs num2words for videos alone; with anything in its place it says the same."""
    describer = load_describer(str(folders["smolvlm 2"]))
    monkeypatch.setattr(processing_smolvlm, "num2words", str)
    ours = describer.processor
    own = _for_pictures(SmolVLMProcessor)(
        ours.image_processor, ours.tokenizer, LeftOut(), image_seq_len=4, chat_template=ours.chat_template
    )
    wanted = model_inputs(Describer("own", describer.model, own, None), pictures(*SIZES), "What?")
    given = model_inputs(describer, pictures(*SIZES), "What?")
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[key], wanted[key]) for key in given)


def test_parts_for_videos_are_left_out(folders):
    """Processors that ask theirs for a setting (MiniCPM-V) find none, and can be printed."""
    processor = load_describer(str(folders["qwen 3"])).processor
    assert not processor.video_processor
    assert processor.video_processor.merge_size is None
    assert "Qwen3VLProcessor" in repr(processor)


def test_pixtral_leaves_no_module_behind(folders):
    load_describer(str(folders["mistral 3"]))
    name = "transformers.models.pixtral.image_processing_pixtral"
    assert sys.modules[name].__name__ == name if name in sys.modules else not find_spec("torchvision")


@pytest.mark.parametrize(
    ("package", "config", "pictures"),
    [
        ("torchvision", Lfm2VlConfig(), "Lfm2VlImageProcessorFast"),
        ("timm", Gemma3nConfig(), "SiglipImageProcessorFast"),
    ],
)
def test_a_family_that_needs_a_package_says_which(folders, tmp_path, package, config, pictures):
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    folder = shutil.copytree(folders["qwen 2.5"], tmp_path / "model")
    config.save_pretrained(folder)
    names = {f"{name}_token": f"<{name}>" for name in ("image", "boi", "eoi", "audio", "boa", "eoa")}
    named_tokens(folder, byte_tokenizer(*names.values()), **names)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": pictures}))
    kind = f"models of type '{config.model_type}' need the package {package}"
    with pytest.raises(ValueError, match=rf"^{folder}: {kind}: pip install 'dlcr\[vlm\]'$"):
        load_describer(str(folder))


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (FastVlmConfig(), "transformers has no processor for models of type 'fast_vlm'"),
        (
            InstructBlipVideoConfig(),
            "the InstructBlipVideoProcessor of models of type 'instructblipvideo' takes videos alone",
        ),
    ],
)
def test_a_family_without_pictures_is_refused(folders, tmp_path, config, wanted):
    folder = shutil.copytree(folders["llava 1.5"], tmp_path / "model")
    config.save_pretrained(folder)
    with pytest.raises(ValueError, match=f"^{folder}: {wanted}$"):
        load_describer(str(folder))
