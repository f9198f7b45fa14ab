"""A language model's answers are checked against the responses; a LLaMA of random weights is asked."""

import shutil
from dataclasses import replace

import pytest
import torch
from bad_texts import BAD
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dlcr.params import Summarize
from dlcr.prompts import (
    Outfit,
    check_answer,
    count_origins,
    load_summarizer,
    random_outfits,
    single_image_outfit,
    summarize,
    vote,
)
from dlcr.prompts import summarizer as module
from dlcr.prompts.items import MAX_CHARACTERS
from dlcr.prompts.summarizer import MAX_LETTERS, ask, request

RANDOM = "Name clothes with colors for the upper body, the lower body and the feet as upper| lower| shoes."
SETTINGS = Summarize(
    instruction="Extract:", random_instruction=RANDOM, words=12, temperature=0.6, top_p=0.9, max_new_tokens=8
)
RESPONSES = ["Gray shirt| Blue jeans| Black shoes"] * 3 + ["Blue shirt| Blue jeans| Brown boots"]


def byte_tokenizer(**settings) -> PreTrainedTokenizerFast:
    alphabet = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summarizer")
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(chat_template="{% for m in messages %}<s>{{ m['content'] }}{% endfor %}")
    config = LlamaConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=len(tokenizer),
        bos_token_id=1,
        eos_token_id=2,
        max_position_embeddings=256,
    )
    model = LlamaForCausalLM(config).half()
    model.generation_config.update(do_sample=True, temperature=0.01, top_p=0.01)  # a model's own taste is ignored
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("answer", "wanted", "origin"),
    [
        ("Gray shirt| Blue jeans| Black shoes", "Gray shirt| Blue jeans| Black shoes", "model"),
        ("Blue shirt| Blue jeans| Black shoes", "Blue shirt| Blue jeans| Black shoes", "model"),
        (
            "Gray shirt and blue shirt| Blue jeans| Black shoes",
            "Gray shirt| Blue jeans| Black shoes",
            "repaired",
        ),
        ("Pink shirt| Blue jeans| Black shoes", "Gray shirt| Blue jeans| Black shoes", "repaired"),
        (
            "Sure! The items are:\n1. Gray shirt\n2. Blue jeans\n3. Brown boots",
            "Gray shirt| Blue jeans| Brown boots",
            "parsed",
        ),
        ("black shoes, blue jeans, gray shirt", "Gray shirt| Blue jeans| Black shoes", "parsed"),
        (
            "The person is wearing a gray shirt, blue jeans, and black shoes.",
            "Gray shirt| Blue jeans| Black shoes",
            "parsed",
        ),
        (
            "A gray shirt, a blue shirt, blue jeans and black shoes",
            "Gray shirt| Blue jeans| Black shoes",
            "repaired",
        ),
        ("A gray shirt, blue jeans and red shoes", "Gray shirt| Blue jeans| Black shoes", "repaired"),
        ("A gray shirt and blue jeans", "Gray shirt| Blue jeans| Black shoes", "repaired"),
        ("Gray shirt", "Gray shirt| Blue jeans| Black shoes", "repaired"),
        ("", "Gray shirt| Blue jeans| Black shoes", "vote"),
        ("Green hat| Green hat| Green hat", "Gray shirt| Blue jeans| Black shoes", "vote"),
        ("x" * 10_000, "Gray shirt| Blue jeans| Black shoes", "vote"),
        ("'; import os; os.system('reboot') #", "Gray shirt| Blue jeans| Black shoes", "vote"),
        ("Lo siento, no puedo ayudar con eso.", "Gray shirt| Blue jeans| Black shoes", "vote"),
    ],
)
def test_answers_are_checked(answer, wanted, origin):
    assert check_answer(answer, RESPONSES) == Outfit(wanted, origin, answer)


def test_free_text_is_parsed_only_if_the_responses_support_all_of_it():
    dress = ["The woman is wearing a red dress and high heels."] * 2
    assert check_answer(dress[0], dress) == Outfit("Red dress| Red dress| High heels", "parsed", dress[0])
    said = "The woman is wearing a red dress, black tights and high heels."
    assert check_answer(said, dress) == Outfit("Red dress| Black tights| High heels", "repaired", said)
    barefoot = ["The person is wearing a white shirt and beige shorts."] * 2
    assert check_answer(barefoot[0], barefoot).origin == "repaired"  # nobody saw the shoes
    said = "The person is wearing a white shirt, beige shorts and red shoes."
    assert check_answer(said, barefoot) == Outfit("White shirt| Beige shorts| Red shoes", "repaired", said)


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD)
def test_bad_answers_are_replaced_by_the_vote(answer):
    assert check_answer(answer, RESPONSES) == Outfit(vote(RESPONSES), "vote", answer)
    assert check_answer(answer, [answer]) == Outfit("", "empty", answer)
    assert check_answer(RESPONSES[0], [answer, RESPONSES[0]]).origin == "model"


def test_other_languages_are_taken_by_their_places():
    responses = ["Camisa gris| Vaqueros azules| Zapatos negros"] * 2
    assert check_answer(responses[0], responses).origin == "model"
    assert check_answer("?", responses).prompt == responses[0]


@given(st.text(max_size=200), st.lists(st.sampled_from([*RESPONSES, "", "?", "red dress"]), max_size=6))
def test_every_answer_gives_three_items_or_nothing(answer, responses):
    outfit = check_answer(answer, responses)
    assert outfit.answer == answer
    if not vote(responses):
        assert (outfit.prompt, outfit.origin) == ("", "empty")
    else:
        assert len(outfit.prompt.split("| ")) == 3
        assert outfit.origin in ("model", "parsed", "repaired", "vote")
        if outfit.origin == "vote":
            assert outfit.prompt == vote(responses)


def test_words_are_limited_and_empty_responses_are_not_asked_about(folder, monkeypatch):
    assert request("Extract:", ["a b  c", "", "d\ne"], 4) == "Extract: a b c d"
    monkeypatch.setattr(module, "ask", lambda *_: pytest.fail("asked about nothing"))
    assert summarize(load_summarizer(str(folder)), ["", "?"], SETTINGS, 0) == Outfit("", "empty", "")


def test_requests_are_short_whatever_the_responses_are():
    assert request("Extract:", ["x" * 1_000_000, "a b"], 2) == f"Extract: {'x' * MAX_LETTERS} a"
    asked = request("Extract:", ["word " * 200_000] * 3, 5000)
    assert len(asked.split()) == 1 + 3 * MAX_CHARACTERS // 5
    assert len(request("Extract:", [text for text in BAD.values()], 12)) <= len("Extract:") + 12 * (MAX_LETTERS + 1)


@pytest.mark.parametrize("response", BAD.values(), ids=BAD)
def test_bad_responses_are_survived_by_the_whole_step(folder, response):
    summarizer = load_summarizer(str(folder))
    outfit = summarize(summarizer, [response, *RESPONSES], SETTINGS, 0)
    assert outfit.prompt == vote(RESPONSES)
    assert outfit.origin == "vote"
    assert summarize(summarizer, [response] * 3, SETTINGS, 0).origin == "empty"


def test_answers_depend_on_their_own_seed_only(folder):
    summarizer = load_summarizer(str(folder))
    together = ask(summarizer, "hello", SETTINGS, [1, 2, 3])
    assert len(set(together)) == 3
    assert together == [ask(summarizer, "hello", SETTINGS, [seed])[0] for seed in (1, 2, 3)]
    greedy = SETTINGS.model_copy(update={"temperature": 0.0})
    assert len(set(ask(summarizer, "hello", greedy, [1, 2, 3]))) == 1
    assert summarize(summarizer, RESPONSES, SETTINGS, 5) == summarize(summarizer, RESPONSES, SETTINGS, 5)
    assert summarize(summarizer, RESPONSES, SETTINGS, 5).prompt == vote(RESPONSES)  # random weights say nothing


def test_control_tokens_in_responses_stay_text(folder):
    tokenizer = load_summarizer(str(folder)).tokenizer
    chat = [{"role": "user", "content": "gray shirt<s></s>"}]
    ids = tokenizer.apply_chat_template(chat, return_dict=True, sanitize_control_tokens=True)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.eos_token_id not in ids


def test_random_outfits_ask_again(folder, monkeypatch):
    said = (
        "Gray shirt| Blue jeans| Black shoes",
        "no idea",
        "red coat",
        "upper| lower| shoes",
        "The upper body is upper| lower| shoes",
        "A red coat, a black skirt and brown boots.",
        "A red coat, a green coat, a black skirt and brown boots.",
    )

    def sometimes(summarizer, content, settings, seeds, least_tokens):
        assert content == RANDOM
        assert least_tokens == module.RANDOM_TOKENS > settings.max_new_tokens
        return [said[seed % 7] for seed in seeds]

    monkeypatch.setattr(module, "ask", sometimes)
    made = random_outfits(load_summarizer(str(folder)), 12, SETTINGS, 0)
    origins = {said[0]: "model", said[5]: "parsed", said[6]: "repaired"}
    prompts = {said[0]: said[0], said[5]: "Red coat| Black skirt| Brown boots"}
    prompts[said[6]] = prompts[said[5]]
    assert {outfit.answer for outfit in made} == set(origins)
    for outfit in made:
        assert (outfit.prompt, outfit.origin) == (prompts[outfit.answer], origins[outfit.answer])


def test_stubborn_random_outfits_are_filled_from_other_answers(monkeypatch):
    tries = range(module.RANDOM_ATTEMPTS)
    stubborn = {module.seed_of("random outfit", 0, index, attempt) for index in (3, 20) for attempt in tries}
    asked = []

    def answers(_, content, settings, seeds, least_tokens):
        asked.extend(seeds)
        colour = ("Gray", "Blue", "Red")
        return [
            "green coat| lower| shoes"
            if seed in stubborn
            else f"{colour[seed % 3]} shirt| {colour[seed % 3]} jeans| Black shoes"
            for seed in seeds
        ]

    monkeypatch.setattr(module, "ask", answers)
    made = random_outfits(None, 24, SETTINGS, 0)
    assert len(asked) == 22 + 2 * module.RANDOM_ATTEMPTS
    assert [place for place, outfit in enumerate(made) if outfit.origin == "repaired"] == [3, 20]
    for outfit in (made[3], made[20]):
        upper, lower, footwear = outfit.prompt.split("| ")
        assert (upper, footwear, outfit.answer) == ("Green coat", "Black shoes", "green coat| lower| shoes")
        assert lower in ("Gray jeans", "Blue jeans", "Red jeans")
    assert made == random_outfits(None, 24, SETTINGS, 0)


@pytest.mark.parametrize("answer", ["no idea", "red coat, black shoes", "Upper| Lower| shoes", *BAD.values()])
def test_random_outfits_give_up_if_a_part_is_never_named(answer, monkeypatch):
    """After so many tries and no more; the error shows what was said."""
    asked = []

    def answers(_, content, settings, seeds, least_tokens):
        asked.extend(seeds)
        return [answer] * len(seeds)

    monkeypatch.setattr(module, "ask", answers)
    with pytest.raises(ValueError, match=r"named nothing for the body part '(upper|lower)' in 10 answers") as error:
        random_outfits(None, 2, SETTINGS, 0)
    assert len(asked) == len(set(asked)) == 2 * module.RANDOM_ATTEMPTS
    assert f"it said: {answer[:100]!r}" in str(error.value)


def test_made_up_outfits_may_be_longer_than_summaries(folder, monkeypatch):
    allowed = []
    monkeypatch.setattr(module, "generate_texts", lambda *_, **settings: allowed.append(settings) or ["red coat"])
    summarizer = load_summarizer(str(folder))
    ask(summarizer, "hello", SETTINGS, [1])
    ask(summarizer, "hello", SETTINGS, [1], 64)
    ask(summarizer, "hello", SETTINGS.model_copy(update={"max_new_tokens": 100}), [1], 64)
    assert [settings["max_new_tokens"] for settings in allowed] == [8, 64, 100]


def test_answers_are_kept(folder, tmp_path, monkeypatch):
    summarizer = replace(load_summarizer(str(folder)), kept=tmp_path / "kept")
    first = ask(summarizer, "hello", SETTINGS, [1, 2])
    other = ask(summarizer, "hello", SETTINGS, [1, 3])
    monkeypatch.setattr(module, "generate_texts", lambda *_, **__: pytest.fail("asked again"))
    assert ask(summarizer, "hello", SETTINGS, [1, 2]) == first
    assert ask(summarizer, "hello", SETTINGS, [1, 3]) == other
    assert first[0] == other[0]
    assert first[1] != other[1]


def test_one_image_s_description_is_an_outfit():
    responses = {
        "b": "Blue shirt| Black trousers| Brown boots",
        "a": "a gray shirt, blue jeans and black shoes",
        "c": "?",
        "d": "",
    }
    wanted = {"Gray shirt| Blue jeans| Black shoes": "a", "Blue shirt| Black trousers| Brown boots": "b"}
    drawn = [single_image_outfit(responses, seed) for seed in range(40)]
    assert {outfit.prompt for outfit in drawn} == set(wanted)
    for outfit in drawn:
        assert outfit.origin == "model"
        assert outfit.answer == responses[wanted[outfit.prompt]]
    backwards = dict(reversed(responses.items()))
    assert drawn == [single_image_outfit(backwards, seed) for seed in range(40)]


def test_descriptions_without_garments_make_an_empty_outfit():
    assert single_image_outfit({}, 0) == Outfit("", "empty", "")
    assert single_image_outfit({str(place): text for place, text in enumerate(BAD.values())}, 0).origin == "empty"
    assert single_image_outfit({"a": "", "b": "red coat"}, 0) == Outfit("Red coat| Pants| Shoes", "model", "red coat")


def test_origins_are_counted():
    outfits = [Outfit("a", "model", ""), Outfit("b", "vote", ""), Outfit("c", "model", "")]
    assert count_origins(outfits) == {"model": 2, "parsed": 0, "repaired": 0, "vote": 1, "empty": 0}


def test_a_model_without_chat_template_is_refused(folder, tmp_path):
    for path in folder.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="no chat template"):
        load_summarizer(str(tmp_path))


def test_weights_that_are_not_the_model_s_are_refused(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "model")
    path = copied / "model.safetensors"
    whole, name = load_file(path), "model.layers.0.mlp.up_proj.weight"
    changes = {
        f"missing: {name};": {key: value for key, value in whole.items() if key != name},
        "missing: lm_head.weight and 11 more": {},
        "unexpected: stray;": whole | {"stray": torch.zeros(1)},
        f"mismatched(: {name}|_sizes)": whole | {name: torch.zeros(3, 3).half()},
        f"not finite: {name};": whole | {name: torch.full_like(whole[name], torch.inf)},
    }
    for message, tensors in changes.items():
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"^{copied}: .*{message}"):
            load_summarizer(str(copied))
    # Llama 2's files hold what is computed.
    save_file(whole | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path, metadata={"format": "pt"})
    load_summarizer(str(copied))


def test_what_a_library_raises_names_the_model(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "model")
    (copied / "chat_template.jinja").write_text("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(ValueError, match=f"^{copied}: cannot answer: TemplateError: Roles must alternate"):
        summarize(load_summarizer(str(copied)), RESPONSES, SETTINGS, 0)
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=f"^{copied}: cannot be loaded: "):
        load_summarizer(str(copied))
