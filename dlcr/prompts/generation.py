"""Text generation whose sample doesn't depend on the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dlcr.runtime.memory import out_of_memory

if TYPE_CHECKING:
    import torch


class SeededSampling:
    """Turns greedy decoding into sampling with a random generator of its own for every row.

    Uses the Gumbel-max trick: the argmax of `log p + Gumbel noise` is a draw from p. torch.multinomial would
    share one generator among the rows, so that a row's answer depended on its neighbours.

    It works on the CPU: there the noise is the same on every device, and a GPU refuses the sums of probabilities in
    `top_p`, as `determinism.set_up` allows no operation whose results vary.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float) -> None:
        import torch
        from transformers import TopPLogitsWarper

        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.temperature = temperature
        self.top_p = TopPLogitsWarper(top_p) if top_p < 1 else None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        where, scores = scores.device, scores.float().cpu() / self.temperature
        if self.top_p is not None:
            scores = self.top_p(input_ids.cpu(), scores)
        rows = [torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in self.generators]
        return (scores - torch.stack(rows).log()).to(where)


def generate_texts(
    model: torch.nn.Module,
    tokenizer: object,
    inputs: dict[str, torch.Tensor],
    *,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    seeds: Sequence[int],
) -> list[str]:
    """The answers to a batch of prompts, stripped; greedy at temperature 0.

    `inputs` are the model's inputs with `input_ids` [N, T], padded on the left if at all; `seeds` has N
    entries. Raises ValueError if it hasn't.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    prompts = inputs["input_ids"]
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many seeds, found {len(seeds)}")
    # Explicit neutral values: missing ones would be taken from the model's own sampling defaults.
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    sampling = LogitsProcessorList([SeededSampling(seeds, temperature, top_p)] if temperature > 0 else [])
    with torch.inference_mode():
        tokens = model.generate(**inputs, generation_config=settings, logits_processor=sampling)
    # A decoder alone repeats the prompt before its answer; behind an encoder (T5) there is the answer only.
    encoder = model.config.get_text_config().is_encoder_decoder
    answers = tokens if encoder else tokens[:, prompts.shape[1] :]
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return [text.strip() for text in texts]


@contextmanager
def asking(model: str) -> Iterator[None]:
    """Around all that is done to ask a model: what a library raises becomes one ValueError that names the model.

    A GPU without memory passes through, since smaller batches may do.
    """
    try:
        yield
    except out_of_memory():
        raise
    except Exception as error:  # as of `loading`: a missing package, features that don't match the tokens
        raise ValueError(f"{model}: cannot answer: {type(error).__name__}: {error}") from error


def require_chat_template(owner: object, model: str) -> None:
    """Raises ValueError if the tokenizer or processor `owner` of `model` has no chat template."""
    if not owner.chat_template:
        kind = type(owner).__name__
        raise ValueError(f"{model}: its {kind} has no chat template; choose a chat or instruct version of the model")


def pad_on_the_left(tokenizer: object) -> None:
    """Makes batches possible: answers follow prompts at once, and without a padding token the end token pads."""
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
