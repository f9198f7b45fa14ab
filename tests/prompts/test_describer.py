"""Small describers of random weights prove loading, batching, seeded sampling and clear errors."""

import json
import shutil

import numpy as np
import pytest
import torch
from made_families import KINDS
from safetensors.torch import load_file, save_file
from transformers import BertConfig, GenerationMixin

from dlcr.prompts import describe, load_describer
from dlcr.prompts.describer import model_inputs

QUESTION = "What?"
ENCODERS = ("instructblip of T5", "florence 2")


@pytest.fixture(scope="module", params=list(KINDS))
def describer(folders, request):
    return load_describer(str(folders[request.param]))


@pytest.fixture
def copied(folders, tmp_path):
    """Copies one of the folders, to be changed."""
    return lambda kind: shutil.copytree(folders[kind], tmp_path / kind)


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (60 + 40 * i, 50 + 8 * i, 3), dtype=np.uint8) for i in range(count)]


def test_one_answer_an_image_greedy(describer):
    answers = describe(describer, pictures(3), "What?", max_new_tokens=6)
    assert len(answers) == 3
    assert all(isinstance(answer, str) and answer == answer.strip() for answer in answers)
    assert answers == describe(describer, pictures(3), "What?", max_new_tokens=6)
    assert describe(describer, [], "What?") == []


def test_samples_depend_on_their_own_seed_only(describer):
    images = pictures(3)
    settings = {"question": "What?", "temperature": 1.0, "max_new_tokens": 6}
    together = describe(describer, images, seeds=[7, 8, 9], **settings)
    alone = [
        describe(describer, [image], seeds=[seed], **settings)[0] for image, seed in zip(images, (7, 8, 9), strict=True)
    ]
    assert together == alone
    assert together != describe(describer, images, seeds=[1, 2, 3], **settings)


def test_greedy_answers_depend_on_their_own_image_only(describer):
    images = pictures(3)
    together = describe(describer, images, "What?", max_new_tokens=6)
    assert together == [describe(describer, [image], "What?", max_new_tokens=6)[0] for image in images]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ENCODERS])
def test_answers_begin_where_the_prompt_ends(folders, kind):
    """Token by token from the model's own scores; nothing of the prompt is said again and nothing is lost."""
    describer, image = load_describer(str(folders[kind])), pictures(1)[0]
    inputs = dict(model_inputs(describer, [image], QUESTION))
    said = []
    for _ in range(5):
        with torch.inference_mode():
            following = describer.model(**inputs).logits[0, -1].argmax()
        said.append(int(following))
        for key, value in (
            ("input_ids", following),
            ("attention_mask", torch.tensor(1)),
            ("mm_token_type_ids", torch.tensor(0)),
            ("token_type_ids", torch.tensor(0)),
        ):
            if key in inputs:
                inputs[key] = torch.cat([inputs[key], value[None, None]], 1)
    assert 2 not in said
    wanted = describer.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
    assert wanted
    assert describe(describer, [image], QUESTION, max_new_tokens=5) == [wanted]


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_s_answers_are_whole(folders, kind):
    describer = load_describer(str(folders[kind]))
    image = pictures(1)[0]
    inputs = model_inputs(describer, [image], "What?")
    said = describer.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0]
    wanted = describer.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
    assert wanted
    assert describe(describer, [image], "What?", max_new_tokens=6) == [wanted]


def test_the_question_reaches_the_model(describer):
    settings = {"temperature": 1.0, "max_new_tokens": 8, "seeds": [1, 2, 3]}
    assert describe(describer, pictures(3), "What?", **settings) != describe(describer, pictures(3), "Who?", **settings)


def test_models_that_cannot_be_asked_are_refused(copied, tmp_path):
    chat = copied("llava")
    (chat / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="LlavaProcessor has no chat template"):
        load_describer(str(chat))
    blip = copied("instructblip of LLaMA")
    config = json.loads((blip / "config.json").read_text())
    config["image_token_index"] = None
    (blip / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no image_token_index"):
        load_describer(str(blip))
    BertConfig().save_pretrained(tmp_path)
    save_file({"bias": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"^{tmp_path}: models of type 'bert' do not answer questions about pictures"):
        load_describer(str(tmp_path))


def test_what_a_processor_lacks_is_one_line_that_names_the_model(copied, monkeypatch):
    folder = copied("qwen 2.5")

    def without(*_, **__):
        raise ImportError("Package `num2words` is required to run this processor.")

    monkeypatch.setattr("transformers.Qwen2_5_VLProcessor.__init__", without)
    with pytest.raises(ValueError, match=rf"^{folder}: cannot be loaded: ImportError: Package `num2words` is required"):
        load_describer(str(folder))
    other = copied("llava 1.5")
    (other / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"^{other}: cannot be loaded: .*image processor"):
        load_describer(str(other))


def test_what_goes_wrong_while_asking_names_the_model(copied, monkeypatch):
    """Such as a processor that makes more tokens of a picture than the model has features for."""
    folder = copied("llava")
    path = folder / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"patch_size": 4}))
    describer = load_describer(str(folder))
    with pytest.raises(ValueError, match=rf"^{folder}: cannot answer: \w+: .*do not match"):
        describe(describer, pictures(1), QUESTION)

    def without_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GenerationMixin, "generate", without_memory)
    with pytest.raises(torch.OutOfMemoryError):  # a smaller batch may do
        describe(describer, pictures(1), QUESTION)


@pytest.mark.parametrize("kind", ["llava", "instructblip of LLaMA", "qwen 3"])
def test_weights_that_are_not_the_model_s_are_refused(copied, kind):
    folder = copied(kind)
    path = folder / "model.safetensors"
    whole = load_file(path)
    name = next(name for name in whole if name.endswith("layers.1.self_attn.q_proj.weight"))
    end = name.rpartition("layers.1.")[2]
    changes = {
        f"missing: [^;]*{end}": {key: value for key, value in whole.items() if key != name},
        "missing: [^;]* more": {},
        "unexpected: stray": whole | {"stray": torch.zeros(1)},
        f"mismatched(: [^;]*{end}|_sizes)": whole | {name: torch.zeros(3, 3).half()},
        f"not finite: [^;]*{end}": whole | {name: torch.full_like(whole[name], torch.nan)},
    }
    for message, tensors in changes.items():
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"^{folder}: .*{message}"):
            load_describer(str(folder))
    save_file(whole | {"language_model.model.rotary_emb.inv_freq": torch.ones(4)}, path, metadata={"format": "pt"})
    load_describer(str(folder))  # old files hold what is computed


def test_seeds_are_needed_and_counted(describer):
    with pytest.raises(ValueError, match="one seed an image"):
        describe(describer, pictures(2), "What?", temperature=0.2)
    with pytest.raises(ValueError, match="2 prompts need as many seeds, found 1"):
        describe(describer, pictures(2), "What?", temperature=0.2, seeds=[1])


def test_sampling_follows_the_distribution():
    from dlcr.prompts.generation import SeededSampling

    scores = torch.log(torch.tensor([0.6, 0.3, 0.1])).repeat(6000, 1)
    ids = torch.zeros(6000, 1, dtype=torch.long)
    drawn = SeededSampling(range(6000), 1.0, 1.0)(ids, scores).argmax(1).bincount() / 6000
    assert torch.allclose(drawn, torch.tensor([0.6, 0.3, 0.1]), atol=0.02)
    assert SeededSampling(range(6000), 1.0, 0.8)(ids, scores).argmax(1).max() == 1  # the last third is cut off
