"""Kind `colour` (Fig. 1, left): the masked clothes in another colour; the outfit texts play no part."""

from dlcr.inpainting.kind import Kind
from dlcr.inpainting.painters import Painter, one_by_one
from dlcr.inpainting.recolour import recolour


def build() -> Painter:
    """Recolours by each variant's seed."""
    return one_by_one(lambda image, mask, chunk, place: recolour(image, mask, chunk.seeds[place]))


KIND = Kind(lambda params, entry: (build, {}), within_masks=True)
