"""A small LLaVA of random weights proves loading, batching and seeded sampling."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from dlcr.prompts import describe, load_describer

TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("describer")
    torch.manual_seed(0)
    alphabet = ["<pad>", "<s>", "</s>", "<image>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    size = {"height": 16, "width": 16}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=size, do_center_crop=False),
        tokenizer,
        patch_size=8,
        chat_template=TEMPLATE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**shape, image_size=16, patch_size=8),
        text_config=LlamaConfig(**shape, vocab_size=len(tokenizer), eos_token_id=2),
        image_token_index=3,
        vision_feature_select_strategy="default",
    )
    model = LlavaForConditionalGeneration(config)
    torch.nn.init.normal_(model.lm_head.weight)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def describer(folder):
    return load_describer(str(folder))


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
