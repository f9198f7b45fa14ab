"""What `dlcr embed` and `dlcr search` do, from names to files. Targets are checked before hours of work."""

from collections.abc import Sequence
from pathlib import Path

from dlcr.exchange.embedding import embed
from dlcr.exchange.feature_files import check_target, write_features
from dlcr.exchange.folders import check_new
from dlcr.exchange.pictures import find_pictures
from dlcr.exchange.search import Settings, search
from dlcr.exchange.search_page import write_search
from dlcr.exchange.trained import open_image_model
from dlcr.exchange.variants import open_wardrobe, read_outfits
from dlcr.runtime import determinism

Refining = tuple[str | None, str | None, Path | None, Sequence[str], int]
"""Parser, inpainter, file of outfits, outfits, seed."""


def embed_folder(run: str, folder: Path, out: Path) -> str:
    """Write the features of all pictures of a folder; returns what was done, in words. Raises what its parts raise."""
    check_target(out)
    pictures = find_pictures(folder)
    determinism.set_up()
    place, model = open_image_model(run)
    found = embed(model, pictures, "embed")
    found.warn(str(folder))
    write_features(out, found.features, found.names)
    count, dimensions = found.features.shape
    return f"{out}: {count} pictures, {dimensions} dimensions, by {place}; {len(found.unreadable)} could not be read"


def search_folders(run: str, queries: Path, gallery: Path, out: Path, settings: Settings, refining: Refining) -> str:
    """Write the page and the table of the best matches; returns what was done, in words. Raises what its parts raise,
    and ValueError where a parser, an inpainter or outfits are named without the others."""
    check_new(out)
    parser, inpainter, file, texts, seed = refining
    if (parser is None) != (inpainter is None):
        raise ValueError("refinement needs both --parser and --inpainter")
    if parser is None and (file is not None or texts):
        raise ValueError("--outfits and --outfit are for refinement, which needs --parser and --inpainter")
    outfits = [] if parser is None else read_outfits(file, texts)
    asked, there = find_pictures(queries), find_pictures(gallery)
    determinism.set_up()
    place, model = open_image_model(run)
    wardrobe = None if parser is None else open_wardrobe(parser, inpainter, outfits, seed)
    found = search(model, asked, there, settings, wardrobe)
    write_search(found, out, str(place), settings)
    left_out = len(found.asked.unreadable) + len(found.there.unreadable)
    return (
        f"{out / 'index.html'}: the best {found.matches.images.shape[1]} of {len(found.there.names)} pictures for "
        f"{len(found.asked.names)} queries, by {place}; {left_out} pictures could not be read"
    )
