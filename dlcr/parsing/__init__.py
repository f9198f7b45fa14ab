"""Images to clothes masks."""

from dlcr.parsing.masks import mask_maker, mask_rows, write_masks
from dlcr.parsing.parser import Parser, clothes_labels, label_maps, load_parser, mask_status, parse_clothes

__all__ = [
    "Parser",
    "clothes_labels",
    "label_maps",
    "load_parser",
    "mask_maker",
    "mask_rows",
    "mask_status",
    "parse_clothes",
    "write_masks",
]
