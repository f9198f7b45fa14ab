"""README.md of an export: what is in it, whose licence holds, and how it was made."""

from __future__ import annotations

import json

from dlcr.exchange.sources import Source

PAPER = "https://arxiv.org/abs/2411.07205"
CITATION = """@article{siddiqui2024dlcr,
  title={DLCR: A Generative Data Expansion Framework via Diffusion for Clothes-Changing Person Re-ID},
  author={Siddiqui, Nyle and Croitoru, Florinel Alin and Nayak, Gaurav Kumar and Ionescu, Radu Tudor and Shah, Mubarak},
  journal={arXiv preprint arXiv:2411.07205},
  year={2024}
}"""


def card(source: Source, says: str) -> str:
    """The card as Markdown. says: what the form's writer wrote."""
    parts = [
        f"# {source.name}: {source.title} in other clothes",
        summary(source),
        *([private_note()] if source.private else []),
        f"In this folder: {says}.",
        "## Licence",
        licence_note(source),
        "## How it was made",
        "`made_by` is the set's own record, `set` and `params` what params.yaml said when it was exported. `hashes`: "
        "`dlcr.data.folder_fingerprint` of folders, SHA-256 of files.",
        f"```json\n{json.dumps(source.provenance, indent=2, sort_keys=True)}\n```",
        "## Cite",
        f"```bibtex\n{CITATION}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def summary(source: Source) -> str:
    """What the set is, in a sentence or two."""
    images = source.made["image_id"].nunique()
    left_out = f" {source.skipped} that were skipped or fell short of the quality gate are left out."
    return (
        f"{len(source.made)} variants of {images} images of {source.title}: the same people in other "
        f"clothes, made with dlcr by the method of [DLCR]({PAPER}).{left_out if source.skipped else ''}"
    )


def private_note() -> str:
    """What a card says of a private set."""
    return (
        "**Private.** This set, or what it was made from, is listed under `private` of params.yaml: it is for your own "
        "use. Do not upload it and do not pass it on."
    )


def is_own(source: Source) -> bool:
    """Whether the images were rendered by dlcr itself, under its own licence."""
    return source.reader == "minicc"


def licence_note(source: Source) -> str:
    """Under whose licence the pictures are."""
    title = source.title
    if is_own(source):
        return "MiniCC's images are rendered by dlcr and show nobody: Apache-2.0, as dlcr itself."
    if not source.described.redistributable:
        return f"{title}'s licence forbids to pass on its images and what is made from them."
    return (
        f"The pictures show people of {title}, and {title}'s licence holds for them. dlcr can give no permission that "
        "its authors did not give: ask them before you pass this on."
    )
