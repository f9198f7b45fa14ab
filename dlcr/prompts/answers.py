"""What a describer answers to encoded images: the work of stage describe, and of the judge of generated sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dlcr.data import decode_readable
from dlcr.prompts.describer import describe, load_describer
from dlcr.runtime.files import write_json
from dlcr.runtime.memory import Batch

Answers = list[str | None]
"""One answer per image, None where it can't be decoded."""


def answerer(model: str, settings: Mapping) -> Callable[[Sequence[tuple[str, bytes, int]]], Answers]:
    """What answers for images: image_id, encoded, seed. settings: the section `describe` of params.yaml."""
    describer, batch = load_describer(model), Batch(settings["batch"])

    def answer(rows: Sequence[tuple[str, bytes, int]]) -> Answers:
        images = decode_readable((image_id, data) for image_id, data, _ in rows)

        def ask(places: Sequence[int]) -> list[str]:
            return describe(
                describer,
                [images[place] for place in places],
                settings["question"],
                settings["temperature"],
                settings["max_new_tokens"],
                [rows[place][2] for place in places],
            )

        answers = dict(zip(images, batch.run(ask, list(images)), strict=True))
        return [answers.get(place) for place in range(len(rows))]

    return answer


def write_answers(path: Path, image_ids: Sequence[str], answers: Answers) -> None:
    """Write the answers for these images as JSON."""
    write_json(path, answers)
