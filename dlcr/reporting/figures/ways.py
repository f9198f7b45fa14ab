"""Figure 1 (left): ways to expand the data."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from dlcr.reporting.figures.style import WIDTH, one_line, panel, ratio, style, to_bytes, write
from dlcr.reporting.parts import Picture
from dlcr.reporting.sheets import WAY_RULE, Expansion

TITLES = {"colour": "colour change", "standard": "standard diffusion", "inpainting": "DLCR inpainting"}
GAP, BETWEEN, TEXT, HEAD = 0.08, 0.28, 0.55, 0.38


def ways(lines: Sequence[Expansion]) -> Picture | None:
    """Original and its variants by each way, one line per image, with the outfits underneath; None without lines."""
    if not lines:
        return None
    count = len(lines[0].prompts)
    titles = {way: title for way, title in TITLES.items() if way in lines[0].variants}
    group = max(count * (WIDTH + GAP) - GAP, 1.2)  # room for the longest title
    lefts = [GAP + WIDTH + BETWEEN + number * (group + BETWEEN) for number in range(len(titles))]
    height = WIDTH * ratio(lines[0].original)
    with style():
        figure = Figure(figsize=(lefts[-1] + group + GAP, HEAD + len(lines) * (height + TEXT)))
        write(figure, GAP, 0.12, "original")
        for left, title in zip(lefts, titles.values(), strict=True):
            write(figure, left, 0.12, title)
        for number, line in enumerate(lines):
            top = HEAD + number * (height + TEXT)
            panel(figure, GAP, top, WIDTH, height, line.original)
            for left, way in zip(lefts, titles, strict=True):
                for place, image in enumerate(line.variants[way]):
                    panel(figure, left + place * (WIDTH + GAP), top, WIDTH, height, image)
            outfits = "\n".join(
                f"{letter}: {one_line(text, 90)}" for letter, text in zip("ab", line.prompts, strict=False)
            )
            write(figure, GAP, top + height + 0.08, outfits)
        content = to_bytes(figure)
    said = ". ".join(f"{line.image_id}: {'; '.join(line.prompts)}" for line in lines)
    return Picture(
        "fig-1",
        "Figure 1 (left): ways to expand the data",
        content,
        f"{len(lines)} training images, each in other outfits by colour change, standard diffusion and inpainting. "
        f"The outfits: {said}.",
        f"The outfits a and b are the prompts of both ways of diffusion. {WAY_RULE} Colour change reads no prompt: it "
        "keeps the person and gives the clothes a random colour. Standard diffusion repaints the person too, "
        "inpainting the clothes alone.",
    )
