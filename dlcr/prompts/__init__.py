"""Images to descriptions, descriptions to one outfit text per clothes ID."""

from dlcr.prompts.describer import Describer, describe, load_describer
from dlcr.prompts.items import offered_items, vote
from dlcr.prompts.summarizer import (
    Outfit,
    Summarizer,
    check_answer,
    count_origins,
    load_summarizer,
    random_outfits,
    single_image_outfit,
    summarize,
)

__all__ = [
    "Describer",
    "Outfit",
    "Summarizer",
    "check_answer",
    "count_origins",
    "describe",
    "load_describer",
    "load_summarizer",
    "offered_items",
    "random_outfits",
    "single_image_outfit",
    "summarize",
    "vote",
]
