"""What `dlcr search` writes: a self-contained page, whose pictures are inside, and a CSV file.

Names of files and outfits are escaped, and the page's content security policy lets no script and nothing of elsewhere
through.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dlcr.data import decode_rgb
from dlcr.exchange.embedding import shown
from dlcr.exchange.folders import new_folder
from dlcr.exchange.pictures import Pictures
from dlcr.exchange.search import KEPT, Search, Settings, table
from dlcr.reporting.album import thumbnail
from dlcr.reporting.page import policy
from dlcr.reporting.rendering import environment

PICTURES = 3000  # on the page, at most; at a few kilobytes each it stays below 15 MB


def write_search(found: Search, folder: Path, model: str, settings: Settings) -> None:
    """Write index.html and matches.csv into a new folder, whole or not at all; model: what the page names as such.

    Raises FileExistsError if the folder is there.
    """
    with new_folder(folder) as part:
        table(found).to_csv(part / "matches.csv", index=False, float_format="%.6f", lineterminator="\n")
        (part / "index.html").write_text(render(found, model, settings), encoding="utf-8", newline="\n")


def render(found: Search, model: str, settings: Settings) -> str:
    """The page. It shows the first queries, as many as PICTURES let in."""
    style = (files("dlcr.exchange") / "templates" / "search.css").read_text(encoding="utf-8")
    templates = environment().overlay(loader=jinja2.PackageLoader("dlcr.exchange"))
    each = 1 + found.matches.images.shape[1] + len(found.outfits)
    count = min(len(found.asked.names), max(1, PICTURES // each), KEPT)
    problems = found.asked.unreadable | found.there.unreadable | found.unrefined
    return templates.get_template("search.html.j2").render(
        style=Markup(style),
        policy=policy(style, ""),
        model=model,
        queries=len(found.asked.names),
        gallery=len(found.there.names),
        outfits=found.outfits,
        m=settings.m,
        people=settings.people,
        problems=[(shown(name), reason) for name, reason in problems.items()],
        results=[_result(found, row) for row in range(count)],
    )


def _result(found: Search, row: int) -> dict[str, Any]:
    """A query for the template."""
    name, matches = found.asked.names[row], found.matches
    return {
        "name": name,
        "picture": _picture(found.queries, name),
        "variants": list(zip(found.variants[name], found.outfits, strict=True)) if name in found.variants else [],
        "matches": [
            {
                "rank": place + 1,
                "name": found.there.names[image],
                "picture": _picture(found.gallery, found.there.names[image]),
                "similarity": f"{matches.similarities[row, place]:.3f}",
                "moved": _moved(place + 1, int(matches.before[row, place]), matches.images.shape[1]),
            }
            for place, image in enumerate(matches.images[row].tolist())
        ],
    }


def _moved(rank: int, before: int, top: int) -> str:
    """From where a match came forward; "" if it did not."""
    if before == 0:
        return f"from beyond {top}"
    return f"from {before}" if before > rank else ""


def _picture(pictures: Pictures, name: str) -> str:
    return thumbnail(decode_rgb(pictures.read(name), name))
