"""A small LLaVA and small InstructBLIPs of random weights prove loading, batching and seeded sampling."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    T5Config,
)

from dlcr.prompts import describe, load_describer

TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
SIZE = {"height": 16, "width": 16}
QUERIES = 3


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = ["<pad>", "<s>", "</s>", "<image>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return tokenizer


def make_llava(folder):
    tokenizer = byte_tokenizer()
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=SIZE, do_center_crop=False),
        tokenizer,
        patch_size=8,
        chat_template=TEMPLATE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SHAPE, image_size=16, patch_size=8),
        text_config=LlamaConfig(**SHAPE, vocab_size=len(tokenizer), eos_token_id=2),
        image_token_index=3,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    torch.nn.init.normal_(model.lm_head.weight)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)


def make_instructblip(folder, text):
    tokenizer = byte_tokenizer()
    processor = InstructBlipProcessor(
        BlipImageProcessorPil(size=SIZE), tokenizer, byte_tokenizer(), num_query_tokens=QUERIES
    )
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**SHAPE, image_size=16, patch_size=8, initializer_range=0.5),
        qformer_config=InstructBlipQFormerConfig(**SHAPE, vocab_size=len(tokenizer), initializer_range=0.5),
        text_config=text,
        num_query_tokens=QUERIES,
        image_token_index=3,
    )
    model = InstructBlipForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    torch.nn.init.normal_(model.language_projection.weight)
    torch.nn.init.normal_(model.get_output_embeddings().weight)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)


KINDS = {
    "llava": make_llava,
    "instructblip of LLaMA": lambda folder: make_instructblip(
        folder, LlamaConfig(**SHAPE, vocab_size=260, eos_token_id=2, pad_token_id=0)
    ),
    "instructblip of T5": lambda folder: make_instructblip(
        folder,
        T5Config(
            d_model=16,
            d_kv=8,
            d_ff=16,
            num_layers=1,
            num_heads=2,
            vocab_size=260,
            eos_token_id=2,
            decoder_start_token_id=0,
        ),
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        torch.manual_seed(number)
        made[kind] = tmp_path_factory.mktemp("describer")
        make(made[kind])
    return made


@pytest.fixture(scope="module", params=list(KINDS))
def describer(folders, request):
    return load_describer(str(folders[request.param]))


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 3 * i, 10 + i, 3), dtype=np.uint8) for i in range(count)]


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


def test_answers_begin_where_the_prompt_ends(folders):
    """Token by token from the model's own scores; nothing of the prompt is said again and nothing is lost."""
    describer = load_describer(str(folders["instructblip of LLaMA"]))
    image, tokenizer = pictures(1)[0], describer.processor.tokenizer
    inputs = describer.processor(text=["What?"], images=[Image.fromarray(image)], return_tensors="pt")
    assert (inputs["input_ids"] == 3).sum() == QUERIES
    said = []
    for _ in range(5):
        with torch.inference_mode():
            following = describer.model(**inputs).logits[0, -1].argmax()
        said.append(int(following))
        inputs["input_ids"] = torch.cat([inputs["input_ids"], following[None, None]], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    assert 2 not in said
    wanted = tokenizer.decode(said, skip_special_tokens=True).strip()
    assert wanted
    assert describe(describer, [image], "What?", max_new_tokens=5) == [wanted]


def test_an_encoder_s_answers_are_whole(folders):
    describer = load_describer(str(folders["instructblip of T5"]))
    image = pictures(1)[0]
    inputs = describer.processor(text=["What?"], images=[Image.fromarray(image)], return_tensors="pt")
    said = describer.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0]
    wanted = describer.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
    assert wanted
    assert describe(describer, [image], "What?", max_new_tokens=6) == [wanted]


def test_the_question_reaches_the_model(describer):
    settings = {"temperature": 1.0, "max_new_tokens": 8, "seeds": [1, 2, 3]}
    assert describe(describer, pictures(3), "What?", **settings) != describe(describer, pictures(3), "Who?", **settings)


def test_models_that_cannot_be_asked_are_refused(folders, tmp_path):
    chat, blip = tmp_path / "chat", tmp_path / "blip"
    shutil.copytree(folders["llava"], chat)
    (chat / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="LlavaProcessor has no chat template"):
        load_describer(str(chat))
    shutil.copytree(folders["instructblip of LLaMA"], blip)
    config = json.loads((blip / "config.json").read_text())
    config["image_token_index"] = None
    (blip / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no image_token_index"):
        load_describer(str(blip))


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
