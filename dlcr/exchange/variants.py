"""Variants of your own pictures, for prediction refinement: clothes masked by a parser and repainted by an inpainter.

wardrobe = open_wardrobe("models/mini/parser", "models/mini/inpainter", ["Gray shirt| Blue jeans| Black shoes"], seed=0)
variants, skipped = dress(wardrobe, {"a.jpg": pixels})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlcr.params import load_params
from dlcr.runtime.seeds import seed_of

if TYPE_CHECKING:
    from dlcr.inpainting import Expander
    from dlcr.parsing import Parser

PARSE = {"batch": 8, "dilation": 0, "min_area": 0.01, "max_area": 0.95, "labels": {}}
"""Section `parse` where there is no params.yaml."""


@dataclass(frozen=True)
class Wardrobe:
    """A parser and an inpainter, loaded, and the outfits that every picture is to wear. parse: as section `parse` of
    params.yaml. seed: of the variants' noise."""

    parser: Parser
    expander: Expander
    parse: Mapping
    outfits: list[str]
    seed: int


def read_outfits(file: Path | None, texts: Sequence[str]) -> list[str]:
    """The outfits of a text file, one a line, then those of `texts`; each once. ValueError if there is none, or if the
    file is no text."""
    lines = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}: expected a text file with an outfit on each line: {error}") from error
    found = list(dict.fromkeys(text.strip() for text in (*lines, *texts) if text.strip()))
    if not found:
        raise ValueError("refinement needs outfits: --outfits FILE, one a line, or --outfit 'Gray shirt| Blue jeans'")
    return found


def open_wardrobe(parser: str, inpainter: str, outfits: Sequence[str], seed: int) -> Wardrobe:
    """Load both models. Sections `parse` and `inpaint` of params.yaml say how they are used; where there is none, PARSE
    and the defaults of `Expander`, the paper's. Raises what `load_parser` and `Expander` raise."""
    from dlcr.inpainting import Expander  # with diffusers: seconds
    from dlcr.parsing import load_parser

    params = load_params() if Path("params.yaml").is_file() else None
    parse = params.parse.model_dump() if params else PARSE
    sampler = params.inpaint.model_dump(exclude={"block"}) if params else {}
    return Wardrobe(load_parser(parser, parse["labels"]), Expander(inpainter, **sampler), parse, list(outfits), seed)


def dress(wardrobe: Wardrobe, pictures: Mapping[str, np.ndarray]) -> tuple[dict[str, list[np.ndarray]], dict[str, str]]:
    """The variants of pictures uint8 [H, W, 3], one for each outfit, of the same sizes, by name; and by name why some
    have none. A variant's noise depends on the seed, the picture's name and the outfit alone."""
    from dlcr.parsing import mask_status, parse_clothes

    settings = wardrobe.parse
    found = parse_clothes(wardrobe.parser, list(pictures.values()), settings["batch"], settings["dilation"])
    statuses = [mask_status(float(mask.mean()), settings["min_area"], settings["max_area"]) for mask in found]
    skipped = {
        name: f"{status} mask of the clothes" for name, status in zip(pictures, statuses, strict=True) if status != "ok"
    }
    masks = {name: mask for name, mask in zip(pictures, found, strict=True) if name not in skipped}
    if not masks:
        return {}, skipped
    names, each = list(masks), len(wardrobe.outfits)
    cells = [(row, outfit) for row in range(len(names)) for outfit in wardrobe.outfits]
    painted = wardrobe.expander.paint(
        wardrobe.expander.prepare([pictures[name] for name in names], list(masks.values())),
        [row for row, _ in cells],
        [pictures[names[row]] for row, _ in cells],
        [masks[names[row]] for row, _ in cells],
        [outfit for _, outfit in cells],
        [seed_of(wardrobe.seed, names[row], outfit) for row, outfit in cells],
        lambda _, variant: variant,
    )
    return {name: painted[row * each : (row + 1) * each] for row, name in enumerate(names)}, skipped
